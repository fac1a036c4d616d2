"""Tracks of one person for tests."""

import numpy as np

from utils.detect.motion import Track


def track_of(frames: list[int], turns: np.ndarray | None = None, box=(0, 0, 50, 100), colour=50.0, step=0.0) -> Track:
    """turns (T, 3, 3): rotation of all joints by frame; box: x, y, width, height, moved by `step` each frame."""
    track = Track()
    for frame in frames:
        track.add(
            frames=frame,
            boxes=np.array(box, float) + (step * frame, 0, 0, 0),
            keypoints=np.zeros((17, 3)),
            colours=np.full((4, 3), colour),
            rotmat=np.broadcast_to(np.eye(3) if turns is None else turns[frame], (24, 3, 3)),
            betas=np.full(10, frame),
            weak=np.array((100.0, 10.0 * frame, 5.0)),
        )
    return track
