"""Augmentation of a training sample: random parameters, and their effect on labels (`utils.crop` changes the image).

2D labels are `2 * (crop pixel + 1/2) / size - 1`: -1 and 1 are the outer edges of the first and last crop pixel, so
that a flip negates x exactly. A positive rotation turns the picture counter-clockwise about the centre of the crop.
"""

from typing import NamedTuple

import cv2
import numpy as np

from utils.crop import CROP_SIZE
from utils.skeleton import J24_FLIP, SMPL_FLIP

_J24_FLIP, _SMPL_FLIP = np.array(J24_FLIP), np.array(SMPL_FLIP)


class Augmentation(NamedTuple):
    """One augmentation; the default changes nothing. gain_rgb: brightness factors; scale: factor of the crop side."""

    flip: bool = False
    gain_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rotation_deg: float = 0.0
    scale: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Augmentation":
        """Draw the augmentation of the published recipe (SMPLer, TPAMI 2024)."""
        rotated = rng.random() >= 0.6
        return cls(
            flip=bool(rng.random() < 0.5),
            gain_rgb=tuple(rng.uniform(0.6, 1.4, 3)),
            rotation_deg=float(np.clip(rng.normal(0, 30), -60, 60)) if rotated else 0.0,
            scale=float(np.clip(rng.normal(1, 0.25), 0.75, 1.25)),
        )


def move_keypoints_2d(keypoints: np.ndarray, matrix: np.ndarray, flip: bool, size: int = CROP_SIZE) -> np.ndarray:
    """J24 keypoints (24, 3) in source pixels, with confidence -> the same in label units of the (flipped) crop.

    matrix (2, 3): source to crop pixels, see `crop_matrix`; flip: swap left and right.
    """
    xy = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    moved = np.column_stack(((2 * xy + 1) / size - 1, keypoints[:, 2]))
    return moved[_J24_FLIP] if flip else moved


def move_keypoints_3d(keypoints: np.ndarray, rotation_deg: float, flip: bool) -> np.ndarray:
    """Rotate and flip J24 keypoints (24, 4): camera frame, metres, with confidence."""
    moved = np.column_stack((keypoints[:, :3] @ _rotation_z(rotation_deg).T, keypoints[:, 3]))
    if flip:
        moved = moved[_J24_FLIP]
        moved[:, 0] *= -1
    return moved


def move_pose(pose: np.ndarray, rotation_deg: float, flip: bool) -> np.ndarray:
    """Rotate and flip an SMPL pose (72,), axis-angle radians."""
    pose = pose.reshape(24, 3).copy()
    if rotation_deg:
        pose[0] = cv2.Rodrigues(_rotation_z(rotation_deg) @ cv2.Rodrigues(pose[0])[0])[0][:, 0]
    if flip:
        # the mirror image of a rotation about (x, y, z) is a rotation by the same angle about (x, -y, -z)
        pose = pose[_SMPL_FLIP] * (1, -1, -1)
    return pose.reshape(72)


def _rotation_z(rotation_deg: float) -> np.ndarray:
    """Rotation (3, 3) in the camera frame, y down, that corresponds to a picture rotated by rotation_deg."""
    angle = -np.deg2rad(rotation_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
