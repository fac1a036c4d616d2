"""Colours of the sides of a body: orange is left, blue is right, grey is the middle."""

import numpy as np

from utils.skeleton import SMPL_JOINTS

LEFT, RIGHT, MIDDLE = (232, 146, 84), (86, 148, 214), (205, 208, 214)  # sRGB


def part_colors(weights: np.ndarray) -> np.ndarray:
    """Colours (V, 3) uint8 sRGB of vertices from their skin weights (V, 24)."""
    palette = np.array([joint_color(name) for name in SMPL_JOINTS], np.float64)
    return (weights @ palette / weights.sum(1, keepdims=True)).round().astype(np.uint8)


def joint_color(name: str) -> tuple[int, int, int]:
    """sRGB colour of a joint of utils.skeleton.SMPL_JOINTS, by its side."""
    return {"L_": LEFT, "R_": RIGHT}.get(name[:2], MIDDLE)
