"""MoveNet Thunder (Google, 2021): a 2D pose network trained on photographs of people.

MobileNetV2 (Sandler et al., CVPR 2018) at width 1.75, a feature pyramid (Lin et al., CVPR 2017) of 24 channels at
stride 4, and the four heads of a CenterNet for poses (Zhou et al., 2019). Batch norm is folded into the convolutions,
so training and evaluation mode are the same function. `scripts/convert_movenet.py` converts the weights.
"""

import copy
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.inference.fused_conv import ACTIVATIONS
from utils.crop import IMAGENET_MEAN, IMAGENET_STD
from utils.errors import UserError
from utils.skeleton import NUM_KEYPOINTS

STEM_WIDTH, TOP_WIDTH = 56, 1280
# expansion, width, blocks, stride of the first block
STAGES = ((1, 32, 1, 1), (6, 40, 2, 2), (6, 56, 3, 2), (6, 112, 4, 2), (6, 168, 3, 1), (6, 280, 3, 2), (6, 560, 1, 1))
HEADS = {"heatmaps": NUM_KEYPOINTS, "centre": 1, "regression": 2 * NUM_KEYPOINTS, "offsets": 2 * NUM_KEYPOINTS}


class PoseMaps(NamedTuple):
    """Outputs of MoveNet for every cell of a stride-4 grid (h, w); vectors are (x, y) in cells."""

    heatmaps: Tensor  # (B, 17, h, w) probability of each COCO keypoint
    centre: Tensor  # (B, h, w) probability that a person is centred here
    regression: Tensor  # (B, 17, 2, h, w) from a person's centre to the keypoint
    offsets: Tensor  # (B, 17, 2, h, w) from a keypoint's cell to the keypoint


