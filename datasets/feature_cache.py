"""Features of a frozen backbone, computed once and saved to disk, so that training does not run the backbone.

A shard is a safetensors file of consecutive people: their features, of which maps and points are 8-bit numbers, and
their labels. Points are saved in both conventions, `points` with -1 and 1 at the outer edges and `points_corners` with
align_corners (see `models.features.to_pixel`); `trunk8` is the stride-8 map, the input of upper stages that learn.
Shards are memory-mapped, so that workers share them. All shards in the folder are used; more may be added.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from utils.errors import UserError
from utils.files import atomic_path

LABELS = ("keypoints_2d", "keypoints_3d", "pose", "betas")
# which labels are real; in a shard without flags all of them are, as for synthetic people
FLAGS = ("has_keypoints_2d", "has_keypoints_3d", "has_smpl")
EIGHT_BIT = ("map16", "map32", "points", "points_corners", "trunk8")
FEATURES = (*EIGHT_BIT, "pooled", "keypoints")
# features have standard deviation 1; values beyond 127 * STEP are rare and are clipped
STEP = 0.05
VERSION = 2
REMEDY = "delete it and run python scripts/cache_features.py again"


def encode(features: Tensor) -> Tensor:
    """float -> int8 in units of STEP."""
    return (features / STEP).round().clamp(-127, 127).to(torch.int8)


def decode(features: Tensor) -> Tensor:
    """int8 in units of STEP -> float32; other types become float32 as they are."""
    return features.float() * STEP if features.dtype == torch.int8 else features.float()


def shard_path(folder: Path, number: int) -> Path:
    """FOLDER, 12 -> FOLDER/people_00012.safetensors."""
    return folder / f"people_{number:05d}.safetensors"


def write_shard(path: Path, features: dict[str, Tensor], labels: dict[str, Tensor], provenance: dict) -> None:
    """Write a shard atomically: FEATURES, LABELS and, if given, FLAGS; the first dimension counts people."""
    tensors = {name: encode(features[name]) for name in EIGHT_BIT}
    tensors |= {"pooled": features["pooled"].half(), "keypoints": features["keypoints"].float()}
    tensors |= {name: labels[name].float() for name in LABELS}
    tensors |= {name: labels[name].bool() for name in FLAGS if name in labels}
    with atomic_path(path) as temporary:
        metadata = {"version": str(VERSION), "provenance": json.dumps(provenance)}
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        except SafetensorError as error:  # how it reports a full disk
            raise UserError(f"cannot write {path}: {error}; check the folder and the disk") from error


class FeatureCache(Dataset):
    """People of `scripts/cache_features.py`: rows of the batch with `features` in place of `image`.

    folder: contains the shards; num_samples: number of people to use (default: all). align_corners: the convention of
    `points`. with_trunk8: include `trunk8`. UserError if there are too few people or if a shard is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        num_samples: int | None = None,
        align_corners: bool = False,
        with_trunk8: bool = False,
    ):
        self.left_out = {"points"} if align_corners else {"points_corners"}
        if not with_trunk8:
            self.left_out.add("trunk8")
        paths = sorted(Path(folder).glob("people_*.safetensors"))
        if not paths:
            raise UserError(f"no people_*.safetensors in {folder}: make some with python scripts/cache_features.py")
        self.shards = [_open_shard(path) for path in paths]
        starts = torch.tensor([0] + [len(shard["pose"]) for shard in self.shards]).cumsum(0)
        self.starts = starts[:-1]
        self.num_samples = int(starts[-1])
        if num_samples and num_samples > self.num_samples:
            raise UserError(f"{folder} has {self.num_samples} people, not {num_samples}: cache more, or use fewer")
        self.num_samples = num_samples or self.num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self.num_samples:
            raise IndexError(f"row {index} of {self.num_samples}")
        shard = int(torch.searchsorted(self.starts, int(index), right=True)) - 1
        row = {name: tensor[int(index) - self.starts[shard]] for name, tensor in self.shards[shard].items()}
        features = {name: row.pop(name) for name in FEATURES}
        features = {name: decode(value) for name, value in features.items() if name not in self.left_out}
        if "points_corners" in features:
            features["points"] = features.pop("points_corners")
        return {
            "features": features,
            **dict.fromkeys(FLAGS, True),
            **{name: bool(value) if name in FLAGS else value.clone() for name, value in row.items()},
            "index": int(index),
        }


def read_provenance(path: Path) -> dict:
    """Where the people of a shard come from, as given to `write_shard`."""
    return json.loads(_read_metadata(path).get("provenance", "{}"))


def _read_metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}): {REMEDY}") from error


def _open_shard(path: Path) -> dict[str, Tensor]:
    version, shard = _read_metadata(path).get("version"), load_file(path)
    whole = {*FEATURES, *LABELS} <= set(shard) <= {*FEATURES, *LABELS, *FLAGS}
    if version != str(VERSION) or not whole or len({len(tensor) for tensor in shard.values()}) != 1:
        raise UserError(f"{path} is not a shard of this version of the program: {REMEDY}")
    return shard
