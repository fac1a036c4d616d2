"""Patches that hide a limb, or a square of the picture, in the crop of a person."""

import cv2
import numpy as np

from utils.skeleton import J14

# hidden part -> the J14 keypoints whose convex hull it is
LIMBS = {
    "head": ("Neck", "Head"),
    "trunk": ("L_Shoulder", "R_Shoulder", "R_Hip", "L_Hip"),
    **{
        f"{side} {limb}": (f"{side[0].upper()}_{a}", f"{side[0].upper()}_{b}")
        for limb, a, b in (
            ("upper arm", "Shoulder", "Elbow"),
            ("forearm", "Elbow", "Wrist"),
            ("thigh", "Hip", "Knee"),
            ("shin", "Knee", "Ankle"),
        )
        for side in ("left", "right")
    },
}
OCCLUDERS = ("grey", "texture")
CELLS = 8  # colours along a side of the texture


def limb_keypoints(limb: str) -> list[int]:
    """Indices in J14 of the keypoints of a limb."""
    return [J14.index(name) for name in LIMBS[limb]]


def limb_mask(points: np.ndarray, radius: float, size: int) -> np.ndarray:
    """Pixels within `radius` of the convex hull of points (K, 2) in pixels -> (size, size) bool."""
    mask = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(points.round().astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1)
    cv2.polylines(mask, [hull], True, 1, thickness=max(1, round(2 * radius)))
    return mask.astype(bool)


def square_masks(count: int, side: float, size: int) -> np.ndarray:
    """Squares of `side` pixels at count x count places that cover the picture, row by row, (count^2, size, size)."""
    centers = (np.arange(count) + 0.5) * size / count
    inside = np.abs(np.arange(size) + 0.5 - centers[:, None]) <= side / 2  # (count, size)
    return (inside[:, None, :, None] & inside[None, :, None, :]).reshape(count**2, size, size)


def occluder_picture(kind: str, size: int, seed: int) -> np.ndarray:
    """Picture (size, size, 3) uint8 RGB from which patches are cut: grey, or blurred random colours."""
    if kind == "grey":
        return np.full((size, size, 3), 128, np.uint8)
    colors = np.random.default_rng(seed).integers(0, 256, (CELLS, CELLS, 3), dtype=np.uint8)
    return cv2.resize(colors, (size, size), interpolation=cv2.INTER_LINEAR)
