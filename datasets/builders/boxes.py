"""Boxes around people -> centre and scale of METRO's square crops."""

import numpy as np

from datasets.builders.record import BadEntry

MARGIN = 1.2


def crop_of_points(points: np.ndarray, margin: float = MARGIN) -> tuple[np.ndarray, float]:
    """points (N, 2) pixels -> centre (2,), scale (side / 200) of the square around them."""
    return _crop(points.min(0), points.max(0), margin)


def crop_of_xywh(box: np.ndarray, margin: float = MARGIN) -> tuple[np.ndarray, float]:
    """box (4,) left, top, width, height -> centre (2,), scale."""
    return _crop(box[:2], box[:2] + box[2:], margin)


def crop_of_xyxy(box: np.ndarray, margin: float = MARGIN) -> tuple[np.ndarray, float]:
    """box (4,) left, top, right, bottom -> centre (2,), scale."""
    return _crop(box[:2], box[2:], margin)


def _crop(low: np.ndarray, high: np.ndarray, margin: float) -> tuple[np.ndarray, float]:
    side = margin * float((high - low).max())
    if not 2 <= side <= 1e5:
        raise BadEntry("box without extent", f"{side:.1f} pixels")
    return (low + high) / 2, side / 200
