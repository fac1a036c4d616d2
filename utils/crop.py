"""Cut a square around a person out of a picture, and normalise it for a network.

Conventions of the published reader: the crop is a square of side `200 * scale` source pixels around `center`; source
pixel `x` (pixel centres at whole numbers) lands at crop pixel `(x - center) * size / (200 * scale) + size / 2`.
A positive rotation turns the picture counter-clockwise about `center`.
"""

import functools

import cv2
import numpy as np
import torch

CROP_SIZE = 224  # pixels, the side of the crops that networks read
# of RGB in [0, 1]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_MEAN, _STD = np.array(IMAGENET_MEAN)[:, None], np.array(IMAGENET_STD)[:, None]


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

    antialias: average source pixels first if two or more fall on one crop pixel. The published reader does not average,
    but a large photograph needs it.
    """
    matrix = crop_matrix(center, scale, rotation_deg, flip, size)
    factor = int(200 * scale / size)
    if antialias and factor > 1:
        image, matrix = _reduce(image, matrix, factor, size)
    return warp(image, matrix, size)


def warp(image: np.ndarray, matrix: np.ndarray, size: int = CROP_SIZE) -> np.ndarray:
    """Cut a crop (size, size, ...) out of an image (H, W, ...) uint8, bilinearly.

    matrix: affine map (2, 3) from source pixels to crop pixels, see `crop_matrix`.
    """
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _reduce(image: np.ndarray, matrix: np.ndarray, factor: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of factor x factor pixels inside the crop -> smaller image, and the matrix from its pixels."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]])
    covered = corners @ cv2.invertAffineTransform(matrix).T
    x0, y0 = np.clip(covered.min(0) - 2 * factor, 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(covered.max(0) + 2 * factor, (x0 + 1, y0 + 1), (width, height)).astype(int)
    columns, rows = -(-(x1 - x0) // factor), -(-(y1 - y0) // factor)
    padding = (0, rows * factor - (y1 - y0), 0, columns * factor - (x1 - x0))
    block = cv2.copyMakeBorder(image[y0:y1, x0:x1], *padding, cv2.BORDER_CONSTANT)
    return cv2.resize(block, (columns, rows), interpolation=cv2.INTER_AREA), reduced_matrix(matrix, factor, x0, y0)


def reduced_matrix(matrix: np.ndarray, factor: int, x0: float = 0, y0: float = 0) -> np.ndarray:
    """The affine map (2, 3) from a picture, changed to start from the same picture reduced by `factor`.

    A pixel of the reduced picture is the mean of factor x factor pixels; the first block begins at (x0, y0).
    """
    # the centre of the first block is source pixel x0 + (factor - 1) / 2
    return matrix @ np.array([[factor, 0, x0 + (factor - 1) / 2], [0, factor, y0 + (factor - 1) / 2], [0, 0, 1]])


def normalize(image: np.ndarray, gain_rgb=(1.0, 1.0, 1.0)) -> torch.Tensor:
    """image (H, W, 3 or more) uint8, RGB first -> (3, H, W) float, brightened per channel, ImageNet-normalised."""
    # a table of the 3 x 256 possible values costs less than arithmetic on every pixel
    result = np.empty((3, *image.shape[:2]), np.float32)
    for channel, table, plane in zip(cv2.split(image)[:3], _tables(tuple(gain_rgb)), result, strict=True):
        cv2.LUT(channel, table, plane)
    return torch.from_numpy(result)


@functools.lru_cache(maxsize=1)  # evaluation uses one table for all images
def _tables(gain_rgb: tuple[float, ...]) -> np.ndarray:
    """The normalised value (3, 256) of each value of each channel."""
    values = np.clip(np.array(gain_rgb)[:, None] * np.arange(256), 0, 255) / 255
    return ((values - _MEAN) / _STD).astype(np.float32)
