"""HRNet image features (Sun et al., CVPR 2019) through timm, with a choice of initial weights."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from easydict import EasyDict
from torch import nn

from models.backbones.registry import BackboneKind
from utils.errors import UserError
from utils.files import find_file
from utils.paths import PRETRAINED
from utils.safe_load.limits import check_torch_file

# Keys that only an official pose_hrnet checkpoint has, and keys that it lacks: its last stage fuses only to the finest
# of the four outputs.
POSE_HRNET_EXTRA = re.compile(r"(final_layer|incre_modules|downsamp_modules|classifier)\.")
POSE_HRNET_ABSENT = re.compile(r"^stage4\.2\.fuse_layers\.[1-3]\.|num_batches_tracked$")
POSE_HRNET = {"w32": "pose_hrnet_w32_256x256.pth", "w48": "pose_hrnet_w48_256x192.pth"}  # in pretrained/hrnet
LANDMARK = "layer1.0.conv1.weight"  # a tensor that every HRNet has
# MMPose keeps arrays of numpy beside the weights
NUMPY_GLOBAL = re.compile(r"numpy\.(_?core\.multiarray\.(_reconstruct|scalar)|ndarray|dtype)|_codecs\.encode")
NUMPY_TYPES = [
    *((np._core.multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((np._core.multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(np.ndarray, np.dtype, codecs.encode),
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool")),
]


def build_hrnet(hrnet_type: str, weights: str | Path | None = None) -> nn.Module:
    """HRNet `w18`, `w32` or `w48`: image (B, 3, H, W) -> four maps at strides 4, 8, 16, 32, `.map_channels` wide.

    weights: None (random), "imagenet" (downloaded by timm), or the path of HRNet pose weights.
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
    """Load HRNet pose weights, see `read_hrnet_weights`, into an HRNet; UserError names the first tensor that does not
    fit."""
    state = read_hrnet_weights(path)
    own = backbone.state_dict()
    unexpected = [k for k in state if k not in own and not POSE_HRNET_EXTRA.match(k)]
    missing = [k for k in own if k not in state and not POSE_HRNET_ABSENT.search(k)]
    misfit = [k for k in own if k in state and own[k].shape != state[k].shape]
    for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misfit)):
        if keys:
            raise UserError(
                f"{path} does not fit this HRNet: {len(keys)} tensors {what}, first {keys[0]}; "
                "choose the checkpoint of the same width as --hrnet_type"
            )
    backbone.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)  # checked above


def read_hrnet_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a pose or classification HRNet by their official names.

    path: see `read_tensors`. What stands before the official names (`backbone.`, `module.`) is removed.
    """
    tensors = read_tensors(path, "HRNet weights")
    found = [key for key in tensors if key.endswith(LANDMARK)]
    if not found:
        raise UserError(f"{path} is not an HRNet checkpoint: no tensor is called {LANDMARK}; give another file")
    prefix = min(found, key=len).removesuffix(LANDMARK)
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def read_tensors(path: Path, what: str) -> dict[str, torch.Tensor]:
    """The tensors of a file of weights by name.

    path: .safetensors, or a torch.save file: a flat dict, or one with other data around it, as of MMPose; then the
    largest dict of tensors counts. No code in the file is executed. what: name of the content, for messages.
    """
    if not path.is_file():
        raise UserError(
            f"{what} not found at {path}: docs/data.md lists where to download weights, "
            "or use --backbone_weights imagenet or none"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            check_torch_file(path, allow=NUMPY_GLOBAL)
            with torch.serialization.safe_globals(NUMPY_TYPES):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        reason = type(error).__name__
        raise UserError(f"{path}: {what} cannot be read ({reason}); download the file again") from error
    return max(_dicts_of_tensors(content, depth=3), key=len, default={})


def _dicts_of_tensors(value, depth: int) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors of each dict inside `value`, the outer ones first."""
    if isinstance(value, dict) and depth:
        yield {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, torch.Tensor)}
        for item in value.values():
            yield from _dicts_of_tensors(item, depth - 1)


def find_hrnet_weights(choice: str, hrnet_type: str) -> Path | str | None:
    """HRNet weights by name or path: auto is the official COCO checkpoint if it is in pretrained/hrnet, else None
    (random)."""
    if choice == "none":
        return None
    if choice not in ("auto", "coco", "imagenet"):
        return Path(choice)
    if choice == "imagenet":
        return "imagenet"
    if hrnet_type not in POSE_HRNET:
        if choice == "coco":
            raise UserError(f"there is no official COCO checkpoint of HRNet-{hrnet_type}; use --backbone_weights none")
        return None
    found = find_file(PRETRAINED / "hrnet", [POSE_HRNET[hrnet_type]])
    return found or (PRETRAINED / "hrnet" / POSE_HRNET[hrnet_type] if choice == "coco" else None)


def _build(config: EasyDict, weights: str) -> nn.Module:
    return build_hrnet(config.hrnet_type or "w32", find_hrnet_weights(weights, config.hrnet_type))


# the published network
KIND = BackboneKind(_build, align_corners=True, regressor_dropout=0.5, mean_camera=False)
