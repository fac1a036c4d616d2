"""The kinds of image backbones: one file of this folder each.

To add a backbone, write `models/backbones/NAME.py` with a `KIND`; then `--backbone=NAME` builds it. The network that
its `build` returns takes images (B, 3, H, W), ImageNet-normalised RGB, and returns feature maps, finest first, or
`models.features.Features`. Its attributes:

- map_channels: channels of each map;
- pooled_channels: width of the pooled features; without `Features`, the channels of the coarsest map;
- point_channels: width of features at detected 2D keypoints, 0 without any;
- trunk (optional): the part that `--freeze_backbone` freezes; without it, the whole backbone.
"""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from easydict import EasyDict
from torch import nn


class BackboneKind(NamedTuple):
    """How one kind of backbone is built, and what the rest of the network is like with it."""

    build: Callable[[EasyDict, str], nn.Module]  # configuration, --backbone_weights -> network
    align_corners: bool = False  # default of --align_corners
    regressor_dropout: float = 0.1
    block: Mapping[str, int] = MappingProxyType({})  # arguments of GraphTransformerBlock
    mean_camera: bool = True  # the first estimate has the camera of the mean parameters, not (1, 0, 0)


def backbone_kind(name: str) -> BackboneKind:
    """The kind of the backbone `name`, a checked `backbone` of a configuration: "hrnet", "timm:resnet50"."""
    # imported only if it is used: timm takes a second
    return importlib.import_module(f"models.backbones.{name.partition(':')[0]}").KIND
