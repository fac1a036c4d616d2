"""A METRO-layout data set: one person per row, a crop of the picture and its labels."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.augment import Augmentation, move_keypoints_2d, move_keypoints_3d, move_pose
from datasets.decode import decode_for_crop, decode_image
from datasets.labels import format_label, parse_gender, parse_label, parse_smpl_joints
from datasets.tsv import TSVSet
from utils.crop import CROP_SIZE, crop_matrix, normalize, reduced_matrix, warp

__all__ = ["HumanMeshDataset", "format_label", "parse_label"]


class HumanMeshDataset(Dataset):
    """A METRO-layout set as rows of the batch.

    Row i is a dict: `image` (3, 224, 224) float, RGB, ImageNet-normalised; `keypoints_2d` (24, 3) in [-1, 1] of the
    crop, confidence; `keypoints_3d` (24, 4) metres, camera frame, J24 pelvis at the origin, confidence; `pose` (72,)
    axis-angle radians; `betas` (10,); `has_keypoints_2d`, `has_keypoints_3d`, `has_smpl` bool; `center` (2,) source
    pixels; `scale` () crop side / 200; `index` int; `image_id` str, the row's key. A label that a row lacks is zeros,
    and its flag is False.

    augment: False, True or a fixed `(flip, gain_rgb, rotation_deg, scale)`. True draws one at random from seed, epoch
    and row number alone; the epoch is part of the row number, see `datasets.sampler.RowNumber`.
    with_image_uint8: add `image_uint8` (3, 224, 224), the crop before normalisation.
    with_smpl_joints: add `smpl_joints` (24, 3) metres, camera frame, by the body of the person's gender; only sets for
    evaluation have them, without augmentation.
    with_gender: add `gender` int, 0 neutral or unknown, 1 male, 2 female.
    root: folder that has to contain the set's files, see `TSVSet`.
    Large JPEGs are decoded at the resolution that the crop needs, see `datasets.decode`. A row that cannot be read
    raises a RowError with file, row and remedy.
    """

    def __init__(
        self,
        yaml_file: str | Path,
        augment: bool | tuple = False,
        with_image_uint8: bool = False,
        seed: int = 0,
        root: str | Path | None = "..",
        with_smpl_joints: bool = False,
        with_gender: bool = False,
    ):
        self.rows = TSVSet(yaml_file, root)
        self.augment = augment
        self.with_image_uint8 = with_image_uint8
        self.seed = seed
        self.with_smpl_joints, self.with_gender = with_smpl_joints, with_gender

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> tuple[str, np.ndarray, dict]:
        """Key, whole picture (H, W, 3) uint8 RGB and label (see `parse_label`) of a row, not augmented."""
        key, encoded = self.rows.image(index)
        return key, decode_image(encoded, self._where(index, key)), self._label(index, key)

    def __getitem__(self, index: int) -> dict:
        flip, gain_rgb, rotation_deg, zoom = self._augmentation(index)
        key, encoded = self.rows.image(index)
        label = self._label(index, key)
        center, scale = label["center"], label["scale"] * zoom

        image, reduction = decode_for_crop(encoded, 200 * scale / CROP_SIZE, self._where(index, key))
        matrix = crop_matrix(center, scale, rotation_deg, flip)
        crop = warp(image, reduced_matrix(matrix, reduction))
        row = {
            "image": normalize(crop, gain_rgb),
            "keypoints_2d": _tensor(move_keypoints_2d(label["keypoints_2d"], matrix, flip)),
            "keypoints_3d": _tensor(move_keypoints_3d(label["keypoints_3d"], rotation_deg, flip)),
            "pose": _tensor(move_pose(label["pose"], rotation_deg, flip)),
            "betas": _tensor(label["betas"]),
            "has_keypoints_2d": label["has_keypoints_2d"],
            "has_keypoints_3d": label["has_keypoints_3d"],
            "has_smpl": label["has_smpl"],
            "center": _tensor(center),
            "scale": _tensor(scale),
            "index": int(index),
            "image_id": key,
        }
        for name in label["absent"]:
            row[name].zero_()  # rotation and translation make zeros of a missing label nonzero
        if self.with_smpl_joints:
            row["smpl_joints"] = _tensor(parse_smpl_joints(self.rows.label(index), self._where(index, key, "label")))
        if self.with_gender:
            row["gender"] = parse_gender(self.rows.label(index))
        if self.with_image_uint8:
            brightened = np.clip(crop[..., :3] * np.asarray(gain_rgb), 0, 255).astype(np.uint8)
            row["image_uint8"] = torch.from_numpy(brightened.transpose(2, 0, 1).copy())
        return row

    def _label(self, index: int, key: str) -> dict:
        return parse_label(self.rows.label(index), self._where(index, key, "label"))

    def _where(self, index: int, key: str, kind: str = "img") -> str:
        """Row and file, for messages."""
        return f"{self.rows.where(index, kind)} ({key})"

    def _augmentation(self, index: int) -> Augmentation:
        if isinstance(self.augment, tuple):
            return Augmentation(*self.augment)
        if not self.augment:
            return Augmentation()
        return Augmentation.draw(np.random.default_rng((self.seed, getattr(index, "epoch", 0), index)))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32))
