"""Write a small 3DPW release by its public description: world-frame parameters, 30 Hz, latin1 pickles."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.helpers.releases.scene import Camera, Person, make_camera, make_person, place_person, write_picture
from utils.skeleton import J24

# OpenPose COCO-18 by name, written down apart from the builders
COCO18 = (
    "Nose", None, "R_Shoulder", "R_Elbow", "R_Wrist", "L_Shoulder", "L_Elbow", "L_Wrist", "R_Hip", "R_Knee", "R_Ankle",
    "L_Hip", "L_Knee", "L_Ankle", "R_Eye", "L_Eye", "R_Ear", "L_Ear",
)  # fmt: skip


@dataclass
class Sequence:
    name: str
    cameras: list[Camera]  # per frame
    people: list[list[Person]]  # [person][frame]
    jpegs: list[bytes]
    content: dict


def detections(person: Person) -> np.ndarray:
    """(3, 18): x, y, confidence; the neck, which J24 has elsewhere, is the middle of the shoulders."""
    rows = []
    shoulders = person.pixels[[J24.index("L_Shoulder"), J24.index("R_Shoulder")]].mean(0)
    for name in COCO18:
        x, y = shoulders if name is None else person.pixels[J24.index(name)]
        rows.append((x, y, 0.9))
    return np.array(rows).T


def make_sequence(
    root: Path, split: str, name: str, frames: int, genders: tuple[str, ...], seed: int, long_betas=False
):
    """Write imageFiles/NAME/*.jpg; -> Sequence whose content `write_pickle` writes."""
    rng = np.random.default_rng(seed)
    cameras = [make_camera(rng) for _ in range(frames)]
    cameras = [Camera(c.rotation, c.shift, cameras[0].focal, cameras[0].principal, c.size) for c in cameras]
    shifts = [0.0] if len(genders) == 1 else [-0.8, 0.8]
    people = [[make_person(rng, c, g, s) for c in cameras] for g, s in zip(genders, shifts, strict=True)]
    for track in people:  # one shape per track
        for frame, camera in enumerate(cameras[1:], 1):
            track[frame] = place_person(
                track[frame].pose, track[0].betas, track[frame].translation, camera, track[frame].gender
            )
    jpegs = [
        write_picture(root / "imageFiles" / name / f"image_{i:05d}.jpg", [track[i] for track in people], camera)
        for i, camera in enumerate(cameras)
    ]
    content = {
        "sequence": name,
        "poses": [np.stack([p.pose for p in track]) for track in people],
        "trans": [np.stack([p.translation for p in track]) for track in people],
        "betas": [np.pad(track[0].betas, (0, 290)) if long_betas else track[0].betas for track in people],
        "genders": list(genders),
        "cam_poses": np.stack([camera.extrinsic for camera in cameras]),
        "cam_intrinsics": cameras[0].matrix,
        "campose_valid": [np.ones(frames, int) for _ in people],
        "poses2d": [np.stack([detections(p) for p in track]) for track in people],
        "jointPositions": [np.stack([p.world_joints.reshape(-1) for p in track]) for track in people],
        "img_frame_ids": np.arange(frames) * 2,
    }
    (root / "sequenceFiles" / split).mkdir(parents=True, exist_ok=True)
    return Sequence(name, cameras, people, jpegs, content)


def write_pickle(root: Path, split: str, sequence: Sequence, **changes):
    """Write sequenceFiles/SPLIT/NAME.pkl as Python 2 did."""
    content = sequence.content | changes
    path = root / "sequenceFiles" / split / f"{sequence.name}.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path
