"""Sheet of rows of a data set: the crop, its 2D keypoints as dots, its 3D keypoints as lines."""

from pathlib import Path

import cv2
import numpy as np

from datasets.human_mesh import HumanMeshDataset
from datasets.label_checks import fit_projection
from utils.crop import CROP_SIZE, crop_matrix, warp
from utils.errors import RowError
from utils.media.images import save_image
from utils.skeleton import J24, J24_LIMBS

COLUMNS = 6
COLORS = {"L": (60, 220, 90), "R": (255, 90, 60)}  # RGB
BONES = [(J24.index(f"{side}_{a}"), J24.index(f"{side}_{b}"), side) for side in "LR" for a, b in (
    ("Hip", "Knee"), ("Knee", "Ankle"), ("Shoulder", "Elbow"), ("Elbow", "Wrist"), ("Shoulder", "Hip"))]  # fmt: skip


def draw_sheet(rows: HumanMeshDataset, path: Path, count: int):
    """Draw `count` rows, evenly spread over the set, those that cannot be read in grey. Left is green, right is red."""
    tiles = []
    for index in np.unique(np.linspace(0, len(rows) - 1, count).astype(int)).tolist():
        try:
            tiles.append(draw_row(rows, index))
        except RowError:
            tiles.append(np.full((CROP_SIZE, CROP_SIZE, 3), 128, np.uint8))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % min(COLUMNS, len(tiles)))
    columns = min(COLUMNS, len(tiles))
    save_image(path, np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]))


def draw_row(rows: HumanMeshDataset, index: int) -> np.ndarray:
    """(224, 224, 3) uint8 RGB. 3D keypoints are projected by the weak-perspective camera that fits the 2D ones best."""
    _, picture, label = rows.read(index)
    matrix = crop_matrix(label["center"], label["scale"])
    crop = np.ascontiguousarray(warp(picture, matrix)[..., :3])
    xy, seen = label["keypoints_2d"][:, :2] @ matrix[:, :2].T + matrix[:, 2], label["keypoints_2d"][:, 2] > 0
    xyz, known = label["keypoints_3d"][:, :3], label["keypoints_3d"][:, 3] > 0
    if label["has_keypoints_2d"] and label["has_keypoints_3d"] and (seen & known).any():
        places = fit_projection(xyz[None], xy[None], (seen & known)[None].astype(float))[0]
        for a, b, side in BONES:
            if known[a] and known[b]:
                cv2.line(crop, _pixel(places[a]), _pixel(places[b]), COLORS[side], 1, cv2.LINE_AA)
    for joint in J24_LIMBS if label["has_keypoints_2d"] else ():
        if seen[joint]:
            cv2.circle(crop, _pixel(xy[joint]), 3, COLORS[J24[joint][0]], -1, cv2.LINE_AA)
    return crop


def _pixel(place: np.ndarray) -> tuple[int, int]:
    return tuple(np.clip(place, -10 * CROP_SIZE, 10 * CROP_SIZE).round().astype(int).tolist())
