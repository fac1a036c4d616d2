"""Crop an image around a person and move its labels along: translation, scale, rotation and flip as one warp.

Conventions of the published reader: the crop is a square of side `200 * scale` source pixels around `center`; source
pixel `x` (pixel centres at whole numbers) lands at crop pixel `(x - center) * size / (200 * scale) + size / 2`.
Labels are `2 * (crop pixel + 1/2) / size - 1`: -1 and 1 are the outer edges of the first and last crop pixel, so that a
flip negates x exactly. A positive rotation turns the picture counter-clockwise about `center`.
"""

from typing import NamedTuple

import cv2
import numpy as np

from utils.skeleton import J24_FLIP, SMPL_FLIP

CROP_SIZE = 224
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


def crop_matrix(center, scale: float, rotation_deg: float = 0, flip: bool = False, size: int = CROP_SIZE) -> np.ndarray:
    """Affine map (2, 3) from source pixels to crop pixels; center (2,) source pixels, crop side = 200 * scale."""
    zoom = size / (200 * scale)
    angle = np.deg2rad(rotation_deg)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    matrix = np.column_stack((linear, size / 2 - linear @ np.asarray(center, dtype=np.float64)))
    if flip:
        matrix[0] *= -1
        matrix[0, 2] += size - 1
    return matrix


def crop_image(
    image: np.ndarray,
    center,
    scale: float,
    rotation_deg: float = 0,
    flip: bool = False,
    size: int = CROP_SIZE,
    antialias: bool = False,
) -> np.ndarray:
    """Crop an image (H, W, 3) uint8 -> (size, size, 3) uint8 by one bilinear warp; black outside the image.

    antialias: average source pixels first where two or more fall on one crop pixel. The published reader does not, but
    a large photograph needs it.
    """
    matrix = crop_matrix(center, scale, rotation_deg, flip, size)
    factor = int(200 * scale / size)
    if antialias and factor > 1:
        image, matrix = _reduce(image, matrix, factor, size)
    return warp(image, matrix, size)


def warp(image: np.ndarray, matrix: np.ndarray, size: int = CROP_SIZE) -> np.ndarray:
    """Read an image (H, W, ...) uint8 bilinearly through a map (2, 3) from its pixels to those of the crop."""
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _reduce(image: np.ndarray, matrix: np.ndarray, factor: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Average factor x factor blocks of what the crop sees -> smaller image and the matrix that fits it."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]])
    seen = corners @ cv2.invertAffineTransform(matrix).T
    x0, y0 = np.clip(seen.min(0) - 2 * factor, 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(seen.max(0) + 2 * factor, (x0 + 1, y0 + 1), (width, height)).astype(int)
    columns, rows = -(-(x1 - x0) // factor), -(-(y1 - y0) // factor)
    padding = (0, rows * factor - (y1 - y0), 0, columns * factor - (x1 - x0))
    seen = cv2.copyMakeBorder(image[y0:y1, x0:x1], *padding, cv2.BORDER_CONSTANT)
    return cv2.resize(seen, (columns, rows), interpolation=cv2.INTER_AREA), reduced_matrix(matrix, factor, x0, y0)


def reduced_matrix(matrix: np.ndarray, factor: int, x0: float = 0, y0: float = 0) -> np.ndarray:
    """The affine map (2, 3) of a picture, for one whose pixels are its blocks of factor x factor from (x0, y0) on."""
    # the centre of block 0 is source pixel x0 + (factor - 1) / 2
    return matrix @ np.array([[factor, 0, x0 + (factor - 1) / 2], [0, factor, y0 + (factor - 1) / 2], [0, 0, 1]])


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
