"""Photographs with annotated people: DIR/images/ and DIR/annotations.json, a list with one entry per person.

An entry has `image` (file in images/), `bbox` (x, y, width, height in pixels) and `keypoints` (COCO name -> [x, y, v],
pixels; v = 0 is not labelled).
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from utils.camera import Crop
from utils.crop import crop_image, normalize
from utils.errors import UserError
from utils.media.images import load_image
from utils.skeleton import COCO17, J14, J24_TO_J14

LIMBS = COCO17[5:]
J14_NAMES = [name.lower().replace("l_", "left_").replace("r_", "right_") for name in J14]


def read_annotations(photos: Path) -> list[dict]:
    """Read and check the entries of annotations.json. UserError names the first unusable one."""
    path = photos / "annotations.json"
    if not path.is_file():
        raise UserError(f"{path} not found; --photos names a folder with annotations.json and images/")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); write it again") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} is not a list of people; see python scripts/eval_photos.py --help")
    for number, entry in enumerate(entries):
        try:
            box = np.asarray(entry["bbox"], float)
            well_formed = box.shape == (4,) and box[2:].min() > 0 and isinstance(entry["image"], str)
            labels = np.array([entry["keypoints"][name] for name in LIMBS], float)
            well_formed = well_formed and labels.shape == (len(LIMBS), 3) and np.isfinite(labels).all()
        except (KeyError, TypeError, ValueError, OverflowError):
            well_formed = False
        if not well_formed:
            raise UserError(f"{path}: entry {number} lacks image, bbox or the 12 limb keypoints [x, y, v]; complete it")
        if not (photos / "images" / entry["image"]).is_file():
            raise UserError(
                f"{path}: entry {number} names images/{entry['image']}, which is not there; add the picture"
            )
    return entries


class AnnotatedPhotos(Dataset):
    """The annotated people as rows of the batch, cropped as in scripts/eval_photos.py. Only limb keypoints have labels.

    Row i: `image` and the labels and flags of `datasets.human_mesh.HumanMeshDataset`.
    """

    def __init__(self, photos: Path):
        self.photos, self.entries = photos, read_annotations(photos)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict:
        entry = self.entries[index]
        crop = Crop.around(entry["bbox"])
        pixels = crop_image(load_image(self.photos / "images" / entry["image"]), *crop, antialias=True)
        keypoints_2d = torch.zeros(24, 3)
        for name in LIMBS:
            *xy, visible = entry["keypoints"][name]
            keypoints_2d[J24_TO_J14[J14_NAMES.index(name)]] = torch.tensor((*crop.from_image(xy), float(visible > 0)))
        return {
            "image": normalize(pixels),
            "keypoints_2d": keypoints_2d,
            "keypoints_3d": torch.zeros(24, 4),
            "pose": torch.zeros(72),
            "betas": torch.zeros(10),
            "has_keypoints_2d": True,
            "has_keypoints_3d": False,
            "has_smpl": False,
        }
