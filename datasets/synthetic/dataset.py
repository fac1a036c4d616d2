"""Endless synthetic people with exact labels: `--data_mode synthetic`, no files needed.

Row i of a split is a function of (seed, split, epoch, i) alone. Two streams of random numbers draw it: one for who,
where and which pose (the labels), one for the looks, so that labels are the same with and without the optional assets.
Validation and test use poses of motion clips, scanned lights and photographs that training never sees.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.augment import Augmentation
from datasets.labels import format_label
from datasets.poses import PoseSampler
from datasets.synthetic.assets import load_assets
from datasets.synthetic.person.body import Body
from datasets.synthetic.person.skin import paint_skins
from datasets.synthetic.person.wardrobe import Wardrobe
from datasets.synthetic.picture import render_picture
from datasets.synthetic.raster.rasterizer import ambient_occlusion
from datasets.synthetic.subject import draw_subject
from utils.crop import normalize
from utils.errors import UserError
from utils.paths import ASSETS

SPLITS = ("train", "val", "test")
# keypoints_2d confidence of a keypoint inside the picture that something hides (the person's own body included)
OCCLUDED = 0.5


class PeopleGenerator:
    """What all samples of a split share: body, clothes, skins, poses, assets. Takes seconds to make."""

    def __init__(self, body_file, split, assets=ASSETS):
        self.body = Body(body_file)
        if self.body.uv is None or self.body.uv_faces is None:
            raise UserError(f"body file {body_file} has no texture coordinates (uv, uv_f): use meta_data/open_body.npz")
        self.wardrobe = Wardrobe(self.body)
        self.openness = ambient_occlusion(self.body.template, self.body.faces)
        self.poses = PoseSampler(split=split)
        found = load_assets(Path(assets), split)
        self.photos, self.pictures, self.fabrics, self.environments = (
            found.photos, found.pictures, found.fabrics, found.environments,
        )  # fmt: skip
        self.skins = paint_skins(self.body, self.wardrobe, found.skins)


@functools.lru_cache(maxsize=2)
def shared_generator(body_file, split, assets):
    """One PeopleGenerator per process for the same arguments."""
    return PeopleGenerator(body_file, split, assets)


class SyntheticDataset(Dataset):
    """Rows of the batch, drawn on the fly.

    Row i: as `datasets.human_mesh.HumanMeshDataset`; all labels are exact and all `has_` flags True. `keypoints_2d`
    confidence is 0 for keypoints outside the picture, OCCLUDED for hidden ones, 1 for visible ones; `keypoints_3d`
    confidence is 1. Orientation and 3D keypoints are in the label frame (see `datasets.synthetic.subject`). `center`
    and `scale` are those of the crop itself.

    num_samples: length of an epoch. augment: turn, zoom and brighten as the published augmentation does (by default in
    training); the turn and the zoom are the camera's, so that nothing is interpolated. clean: no occluders and camera
    faults. with_image_uint8: add `image_uint8` (3, size, size) and `mask` (size, size), where the person is.
    """

    def __init__(
        self, body_file, split="train", seed=0, num_samples=None, augment=None, assets=ASSETS, size=224, clean=False,
        with_image_uint8=False,
    ):  # fmt: skip
        if split not in SPLITS:
            raise UserError(f"synthetic split {split!r} does not exist: use one of {', '.join(SPLITS)}")
        self.split, self.seed, self.size, self.clean = split, seed, size, clean
        self.num_samples = num_samples or (100_000 if split == "train" else 2_000)
        self.augment = split == "train" if augment is None else augment
        self.with_image_uint8 = with_image_uint8
        self.generator = shared_generator(str(body_file), split, str(assets))

    def __len__(self):
        return self.num_samples

    def __getitem__(self, index):
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

    def wide_picture(self, index, size=360, zoom_out=1.6):
        """Sample i as a picture with room around the crop -> image (size, size, 3) uint8 RGB, METRO label (see
        `format_label`)."""
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

    def _draw(self, index, epoch, size, zoom_out=1.0):
        """Sample `index` of an epoch -> Subject, Picture."""
        if not 0 <= index < self.num_samples:
            raise IndexError(f"row {index} of {self.num_samples}")
        streams = np.random.SeedSequence((self.seed, SPLITS.index(self.split), epoch, index)).spawn(3)
        labels, looks, changes = (np.random.Generator(np.random.PCG64(stream)) for stream in streams)
        roll, zoom, gain = 0.0, 1.0, (1.0, 1.0, 1.0)
        if self.augment:
            drawn = Augmentation.draw(changes)  # no flip: the generator favours no side
            roll, zoom, gain = np.deg2rad(drawn.rotation_deg), drawn.scale, drawn.gain_rgb
        subject = draw_subject(labels, self.generator.body, self.generator.poses(labels), roll, zoom)
        return subject, render_picture(looks, self.generator, subject, size, zoom_out, gain, self.clean)


def _keypoints_2d(picture, xy):
    """Keypoints xy (24, 2) of a Picture in any unit -> (24, 3) with their confidence."""
    return np.column_stack((xy, np.where(picture.visible, 1.0, OCCLUDED) * picture.inside))


def _tensor(array):
    return torch.tensor(array, dtype=torch.float32)
