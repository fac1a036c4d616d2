"""HRNet image features (Sun et al., CVPR 2019) through timm, with a choice of initial weights."""

import re
from pathlib import Path

import timm
import torch
from torch import nn

from utils.errors import UserError
from utils.safe_load.limits import check_torch_file

# Keys that only an official pose_hrnet checkpoint has, and keys that it lacks: its last stage fuses only to the finest
# of the four outputs.
POSE_HRNET_EXTRA = re.compile(r"final_layer\.")
POSE_HRNET_ABSENT = re.compile(r"stage4\.2\.fuse_layers\.[1-3]\.")


def build_hrnet(hrnet_type: str, weights: str | Path | None = None) -> nn.Module:
    """HRNet `w18`, `w32` or `w48`: image (B, 3, H, W) -> four maps at strides 4, 8, 16, 32, `.map_channels` wide.

    weights: None (random), "imagenet" (downloaded by timm), or the path of an official pose_hrnet checkpoint (COCO).
    Parameters have the names of the official pose_hrnet. UserError if the weights are not available or do not fit.
    """
    try:
        backbone = timm.create_model(
            f"hrnet_{hrnet_type}",
            pretrained=weights == "imagenet",
            features_only=True,
            feature_location="",
            out_indices=(1, 2, 3, 4),
        )
    except (OSError, RuntimeError) as error:  # no network, or the hub is down
        if weights != "imagenet":
            raise
        raise UserError(
            f"ImageNet weights of hrnet_{hrnet_type} could not be downloaded ({type(error).__name__}); "
            "connect to the internet once, or use --backbone_weights coco or none"
        ) from error
    backbone.map_channels = backbone.feature_info.channels()
    backbone.pooled_channels, backbone.point_channels = backbone.map_channels[-1], 0
    if weights not in (None, "imagenet"):
        load_pose_hrnet(backbone, Path(weights))
    return backbone


def load_pose_hrnet(backbone: nn.Module, path: Path) -> None:
    """Load an official pose_hrnet checkpoint into an HRNet; UserError names the first tensor that does not fit."""
    if not path.is_file():
        raise UserError(
            f"HRNet weights not found at {path}: download the official pose_hrnet COCO checkpoint there, "
            "or use --backbone_weights imagenet or none"
        )
    check_torch_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = type(error).__name__
        raise UserError(f"{path} is not a readable HRNet checkpoint ({reason}); download it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} is not a pose_hrnet checkpoint: expected a flat dict of tensors; download it again")
    own = backbone.state_dict()
    unexpected = [k for k in state if k not in own and not POSE_HRNET_EXTRA.match(k)]
    missing = [k for k in own if k not in state and not POSE_HRNET_ABSENT.match(k)]
    misfit = [k for k in own if k in state and own[k].shape != state[k].shape]
    for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misfit)):
        if keys:
            raise UserError(
                f"{path} does not fit this HRNet: {len(keys)} tensors {what}, first {keys[0]}; "
                "choose the checkpoint of the same width as --hrnet_type"
            )
    backbone.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)  # checked above
