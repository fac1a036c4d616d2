"""MoveNet as a backbone: its maps, its keypoints, and the features at the keypoints."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.features import Features, sample_bilinear
from models.movenet import TOP_WIDTH, MoveNet, load_movenet
from utils.detect.movenet_decoder import decode_single_person, to_crop_frame
from utils.errors import UserError
from utils.skeleton import NUM_KEYPOINTS

# maps that the features are made of, and their channels
PARTS = {
    "trunk4": 40, "pyramid4": 24, "trunk8": 56, "pyramid8": 24, "trunk16": 168, "pyramid16": 32,
    "trunk32": 280, "pyramid32": 64, "top": TOP_WIDTH,
}  # fmt: skip


class MoveNetBackbone(nn.Module):
    """image (B, 3, H, W) as for MoveNet -> Features, small enough to store on disk.

    - maps: stride 16, trunk (168) and pyramid (32); stride 32, trunk (280) and pyramid (64);
    - pooled: the mean of the top map (1280) and the keypoints of the central person, flattened (51);
    - points: trunk and pyramid of strides 4, 8 and 16 (64 + 80 + 200), at those keypoints.

    MoveNet is trained on photographs, and its features are similar on photographs and on rendered people: so a network
    that is trained on them transfers. Frozen unless `frozen=False`. statistics: mean and standard deviation of every
    channel of PARTS over many images, (2, C) each, which normalise the features.
    """

    map_channels = (PARTS["trunk16"] + PARTS["pyramid16"], PARTS["trunk32"] + PARTS["pyramid32"])
    pooled_channels = TOP_WIDTH + 3 * NUM_KEYPOINTS
    point_channels = sum(width for part, width in PARTS.items() if part.endswith(("4", "8", "16")))

    def __init__(self, movenet: MoveNet, statistics: dict[str, Tensor] | None = None, frozen: bool = True):
        super().__init__()
        self.movenet = movenet.requires_grad_(not frozen)
        # the heads select a person and keypoints, which has no gradient
        movenet.heads.requires_grad_(False)
        for part, width in PARTS.items():
            mean_std = torch.stack((torch.zeros(width), torch.ones(width))) if statistics is None else statistics[part]
            self.register_buffer(part, mean_std[..., None, None].clone(), persistent=False)

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def forward(self, image: Tensor) -> Features:
        """Always in float32: in bfloat16 MoveNet confuses some limbs, which moves estimates by decimetres."""
        parts = self.movenet.parts(image)
        keypoints = decode_single_person(*self.movenet.pose_maps(parts["pyramid4"]))
        keypoints = to_crop_frame(keypoints, image.shape[-2:])
        parts = {name: (part - getattr(self, name)[0]) / getattr(self, name)[1] for name, part in parts.items()}
        x4, x8, x16, x32 = (torch.cat((parts[f"trunk{s}"], parts[f"pyramid{s}"]), 1) for s in (4, 8, 16, 32))
        points = torch.cat([sample_bilinear(x, keypoints[..., :2]) for x in (x4, x8, x16)], -1)
        pooled = torch.cat((parts["top"].mean((2, 3)), keypoints.flatten(1)), -1)
        return Features((x16, x32), pooled, points, keypoints)


def build_movenet_backbone(
    weights: str | Path | None, statistics: str | Path | None = None, frozen: bool = True
) -> MoveNetBackbone:
    """Backbone with the weights of `load_movenet` and the statistics of `scripts/measure_movenet_features.py`.

    weights None: random; statistics None: features are not normalised.
    """
    movenet = MoveNet() if weights is None else load_movenet(weights)
    return MoveNetBackbone(movenet, None if statistics is None else load_statistics(statistics), frozen)


def load_statistics(path: str | Path) -> dict[str, Tensor]:
    """(2, C) mean and standard deviation of every part's channels; UserError for any other file."""
    remedy = "run python scripts/measure_movenet_features.py"
    try:
        statistics = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}): {remedy}") from error
    if {name: tuple(value.shape) for name, value in statistics.items()} != {n: (2, c) for n, c in PARTS.items()}:
        raise UserError(f"{path} does not hold the statistics of MoveNet's features: {remedy}")
    return statistics
