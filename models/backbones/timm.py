"""Any network of timm that has feature maps of strides 4, 8, 16 and 32, or a plain vision transformer.

A plain vision transformer has one map, of stride 14 or 16. A small pyramid of convolutions makes four maps of it, the
simple feature pyramid of ViTDet (Li et al., ECCV 2022).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from easydict import EasyDict
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from models.backbones.hrnet import read_tensors
from models.backbones.registry import BackboneKind
from utils.crop import CROP_SIZE, IMAGENET_MEAN, IMAGENET_STD
from utils.errors import UserError

STRIDES = (4, 8, 16, 32)
PLAIN_STRIDES = (14, 16)
PYRAMID_WIDTH = 256
MAX_PARAMETERS = 1_000_000_000  # a checkpoint, which is untrusted, chooses the network


class Plan(NamedTuple):
    """What is known of a network of timm before it is built."""

    levels: tuple[int, ...]  # indices of the maps of STRIDES; () for a plain vision transformer
    channels: tuple[int, ...]  # of these maps, or of the only one
    channels_last: bool  # maps are (B, H, W, C)
    arguments: dict  # of timm.create_model


def build_timm(config: EasyDict, weights: str = "none") -> nn.Module:
    """The network that `config.backbone` names, "timm:NAME": image (B, 3, 224, 224) -> four maps.

    weights: none or auto (random), imagenet (those of timm, downloaded), or a file with tensors by timm's names.
    UserError if the network has no such maps, or if the weights are not available or do not fit.
    """
    name = config.backbone.removeprefix("timm:")
    if weights == "coco":
        raise UserError(f"there are no COCO weights of {name}: use --backbone_weights none, imagenet or FILE")
    plan = make_plan(name)
    loaded = _pretrained(name, weights, plan.arguments)
    try:
        if plan.levels:
            trunk = timm.create_model(name, features_only=True, out_indices=plan.levels, **loaded, **plan.arguments)
        else:
            trunk = timm.create_model(name, num_classes=0, **loaded, **plan.arguments)
    except Exception as error:  # no network, or a hub that is down, or no weights: of many types
        if weights != "imagenet":
            raise
        raise UserError(
            f"weights of timm's {name} are not available ({type(error).__name__}); connect to the internet once, "
            "choose one of timm.list_pretrained(), or use --backbone_weights none or FILE"
        ) from error
    cfg = timm.get_pretrained_cfg(name)
    normalize = Renormalize(cfg.mean, cfg.std)
    if plan.levels:
        return TimmPyramid(trunk, normalize, plan.channels, plan.channels_last)
    return PlainTransformer(trunk, normalize, plan.channels[0])


def make_plan(name: str) -> Plan:
    """Which maps a network of timm has, without building it. UserError if they are of no use here."""
    arguments = {"img_size": CROP_SIZE} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    try:
        with torch.device("meta"):  # no memory, no computation, no random numbers
            network = timm.create_model(name, features_only=True, **arguments).eval()
            maps = network(torch.zeros(1, 3, CROP_SIZE, CROP_SIZE))
    except Exception as error:  # timm reports it by many types
        raise UserError(
            f"timm's {name} does not give feature maps ({type(error).__name__}); choose a network of "
            "timm.list_models() that supports features_only=True"
        ) from error
    size = sum(parameter.numel() for parameter in network.parameters())
    if size > MAX_PARAMETERS:
        raise UserError(f"timm's {name} has {size:,} parameters, more than {MAX_PARAMETERS:,}; choose a smaller one")
    strides, channels = network.feature_info.reduction(), network.feature_info.channels()
    side = {stride: CROP_SIZE // stride for stride in strides}
    shapes = [(tuple(x.shape[1:]), c, side[s]) for x, c, s in zip(maps, channels, strides, strict=True)]
    first = all(shape == (c, n, n) for shape, c, n in shapes)
    last = all(shape == (n, n, c) for shape, c, n in shapes)
    if (first or last) and {*STRIDES} <= {*strides}:
        levels = tuple(max(i for i, s in enumerate(strides) if s == stride) for stride in STRIDES)
        return Plan(levels, tuple(channels[i] for i in levels), not first, arguments)
    if first and len({*strides}) == 1 and strides[0] in PLAIN_STRIDES:
        return Plan((), (channels[-1],), False, arguments)
    raise UserError(
        f"timm's {name} has feature maps of strides {', '.join(map(str, sorted({*strides})))}; a backbone needs "
        f"strides 4, 8, 16 and 32, or 14 or 16 alone"
    )


def _pretrained(name: str, weights: str, arguments: dict) -> dict:
    """Arguments of timm.create_model that load the weights; UserError if a file does not fit."""
    if weights in ("none", "auto"):
        return {"pretrained": False}
    if weights == "imagenet":
        return {"pretrained": True}
    path = Path(weights)
    tensors = read_tensors(path, f"weights of timm's {name}")
    if not tensors:
        raise UserError(f"{path} has no tensors: save the state dict of timm's {name}")
    # timm adapts names and position tables of its own files by a function of each network
    loaded = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": tensors}}
    try:
        # every tensor is compared here; the network of maps alone would leave out what it lacks
        timm.create_model(name, num_classes=0, **loaded, **arguments)
    except Exception as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit timm's {name}: {first}; give a state dict of this network") from error
    return loaded


class Renormalize(nn.Module):
    """Images in ImageNet's normalisation -> in that of another mean and standard deviation of each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        own_mean, own_std, mean, std = map(torch.tensor, (IMAGENET_MEAN, IMAGENET_STD, mean, std))
        self.same = tuple(mean.tolist()) == tuple(own_mean.tolist()) and torch.equal(own_std, std)
        self.register_buffer("scale", (own_std / std)[:, None, None], persistent=False)
        self.register_buffer("shift", ((own_mean - mean) / std)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return image if self.same else image * self.scale + self.shift


class TimmPyramid(nn.Module):
    """The maps of strides 4 to 32 of a network of timm."""

    point_channels = 0

    def __init__(self, trunk: nn.Module, normalize: nn.Module, channels: Sequence[int], channels_last: bool):
        super().__init__()
        self.trunk, self.normalize, self.channels_last = trunk, normalize, channels_last
        self.map_channels, self.pooled_channels = (*channels,), channels[-1]

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W) -> maps at strides 4, 8, 16, 32."""
        maps = self.trunk(self.normalize(image))
        return [x.permute(0, 3, 1, 2) if self.channels_last else x for x in maps]


class PlainTransformer(nn.Module):
    """A vision transformer of one resolution with the simple feature pyramid of ViTDet: its last map, made 4 and 2
    times as large by transposed convolutions, as it is, and half as large."""

    point_channels = 0
    map_channels, pooled_channels = (PYRAMID_WIDTH,) * len(STRIDES), PYRAMID_WIDTH

    def __init__(self, trunk: nn.Module, normalize: nn.Module, channels: int):
        super().__init__()
        self.trunk, self.normalize = trunk, normalize
        # its parameters without effect on the map would stop data-parallel training
        trunk.prune_intermediate_layers(1, prune_norm=False, prune_head=True)
        half, quarter = channels // 2, channels // 4

        def twice(inputs: int, outputs: int) -> nn.Module:
            return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)

        scales = (
            (nn.Sequential(twice(channels, half), LayerNorm2d(half), nn.GELU(), twice(half, quarter)), quarter),
            (twice(channels, half), half),
            (nn.Identity(), channels),
            (nn.MaxPool2d(kernel_size=2), channels),
        )
        self.pyramid = nn.ModuleList(
            nn.Sequential(
                scale,
                nn.Conv2d(width, PYRAMID_WIDTH, kernel_size=1, bias=False),
                LayerNorm2d(PYRAMID_WIDTH),
                nn.Conv2d(PYRAMID_WIDTH, PYRAMID_WIDTH, kernel_size=3, padding=1, bias=False),
                LayerNorm2d(PYRAMID_WIDTH),
            )
            for scale, width in scales
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W) -> maps at a quarter, half, once and twice the stride of the transformer."""
        image = self.normalize(image)
        last = self.trunk.forward_intermediates(
            image, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )[-1]
        return [level(last) for level in self.pyramid]


# the block is that of the published network, which has four maps too
KIND = BackboneKind(build_timm, regressor_dropout=0.5)
