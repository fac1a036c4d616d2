"""Random changes of a training sample, and how labels move with them. `utils.crop` cuts the image.

Labels are `2 * (crop pixel + 1/2) / size - 1`: -1 and 1 are the outer edges of the first and last crop pixel, so that a
flip negates x exactly. A positive rotation turns the picture counter-clockwise about the crop's centre.
"""

from typing import NamedTuple

import cv2
import numpy as np

from utils.crop import CROP_SIZE
from utils.skeleton import J24_FLIP, SMPL_FLIP

_J24_FLIP, _SMPL_FLIP = np.array(J24_FLIP), np.array(SMPL_FLIP)


class Augmentation(NamedTuple):
    """One random change of a sample; the default changes nothing."""

    flip: bool = False
    gain_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rotation_deg: float = 0.0
    scale: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Augmentation":
        """Draw the published augmentation."""
        rotated = rng.random() >= 0.6
        return cls(
            flip=bool(rng.random() < 0.5),
            gain_rgb=tuple(rng.uniform(0.6, 1.4, 3)),
            rotation_deg=float(np.clip(rng.normal(0, 30), -60, 60)) if rotated else 0.0,
            scale=float(np.clip(rng.normal(1, 0.25), 0.75, 1.25)),
        )


def move_keypoints_2d(keypoints: np.ndarray, matrix: np.ndarray, flip: bool, size: int = CROP_SIZE) -> np.ndarray:
    """J24 keypoints (24, 3) in source pixels, with confidence -> label units of the crop, flipped with it."""
    xy = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    moved = np.column_stack(((2 * xy + 1) / size - 1, keypoints[:, 2]))
    return moved[_J24_FLIP] if flip else moved


def move_keypoints_3d(keypoints: np.ndarray, rotation_deg: float, flip: bool) -> np.ndarray:
    """J24 keypoints (24, 4), camera frame with confidence, as they stand in the rotated and flipped picture."""
    moved = np.column_stack((keypoints[:, :3] @ _rotation_z(rotation_deg).T, keypoints[:, 3]))
    if flip:
        moved = moved[_J24_FLIP]
        moved[:, 0] *= -1
    return moved


def move_pose(pose: np.ndarray, rotation_deg: float, flip: bool) -> np.ndarray:
    """SMPL pose (72,), axis-angle radians, of the body in the rotated and flipped picture."""
    pose = pose.reshape(24, 3).copy()
    if rotation_deg:
        pose[0] = cv2.Rodrigues(_rotation_z(rotation_deg) @ cv2.Rodrigues(pose[0])[0])[0][:, 0]
    if flip:
        # the mirror image of a rotation about (x, y, z) is the same turn about (x, -y, -z)
        pose = pose[_SMPL_FLIP] * (1, -1, -1)
    return pose.reshape(72)


def _rotation_z(rotation_deg: float) -> np.ndarray:
    """The turn (3, 3) of the camera frame, y down, that a picture turned by rotation_deg shows."""
    angle = -np.deg2rad(rotation_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
