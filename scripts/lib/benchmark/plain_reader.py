"""A plain reader of METRO's rows: it decodes whole pictures, uses 64-bit patches, and transforms keypoints one by one.

It follows the descriptions in the papers of HMR, SPIN and METRO, and is the baseline of the benchmark.
"""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.transforms import Normalize

from datasets.augment import Augmentation
from utils.crop import CROP_SIZE, IMAGENET_MEAN, IMAGENET_STD
from utils.skeleton import J24_FLIP, J24_PELVIS, SMPL_FLIP


class PlainReader:
    """Rows of one set, equal to those of datasets.human_mesh.HumanMeshDataset up to rounding to whole pixels.

    yaml_file: its files are beside it under their usual names. augment: apply the published augmentation.
    """

    def __init__(self, yaml_file: Path, augment: bool):
        self.augment, self.rng = augment, np.random.default_rng(0)
        self.paths = [yaml_file.with_suffix(f".{kind}.tsv") for kind in ("img", "label")]
        self.offsets = [[int(line) for line in path.with_suffix(".lineidx").open()] for path in self.paths]
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def __len__(self) -> int:
        return len(self.offsets[0])

    def columns(self, file: int, row: int) -> list[str]:
        with self.paths[file].open() as lines:
            lines.seek(self.offsets[file][row])
            return [column.strip() for column in lines.readline().split("\t")]

    def __getitem__(self, index: int) -> dict:
        key, encoded = self.columns(0, index)
        pixels = np.frombuffer(base64.b64decode(encoded), np.uint8)
        image = cv2.cvtColor(cv2.imdecode(pixels, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        label = json.loads(self.columns(1, index)[1])[0]
        change = Augmentation.draw(self.rng) if self.augment else Augmentation()
        center, scale = np.array(label["center"]), label["scale"] * change.scale
        keypoints_3d = np.array(label["3d_joints"]).reshape(24, 4)
        keypoints_3d[:, :3] -= keypoints_3d[J24_PELVIS, :3].copy()
        return {
            "image": self.picture(image, center, scale, change),
            "keypoints_2d": tensor(move_2d(np.array(label["2d_joints"]).reshape(24, 3), center, scale, change)),
            "keypoints_3d": tensor(move_3d(keypoints_3d, change)),
            "pose": tensor(move_pose(np.array(label["pose"]), change)),
            "betas": tensor(label["betas"]),
            "has_keypoints_2d": bool(label["has_2d_joints"]),
            "has_keypoints_3d": bool(label["has_3d_joints"]),
            "has_smpl": bool(label["has_smpl"]),
            "center": tensor(center),
            "scale": tensor(scale),
            "index": index,
            "image_id": key,
        }

    def picture(self, image: np.ndarray, center: np.ndarray, scale: float, change: Augmentation) -> torch.Tensor:
        crop = cut(image, center, scale, change.rotation_deg)
        if change.flip:
            crop = np.fliplr(crop)
        crop = np.stack([np.clip(crop[..., c] * change.gain_rgb[c], 0, 255) for c in range(3)], axis=-1)
        crop = np.transpose(crop.astype("float32"), (2, 0, 1)) / 255
        return self.normalize(torch.from_numpy(crop).float())


def cut(image: np.ndarray, center: np.ndarray, scale: float, rotation_deg: float) -> np.ndarray:
    """Cut a square at whole pixels, rotate it about its middle, and resize it to the crop."""
    corners = [transform(corner, center, scale, 0, invert=True) for corner in ((0, 0), (CROP_SIZE, CROP_SIZE))]
    (left, top), (right, bottom) = np.array(corners).astype(int)
    margin = int((np.hypot(right - left, bottom - top) - (bottom - top)) / 2) if rotation_deg else 0
    left, top, right, bottom = left - margin, top - margin, right + margin, bottom + margin
    patch = np.zeros((bottom - top, right - left, 3))
    height, width = image.shape[:2]
    rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    if rotation_deg:
        middle = (patch.shape[1] - 1) / 2, (patch.shape[0] - 1) / 2
        turn = cv2.getRotationMatrix2D(middle, rotation_deg, 1)
        patch = cv2.warpAffine(patch, turn, patch.shape[1::-1])[margin:-margin, margin:-margin]
    return cv2.resize(patch, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)


def transform(point, center: np.ndarray, scale: float, rotation_deg: float, invert: bool = False) -> np.ndarray:
    """One pixel of the picture -> whole pixel of the crop, or back."""
    zoom, size = CROP_SIZE / (200 * scale), CROP_SIZE
    matrix = np.array([[zoom, 0, size / 2 - zoom * center[0]], [0, zoom, size / 2 - zoom * center[1]], [0, 0, 1]])
    if rotation_deg:
        angle = -np.deg2rad(rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        to_middle, back = np.eye(3), np.eye(3)
        to_middle[:2, 2], back[:2, 2] = -size / 2, size / 2
        matrix = back @ turn @ to_middle @ matrix
    if invert:
        matrix = np.linalg.inv(matrix)
    return (matrix @ (*point, 1))[:2].astype(int)


def move_2d(keypoints: np.ndarray, center: np.ndarray, scale: float, change: Augmentation) -> np.ndarray:
    moved = keypoints.copy()
    for i in range(len(keypoints)):
        moved[i, :2] = transform(keypoints[i, :2], center, scale, change.rotation_deg)
    moved[:, :2] = 2 * moved[:, :2] / CROP_SIZE - 1
    return mirror(moved, J24_FLIP) if change.flip else moved


def move_3d(keypoints: np.ndarray, change: Augmentation) -> np.ndarray:
    angle = -np.deg2rad(change.rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = keypoints.copy()
    moved[:, :3] = np.einsum("ij,kj->ki", turn, keypoints[:, :3])
    return mirror(moved, J24_FLIP) if change.flip else moved


def mirror(keypoints: np.ndarray, permutation) -> np.ndarray:
    mirrored = np.array([keypoints[i] for i in permutation])
    mirrored[:, 0] *= -1
    return mirrored


def move_pose(pose: np.ndarray, change: Augmentation) -> np.ndarray:
    angle = -np.deg2rad(change.rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = pose.copy()
    moved[:3] = cv2.Rodrigues(turn @ cv2.Rodrigues(pose[:3])[0])[0].T
    if change.flip:
        moved = np.concatenate([moved[3 * i : 3 * i + 3] for i in SMPL_FLIP])
        moved[1::3] *= -1
        moved[2::3] *= -1
    return moved


def tensor(values) -> torch.Tensor:
    return torch.from_numpy(np.array(values)).float()
