"""A network in training on random data, for the parts training and scaling."""

import copy
from argparse import Namespace

import torch
from torch import Tensor, nn

from main import add_gradient
from models.backbones.movenet import PARTS, MoveNetBackbone
from models.build import build_model
from utils.options import parse_args
from utils.train.batches import to_device
from utils.train.optimizer import build_optimizer
from utils.train.update import Update

RECIPES = {
    "w32": ("--backbone_weights=none",),
    # the recipe of the default model, on cached features
    "movenet": (
        *("--backbone=movenet", "--stage_weights", "0.2", "0.3", "0.5", "1"),
        *("--loss_vertices=1000", "--keypoint_loss=l1", "--weight_decay=0.01", "--clip_grad=50"),
    ),
}


class Trainee:
    """A network of RECIPES with its criterion. The learning rate is so small that the weights hardly change."""

    def __init__(self, recipe: str, device: torch.device, precision: str = "fp32"):
        self.recipe, self.device = recipe, device
        self.args = parse_args([*RECIPES[recipe], f"--precision={precision}", "--lr=1e-9"])
        model, criterion = build_model(self.args)
        self.model: nn.Module = model.to(device).train()
        self.criterion: nn.Module = criterion.to(device).train()
        self.update: Update | None = None

    def at(self, precision: str) -> "Trainee":
        """The same network with another precision and its own optimiser."""
        other = copy.copy(self)
        other.args, other.update = Namespace(**vars(self.args) | {"precision": precision}), None
        return other

    def step(self, batch: dict):
        """One training step of main.py."""
        if self.update is None:
            optimizer = build_optimizer(self.model, self.args.lr, self.args.weight_decay)
            self.update = Update(self.model, optimizer, None, self.args.clip_grad, self.args.precision == "fp16")
        add_gradient(self.model, self.criterion, batch, self.update, self.device, self.args)
        self.update.step()

    def batch(self, size: int) -> dict:
        """A batch of random images or features with plausible labels, on the device."""
        rows = random_rows(size) | ({} if self.recipe == "movenet" else {"image": torch.randn(size, 3, 224, 224)})
        if self.recipe == "movenet":
            features = random_features(size)
            rows["features"] = {name: features[name] for name in ("map16", "map32", "pooled", "points", "keypoints")}
        return to_device(rows, self.device)


def random_rows(size: int) -> dict[str, Tensor]:
    """Complete labels of `size` random people."""
    rows = {"pose": 0.3 * torch.randn(size, 72), "betas": torch.randn(size, 10), "index": torch.arange(size)}
    rows |= {"keypoints_2d": torch.rand(size, 24, 3), "keypoints_3d": torch.rand(size, 24, 4)}
    return rows | {f"has_{label}": torch.ones(size).bool() for label in ("smpl", "keypoints_2d", "keypoints_3d")}


def random_features(size: int) -> dict[str, Tensor]:
    """Random features of `size` images, in the layout of datasets/feature_cache.py."""
    channels16, channels32 = MoveNetBackbone.map_channels
    features = {"map16": torch.randn(size, channels16, 14, 14), "map32": torch.randn(size, channels32, 7, 7)}
    features |= {"pooled": torch.randn(size, MoveNetBackbone.pooled_channels)}
    return features | {
        "points": torch.randn(size, 17, MoveNetBackbone.point_channels),
        "points_corners": torch.randn(size, 17, MoveNetBackbone.point_channels),
        "trunk8": torch.randn(size, PARTS["trunk8"], 28, 28),
        "keypoints": torch.randn(size, 17, 3).clamp(-1, 1),
    }
