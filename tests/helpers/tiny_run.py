"""Training runs so small that tests can afford many: made-up features of 14 people, a body of 120 vertices."""

from pathlib import Path

import torch

from datasets.feature_cache import LABELS, shard_path, write_shard
from models.backbones.movenet import PARTS, MoveNetBackbone
from tests.helpers.tiny_data import write_body
from utils.checkpoint import read_checkpoint
from utils.train.logger import read_records

PEOPLE = 14
FLAGS = (
    *("--smpl_path=tiny_body.npz", "--keypoint_regressor=tiny_j17.npy", "--mean_params=none", "--device=cpu"),
    *("--data_mode=synthetic", "--backbone=movenet", "--model_type=backbone", "--feature_cache=cache"),
    *("--batch_size=2", "--num_workers=1", "--eval_epochs=0", "--ema=0.9", "--log_root=logs"),
)


def make_place(place: Path, **labels: torch.Tensor) -> Path:
    """A folder to run in; labels replace made-up ones."""
    place.mkdir(exist_ok=True)
    write_body(place)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(PEOPLE, *shape, generator=generator)

    c16, c32 = MoveNetBackbone.map_channels
    features = {"map16": draw(c16, 14, 14), "map32": draw(c32, 7, 7), "pooled": draw(MoveNetBackbone.pooled_channels)}
    features |= {"points": draw(17, MoveNetBackbone.point_channels), "keypoints": draw(17, 3).clamp(-1, 1)}
    features |= {"points_corners": features["points"], "trunk8": draw(PARTS["trunk8"], 28, 28)}
    shapes = {"keypoints_2d": (24, 3), "keypoints_3d": (24, 4), "pose": (72,), "betas": (10,)}
    labels = {name: labels.get(name, draw(*shapes[name]).abs() * 0.3) for name in LABELS}
    (place / "cache").mkdir()
    write_shard(shard_path(place / "cache", 0), features, labels, {})
    return place


def outcome(folder: Path, epoch: int) -> tuple[dict, list[dict]]:
    """What a run has come to: its last checkpoint without the names of run and code, and its log without times."""
    content = read_checkpoint(folder / "checkpoints" / f"epoch_{epoch:03d}.pt")
    del content["options"], content["code_version"]
    records = read_records(folder / "log.jsonl")
    for record in records:
        del record["train_seconds"]
    return content, records


def same(a, b) -> bool:
    """Equal to the bit, however nested."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b
