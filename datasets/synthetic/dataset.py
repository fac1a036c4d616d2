"""Synthetic people with exact labels, rendered on demand: `--data_mode synthetic`, without any data set files.

Row i of a split is a function of (seed, split, epoch, i) alone. One stream of random numbers draws shape, pose, place
and camera (the labels), another one the appearance, so that labels are the same with and without the optional assets.
Training, validation and test share no motion clips, light maps and photographs.
"""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.augment import Augmentation
from datasets.labels import format_label
from datasets.synthetic.generator import shared_generator
from datasets.synthetic.picture import Picture, render_picture
from datasets.synthetic.subject import Subject, draw_subject
from utils.crop import CROP_SIZE, normalize
from utils.errors import UserError
from utils.paths import ASSETS

SPLITS = ("train", "val", "test")
# keypoints_2d confidence of a keypoint inside the picture that is hidden, be it by the person's own body
OCCLUDED = 0.5


class SyntheticDataset(Dataset):
    """Rows of the batch, rendered on demand.

    Row i: as `datasets.human_mesh.HumanMeshDataset`; all labels are exact and all `has_` flags True. `keypoints_2d`
    confidence is 0 for keypoints outside the picture, OCCLUDED for hidden ones, 1 for visible ones; `keypoints_3d`
    confidence is 1. Orientation and 3D keypoints are in the label frame (see `datasets.synthetic.subject`). `center`
    and `scale` are those of the crop itself.

    body_file: see `Body`. split: one of SPLITS. num_samples: length of an epoch (default: 100,000 for training, else
    2,000). augment: rotation, zoom and brightness of the published augmentation (default: in training); rotation and
    zoom are those of the camera, so that nothing is interpolated. assets: folder of fetched assets, may be absent.
    size: side of the picture in pixels. clean: without occluders, bystanders and camera faults. with_image_uint8: add
    `image_uint8` (3, size, size) and `mask` (size, size) bool, the pixels of the person. turned: share of the augmented
    people whose rotation is any angle, so that some are lying or upside down.
    """

    def __init__(
        self,
        body_file: str | Path,
        split: str = "train",
        seed: int = 0,
        num_samples: int | None = None,
        augment: bool | None = None,
        assets: str | Path = ASSETS,
        size: int = CROP_SIZE,
        clean: bool = False,
        with_image_uint8: bool = False,
        turned: float = 0.0,
    ):
        if split not in SPLITS:
            raise UserError(f"synthetic split {split!r} does not exist: use one of {', '.join(SPLITS)}")
        self.split, self.seed, self.size, self.clean = split, seed, size, clean
        self.num_samples = num_samples or (100_000 if split == "train" else 2_000)
        self.augment = split == "train" if augment is None else augment
        self.with_image_uint8, self.turned = with_image_uint8, turned
        self.generator = shared_generator(str(body_file), split, str(assets))

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict:
        epoch = getattr(index, "epoch", 0)
        index = int(index)
        subject, picture = self._draw(index, epoch, self.size)
        row = {
            "image": normalize(picture.image),
            "keypoints_2d": _tensor(_keypoints_2d(picture, (2 * picture.keypoints + 1) / self.size - 1)),
            "keypoints_3d": _tensor(np.column_stack((subject.keypoints_3d(), np.ones(24)))),
            "pose": _tensor(subject.pose.reshape(72)),
            "betas": _tensor(subject.betas),
            "has_keypoints_2d": True,
            "has_keypoints_3d": True,
            "has_smpl": True,
            "center": torch.full((2,), self.size / 2),
            "scale": torch.tensor(self.size / 200),
            "index": index,
            "image_id": f"synthetic/{self.split}/{self.seed}/{epoch}/{index}",
        }
        if self.with_image_uint8:
            row["image_uint8"] = torch.from_numpy(picture.image.transpose(2, 0, 1).copy())
            row["mask"] = torch.from_numpy(picture.mask)
        return row

    def wide_picture(self, index: int, size: int = 360, zoom_out: float = 1.6) -> tuple[np.ndarray, dict]:
        """Sample `index` in a picture whose side is `zoom_out` times the crop's -> image (size, size, 3) uint8 RGB,
        METRO label (see `format_label`)."""
        subject, picture = self._draw(index, 0, size, zoom_out)
        label = format_label(
            center=(size / 2, size / 2),
            scale=size / zoom_out / 200,
            keypoints_2d=_keypoints_2d(picture, picture.keypoints),
            keypoints_3d=np.column_stack((subject.keypoints_3d(), np.ones(24))),
            pose=subject.pose.reshape(72),
            betas=subject.betas,
            gender="n",
        )
        return picture.image, label

    def _draw(self, index: int, epoch: int, size: int, zoom_out: float = 1.0) -> tuple[Subject, Picture]:
        if not 0 <= index < self.num_samples:
            raise IndexError(f"row {index} of {self.num_samples}")
        streams = np.random.SeedSequence((self.seed, SPLITS.index(self.split), epoch, index)).spawn(3)
        labels, appearance, changes = (np.random.Generator(np.random.PCG64(stream)) for stream in streams)
        roll, zoom, gain = 0.0, 1.0, (1.0, 1.0, 1.0)
        if self.augment:
            drawn = Augmentation.draw(changes)  # its flip is not used: left and right are equally likely anyway
            roll, zoom, gain = np.deg2rad(drawn.rotation_deg), drawn.scale, drawn.gain_rgb
            if self.turned and changes.random() < self.turned:
                roll = changes.uniform(-np.pi, np.pi)
        subject = draw_subject(labels, self.generator.body, self.generator.poses(labels), roll, zoom)
        return subject, render_picture(appearance, self.generator, subject, size, zoom_out, gain, self.clean)


def _keypoints_2d(picture: Picture, xy: np.ndarray) -> np.ndarray:
    """Keypoints xy (24, 2) of a Picture in any unit -> (24, 3) with confidence."""
    return np.column_stack((xy, np.where(picture.visible, 1.0, OCCLUDED) * picture.inside))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float32)