class Conv(nn.Conv2d):
    """activation(conv(x) + add), with TensorFlow's SAME padding for inputs of even size.

    outer: padding of left, right, top and bottom for F.pad; at stride 2 SAME pads right and bottom alone.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str = "none",
    ):
        super().__init__(c_in, c_out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=bias)
        self.activation = activation
        self.outer = None if stride == 1 else (0, 1, 0, 1)

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        y = super().forward(x if self.outer is None else F.pad(x, self.outer))
        return ACTIVATIONS[self.activation](y if add is None else y + add)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut if shapes allow."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int):
        super().__init__()
        hidden = c_in * expansion
        self.expand = Conv(c_in, hidden, activation="relu6") if expansion > 1 else None
        self.depthwise = Conv(hidden, hidden, 3, stride, groups=hidden, activation="relu6")
        self.project = Conv(hidden, c_out)
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x if self.expand is None else self.expand(x))
        return self.project(y, add=x) if self.shortcut else self.project(y)


class SeparableConv(nn.Module):
    """3x3 depthwise, 1x1 pointwise, ReLU."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.depthwise = Conv(c_in, c_in, 3, groups=c_in, bias=False)
        self.pointwise = Conv(c_in, c_out, activation="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Trunk(nn.Module):
    """MobileNetV2: image (B, 3, H, W) -> the output of every stage and of the 1280 wide top, finest first."""

    def __init__(self):
        super().__init__()
        self.stem = Conv(3, STEM_WIDTH, 3, stride=2, activation="relu6")
        self.stages = nn.ModuleList()
        c_in = STEM_WIDTH
        for expansion, c_out, blocks, stride in STAGES:
            stage = [InvertedResidual(c_in, c_out, expansion, stride)]
            stage += [InvertedResidual(c_out, c_out, expansion, 1) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(*stage))
            c_in = c_out
        self.top = Conv(c_in, TOP_WIDTH, activation="relu6")

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return [*outputs, self.top(x)]


class FeaturePyramid(nn.Module):
    """Trunk maps at strides 4, 8, 16, 32 -> semantic maps at strides 4 (24 channels), 8 (24), 16 (32) and 32 (64)."""

    def __init__(self):
        super().__init__()
        self.laterals = nn.ModuleList((Conv(40, 24), Conv(56, 32), Conv(112, 64), Conv(TOP_WIDTH, 64)))
        self.smooth = nn.ModuleList((SeparableConv(24, 24), SeparableConv(32, 24), SeparableConv(64, 32)))

    def forward(self, x4: Tensor, x8: Tensor, x16: Tensor, x32: Tensor) -> tuple[Tensor, ...]:
        maps = (x4, x8, x16, x32)
        lateral4, lateral8, lateral16, p32 = (conv(x) for conv, x in zip(self.laterals, maps, strict=True))
        p16 = self.smooth[2](_double(p32) + lateral16)
        p8 = self.smooth[1](_double(p16) + lateral8)
        return self.smooth[0](_double(p8) + lateral4), p8, p16, p32


class UpperStages(nn.Module):
    """A copy of MoveNet from stride 8 up, without its heads and its finest map; its weights learn.

    trunk map of stride 8 (B, 56, h, w) -> trunk16, trunk32, top, pyramid8, pyramid16 and pyramid32, as `MoveNet.parts`.
    """

    def __init__(self, movenet: "MoveNet"):
        super().__init__()
        self.stages = copy.deepcopy(movenet.trunk.stages[3:])
        self.top = copy.deepcopy(movenet.trunk.top)
        self.laterals = copy.deepcopy(movenet.pyramid.laterals[1:])
        self.smooth = copy.deepcopy(movenet.pyramid.smooth[1:])
        self.requires_grad_(True)

    def forward(self, x8: Tensor) -> dict[str, Tensor]:
        x, outputs = x8, []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        top = self.top(x)
        lateral8, lateral16, p32 = (lateral(x) for lateral, x in zip(self.laterals, (x8, outputs[0], top), strict=True))
        p16 = self.smooth[1](_double(p32) + lateral16)
        p8 = self.smooth[0](_double(p16) + lateral8)
        maps = {"trunk16": outputs[1], "trunk32": outputs[2], "top": top}
        return maps | {"pyramid8": p8, "pyramid16": p16, "pyramid32": p32}


class MoveNet(nn.Module):
    """Keypoints of the person nearest to the centre of an image.

    image (B, 3, H, W), ImageNet-normalised RGB, H and W multiples of 32 (256 in training) -> PoseMaps at stride 4.
    """

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.pyramid = FeaturePyramid()
        self.heads = nn.ModuleDict({k: nn.Sequential(SeparableConv(24, 96), Conv(96, n)) for k, n in HEADS.items()})
        # the trunk reads [-1, 1]; folded into the stem this would change the meaning of zero padding
        mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
        self.register_buffer("gain", 2 * std, persistent=False)
        self.register_buffer("shift", 2 * mean - 1, persistent=False)

    def features(self, image: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """-> trunk maps (32 channels at stride 2, 40 at 4, 56 at 8, 112 and 168 at 16, 280, 560 and 1280 at 32) and
        pyramid maps (24 at 4, 24 at 8, 32 at 16, 64 at 32)."""
        trunk = self.trunk(image * self.gain + self.shift)
        return trunk, self.pyramid(trunk[1], trunk[2], trunk[3], trunk[7])

    def parts(self, image: Tensor) -> dict[str, Tensor]:
        """-> the maps of the features, by the names in `models.backbones.movenet.PARTS`."""
        trunk, pyramid = self.features(image)
        maps = {"trunk4": trunk[1], "trunk8": trunk[2], "trunk16": trunk[4], "trunk32": trunk[5], "top": trunk[7]}
        return maps | dict(zip(("pyramid4", "pyramid8", "pyramid16", "pyramid32"), pyramid, strict=True))

    def forward(self, image: Tensor) -> PoseMaps:
        _, pyramid = self.features(image)
        return self.pose_maps(pyramid[0])

    def pose_maps(self, finest: Tensor) -> PoseMaps:
        """Finest map of the pyramid (B, 24, h, w) -> outputs of the heads."""
        maps = {name: head(finest) for name, head in self.heads.items()}
        return PoseMaps(
            maps["heatmaps"].sigmoid(),
            maps["centre"][:, 0].sigmoid(),
            # MoveNet's order is (y, x), the project's (x, y)
            maps["regression"].unflatten(1, (NUM_KEYPOINTS, 2)).flip(2),
            maps["offsets"].unflatten(1, (NUM_KEYPOINTS, 2)).flip(2),
        )


def load_movenet(path: str | Path) -> MoveNet:
    """MoveNet in evaluation mode with the weights of `scripts/convert_movenet.py`; UserError if they do not fit."""
    path = Path(path)
    remedy = "run python scripts/convert_movenet.py"
    if not path.is_file():
        raise UserError(f"MoveNet weights not found at {path}: {remedy}")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}): {remedy}") from error
    model = MoveNet()
    expected = {key: value.shape for key, value in model.state_dict().items()}
    if {key: value.shape for key, value in state.items()} != expected:
        raise UserError(f"{path} does not hold MoveNet Thunder: {remedy}")
    model.load_state_dict(state)
    return model.eval()


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
