"""Flat shapes of all sizes: clutter as a background, occluders in front of the person."""

import cv2
import numpy as np

from datasets.synthetic.scene.surfaces import random_color


def clutter(rng: np.random.Generator, height: int, width: int, pictures: np.ndarray) -> np.ndarray:
    """Overlapping shapes, large ones behind, as in photographs -> (height, width, 3); pictures: (N, h, w, 3)."""
    out = np.empty((height, width, 3), np.float32)
    out[:] = random_color(rng)
    count = rng.integers(5, 60)
    sizes = np.sort(np.exp(rng.uniform(np.log(0.03), np.log(0.7), count)))[::-1] * max(height, width)
    for size in sizes:
        _draw_shape(rng, out, size, rng.uniform(0, width), rng.uniform(0, height), pictures)
    return out


def _draw_shape(
    rng: np.random.Generator, image: np.ndarray, size: float, x: float, y: float, pictures: np.ndarray,
    mask: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Draw an ellipse, box, blob or bar around pixel (x, y) into image (H, W, 3), and into mask (H, W) if given."""
    kind = rng.integers(4)
    angle = rng.uniform(0, np.pi)
    if kind == 0:
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        outline = np.stack((np.cos(turn), rng.uniform(0.3, 1) * np.sin(turn)), -1)
    elif kind == 1:
        w = rng.uniform(0.3, 1)
        outline = np.array([(-1, -w), (1, -w), (1, w), (-1, w)])
        angle = rng.normal(0, 0.1)
    elif kind == 2:
        turn = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 9)))
        outline = np.stack((np.cos(turn), np.sin(turn)), -1) * rng.uniform(0.5, 1, (len(turn), 1))
    else:
        w = rng.uniform(0.03, 0.12)
        outline = np.array([(-2, -w), (2, -w), (2, w), (-2, w)])
    c, s = np.cos(angle), np.sin(angle)
    outline = 0.5 * size * outline @ np.array([[c, s], [-s, c]]) + (x, y)
    low = np.clip(np.floor(outline.min(0)).astype(int), 0, (image.shape[1], image.shape[0]))
    high = np.clip(np.ceil(outline.max(0)).astype(int) + 1, 0, (image.shape[1], image.shape[0]))
    if (high <= low).any():
        return
    shape = (high[1] - low[1], high[0] - low[0])
    cover = np.zeros(shape, np.uint8)
    cv2.fillPoly(cover, [np.round((outline - low) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    fill = np.empty((*shape, 3), np.float32)
    fill[:] = random_color(rng, 0.6)
    if len(pictures) and rng.random() < 0.35:
        picture = pictures[rng.integers(len(pictures))]
        fill *= cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)
    else:
        slope = rng.uniform(-0.4, 0.4, 2)
        fill *= (
            1
            + slope[0] * np.linspace(-1, 1, shape[1])[:, None]
            + slope[1] * np.linspace(-1, 1, shape[0])[:, None, None]
        )
    alpha = cover[..., None] * np.float32(1 / 255)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    image[window] += alpha * (fill - image[window])
    if mask is not None:
        np.maximum(mask[window], alpha[..., 0], out=mask[window])


def paint_occluders(rng: np.random.Generator, image: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Draw flat shapes over image (H, W, 3) float32, in place -> their opacity (H, W) float32 in [0, 1]."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform(0.08, 0.45) * max(height, width)
        _draw_shape(rng, image, size, rng.uniform(0, width), rng.uniform(0.15, 1.05) * height, pictures, mask)
    return mask
