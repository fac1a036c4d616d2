"""MoveNet as a backbone: its maps, its keypoints, and the features at the keypoints."""

from pathlib import Path

import torch
from easydict import EasyDict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.backbones.registry import BackboneKind
from models.features import Features, sample_bilinear
from models.movenet import TOP_WIDTH, MoveNet, UpperStages, load_movenet
from utils.detect.movenet_decoder import decode_single_person, to_crop_frame
from utils.errors import UserError
from utils.paths import MOVENET, MOVENET_STATISTICS
from utils.skeleton import NUM_KEYPOINTS

# maps that the features are made of, and their channels
PARTS = {
    "trunk4": 40, "pyramid4": 24, "trunk8": 56, "pyramid8": 24, "trunk16": 168, "pyramid16": 32,
    "trunk32": 280, "pyramid32": 64, "top": TOP_WIDTH,
}  # fmt: skip
# features at the keypoints that no upper stage computes: stride 4, and the trunk at stride 8
FROZEN_POINT_CHANNELS = PARTS["trunk4"] + PARTS["pyramid4"] + PARTS["trunk8"]


class MoveNetBackbone(nn.Module):
    """image (B, 3, H, W) as for MoveNet -> Features, small enough to store on disk.

    - maps: stride 16, trunk (168) and pyramid (32); stride 32, trunk (280) and pyramid (64);
    - pooled: the mean of the top map (1280) and the keypoints of the central person, flattened (51);
    - points: trunk and pyramid of strides 4, 8 and 16 (64 + 80 + 200), at those keypoints.

    MoveNet is trained on photographs, and its features are similar on photographs and on rendered people: so a network
    that is trained on them transfers. Frozen unless `frozen=False`. statistics: mean and standard deviation of every
    channel of PARTS over many images, (2, C) each, which normalise the features. align_corners: how maps are read at
    the keypoints, see `models.features.to_pixel`.

    upper: features of stride 8 and above come from a copy of MoveNet's upper stages. It learns, in bfloat16 while
    training; keypoints and the features of stride 4 stay those of the frozen network.
    """

    map_channels = (PARTS["trunk16"] + PARTS["pyramid16"], PARTS["trunk32"] + PARTS["pyramid32"])
    pooled_channels = TOP_WIDTH + 3 * NUM_KEYPOINTS
    point_channels = sum(width for part, width in PARTS.items() if part.endswith(("4", "8", "16")))

    def __init__(
        self,
        movenet: MoveNet,
        statistics: dict[str, Tensor] | None = None,
        frozen: bool = True,
        align_corners: bool = False,
        upper: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.upper = UpperStages(movenet) if upper else None
        self.movenet = movenet.requires_grad_(not frozen)
        # the heads select a person and keypoints, which has no gradient
        movenet.heads.requires_grad_(False)
        for part, width in PARTS.items():
            mean_std = torch.stack((torch.zeros(width), torch.ones(width))) if statistics is None else statistics[part]
            self.register_buffer(part, mean_std[..., None, None].clone(), persistent=False)

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def forward(self, image: Tensor) -> Features:
        """Always in float32: bfloat16 displaces some keypoints, which moves estimates by decimetres.

        In training with upper stages that learn: the features of the frozen network, of which `relearn` makes theirs.
        """
        parts, keypoints = self.detect(image)
        if self.upper is not None and not self.training:
            parts |= self.upper(parts["trunk8"])
        return self.features(self.standardise(parts), keypoints)

    def detect(self, image: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """image (B, 3, H, W) -> maps of the frozen network by name (PARTS), keypoints (B, 17, 3) in the crop frame."""
        parts = self.movenet.parts(image)
        keypoints = decode_single_person(*self.movenet.pose_maps(parts["pyramid4"]))
        return parts, to_crop_frame(keypoints, image.shape[-2:])

    def standardise(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps by name -> the same in units of their statistics, float32."""
        return {name: (part.float() - getattr(self, name)[0]) / getattr(self, name)[1] for name, part in parts.items()}

    def features(self, parts: dict[str, Tensor], keypoints: Tensor, align_corners: bool | None = None) -> Features:
        """Standardised maps by name, keypoints (B, 17, 3) -> Features."""
        align_corners = self.align_corners if align_corners is None else align_corners
        xy = keypoints[..., :2]
        read = [parts[f"{kind}{s}"] for s in (4, 8, 16) for kind in ("trunk", "pyramid")]
        points = torch.cat([sample_bilinear(x, xy, align_corners) for x in read], -1)
        maps = tuple(torch.cat((parts[f"trunk{s}"], parts[f"pyramid{s}"]), 1) for s in (16, 32))
        pooled = torch.cat((parts["top"].mean((2, 3)), keypoints.flatten(1)), -1)
        return Features(maps, pooled, points, keypoints, parts["trunk8"])

    def relearn(self, kept: Features) -> Features:
        """Features of the frozen network, with `trunk8` -> those of the upper stages that learn, if there are any."""
        if self.upper is None:
            return kept
        trunk8 = kept.trunk8 * self.trunk8[1] + self.trunk8[0]
        trunk8 = trunk8.contiguous(memory_format=torch.channels_last)
        with torch.autocast(trunk8.device.type, torch.bfloat16, enabled=self.training):
            parts = self.upper(trunk8)
        with torch.autocast(trunk8.device.type, enabled=False):
            parts = self.standardise(parts)
            maps = tuple(torch.cat((parts[f"trunk{s}"], parts[f"pyramid{s}"]), 1) for s in (16, 32))
            learned = [parts["pyramid8"], *maps[:1]]
            learned = [sample_bilinear(x, kept.keypoints[..., :2], self.align_corners) for x in learned]
            points = torch.cat((kept.points[..., :FROZEN_POINT_CHANNELS], *learned), -1)
            pooled = torch.cat((parts["top"].mean((2, 3)), kept.keypoints.flatten(1)), -1)
        return Features(maps, pooled, points, kept.keypoints, kept.trunk8)


def distance(features: Features, kept: Features) -> Tensor:
    """Mean square by which features differ from those of the frozen network, in units of their statistics, (B,)."""
    pairs = [*zip(features.maps, kept.maps, strict=True), (features.pooled, kept.pooled)]
    return sum((a.float() - b.float()).square().flatten(1).mean(1) for a, b in pairs) / len(pairs)


def build_movenet_backbone(
    weights: str | Path | None,
    statistics: str | Path | None = None,
    frozen: bool = True,
    align_corners: bool = False,
    upper: bool = False,
) -> MoveNetBackbone:
    """Backbone with the weights of `load_movenet` and the statistics of `scripts/measure_movenet_features.py`.

    weights None: random; statistics None: features are not normalised. The rest: see `MoveNetBackbone`.
    """
    movenet = MoveNet() if weights is None else load_movenet(weights)
    statistics = None if statistics is None else load_statistics(statistics)
    return MoveNetBackbone(movenet, statistics, frozen, align_corners, upper)


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


def _build(config: EasyDict, weights: str) -> nn.Module:
    upper = config.train_backbone == "upper"
    return build_movenet_backbone(MOVENET, MOVENET_STATISTICS, align_corners=config.align_corners, upper=upper)


# a smaller network, whose finest map has 14 pixels a side
KIND = BackboneKind(_build, block={"num_units": 1, "radius": 2, "map_size": 14})
