"""HRNet for inference: the same function as timm's, with batch norms, sums and activations fused into convolutions."""

import copy
import itertools
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from models.inference.fused_conv import FusedConv, fold_batch_norm

Fuse = Callable[[nn.Conv2d, str], FusedConv]


class FastHRNet(nn.Module):
    """Features of timm's HRNet: image (B, 3, H, W) -> four maps.

    fuse: convolution, name of its activation -> FusedConv.
    """

    def __init__(self, hrnet: nn.Module, fuse: Fuse):
        super().__init__()
        hrnet = fold_batch_norm(copy.deepcopy(hrnet))
        self.stem = nn.Sequential(fuse(hrnet.conv1, "relu"), fuse(hrnet.conv2, "relu"))
        self.layer1 = nn.Sequential(*(Block(block, fuse) for block in hrnet.layer1))
        transitions = (hrnet.transition1, hrnet.transition2, hrnet.transition3)
        self.transitions = nn.ModuleList(
            nn.ModuleList(nn.Sequential(*_chain(part, fuse)) for part in parts) for parts in transitions
        )
        stages = (hrnet.stage2, hrnet.stage3, hrnet.stage4)
        self.stages = nn.ModuleList(nn.Sequential(*(Exchange(module, fuse) for module in stage)) for stage in stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W) -> maps at strides 4, 8, 16, 32."""
        maps = [self.layer1(self.stem(image))]
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            # a new map is made from the coarsest map so far
            maps = stage([part(maps[min(i, len(maps) - 1)]) for i, part in enumerate(transition)])
        return maps


class Block(nn.Module):
    """A residual block of ResNet, with two or three convolutions."""

    def __init__(self, block: nn.Module, fuse: Fuse):
        super().__init__()
        *inner, last = [conv for name in ("conv1", "conv2", "conv3") if (conv := getattr(block, name, None))]
        self.inner = nn.Sequential(*(fuse(conv, "relu") for conv in inner))
        self.last = fuse(last, "relu")
        self.shortcut = nn.Sequential(*_chain(block.downsample or nn.Identity(), fuse))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(x), add=self.shortcut(x))


class Exchange(nn.Module):
    """Blocks on every map, then each map becomes the sum of all maps, resampled to its resolution."""

    def __init__(self, module: nn.Module, fuse: Fuse):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Block(b, fuse) for b in branch)) for branch in module.branches)
        self.up = nn.ModuleList(  # 1x1 convolutions, before the map is enlarged
            nn.ModuleList(_chain(part, fuse)[0] for part in parts[i + 1 :])
            for i, parts in enumerate(module.fuse_layers)
        )
        self.down = nn.ModuleList(  # 3x3 convolutions of stride 2; the last one to add applies the final ReLU
            nn.ModuleList(
                nn.ModuleList(_chain(part, fuse, last="relu" if j == i - 1 else "none"))
                for j, part in enumerate(parts[:i])
            )
            for i, parts in enumerate(module.fuse_layers)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._sum(i, maps) for i in range(len(self.up))]

    def _sum(self, i: int, maps: list[Tensor]) -> Tensor:
        total = maps[i].clone()  # the other sums need the map too
        for conv, x in zip(self.up[i], maps[i + 1 :], strict=True):
            total += F.interpolate(conv(x), size=total.shape[-2:], mode="nearest")
        for chain, x in zip(self.down[i], maps[:i], strict=True):
            *before, last = chain
            for conv in before:
                x = conv(x)
            total = last(x, add=total)
        return total if i else F.relu_(total)


def _chain(module: nn.Module, fuse: Fuse, last: str | None = None) -> list[FusedConv]:
    """Convolutions of a module in order, each with the ReLU that follows it; last: activation of the last one."""
    parts = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ReLU)]
    convs = []
    for part, after in itertools.zip_longest(parts, parts[1:]):
        if isinstance(part, nn.Conv2d):
            ends = last if after is None else None
            convs.append(fuse(part, ends or ("relu" if isinstance(after, nn.ReLU) else "none")))
    return convs
