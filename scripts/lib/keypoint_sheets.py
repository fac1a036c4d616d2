"""Sheets of pictures of people with their keypoints."""

from pathlib import Path

import cv2
import numpy as np

from utils.files import atomic_path
from utils.skeleton import J24, J24_LIMBS

BONES = [
    (J24.index(f"{side}_{a}"), J24.index(f"{side}_{b}"))
    for side in "LR"
    for a, b in (("Ankle", "Knee"), ("Knee", "Hip"), ("Wrist", "Elbow"), ("Elbow", "Shoulder"))
]
BONES += [
    (J24.index(a), J24.index(b))
    for a, b in (
        ("L_Hip", "R_Hip"), ("L_Shoulder", "Neck"), ("R_Shoulder", "Neck"), ("Neck", "Head"), ("Head", "Top_of_Head"),
        ("Pelvis", "Neck"),
    )
]  # fmt: skip
LEFT, RIGHT, MIDDLE = (90, 220, 60), (60, 90, 255), (240, 240, 240)  # BGR
SHIFT = 4  # fractional bits of coordinates in OpenCV's drawing


def draw_keypoints(image: np.ndarray, labels: np.ndarray, predicted: np.ndarray | None = None) -> np.ndarray:
    """Draw labels (24, 3) in the crop frame on an image (H, W, 3) uint8 RGB -> (H, W, 3) uint8 BGR.

    The left side is green, the right side red. Hidden keypoints are black; those with confidence 0 are left out.
    predicted: limb keypoints (12, 2), drawn as crosses.
    """
    out = np.ascontiguousarray(image[..., ::-1])
    colors = [{"L": LEFT, "R": RIGHT}.get(name[: name.find("_")], MIDDLE) for name in J24]

    def pixel(xy):
        return tuple(np.round((((xy + 1) * len(out) - 1) / 2) * 2**SHIFT).astype(int).tolist())

    for a, b in BONES:
        if not (labels[a, 2] and labels[b, 2]):
            continue
        color = colors[a] if colors[b] in (colors[a], MIDDLE) else MIDDLE
        cv2.line(out, pixel(labels[a, :2]), pixel(labels[b, :2]), color, 1, cv2.LINE_AA, SHIFT)
    for j, (x, y, confidence) in enumerate(labels):
        if confidence > 0:
            place, radius = pixel(np.array((x, y))), (3 if j in J24_LIMBS else 2) * 2**SHIFT // 2
            cv2.circle(out, place, radius + 12, (0, 0, 0), -1, cv2.LINE_AA, SHIFT)
            cv2.circle(out, place, radius, colors[j] if confidence == 1 else (0, 0, 0), -1, cv2.LINE_AA, SHIFT)
    if predicted is not None:
        for j, xy in zip(J24_LIMBS, predicted, strict=True):
            color = (255, 255, 0) if J24[j][0] == "L" else (255, 0, 255)
            place = np.array(pixel(xy)) // 2**SHIFT
            cv2.drawMarker(out, place.tolist(), color, cv2.MARKER_TILTED_CROSS, 7, 1, cv2.LINE_AA)
    return out


def sheet(tiles: list[np.ndarray], columns: int = 8) -> np.ndarray:
    """Arrange tiles (H, W, 3) in rows; the last row is filled up with white."""
    blank = np.full_like(tiles[0], 255)
    tiles = [*tiles, *[blank] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def write_jpeg(path: Path, image: np.ndarray, quality: int = 84):
    """Write an image (H, W, 3) uint8 BGR atomically."""
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
