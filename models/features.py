"""What a backbone tells about an image, and how to read a feature map between its pixels."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Features(NamedTuple):
    """A batch of images as a backbone sees them.

    The last two are what a backbone adds that knows 2D poses; without them the network is the published one.
    """

    maps: tuple[Tensor, ...]  # (B, C_s, H_s, W_s) each, finest first
    pooled: Tensor  # (B, F) the whole image in one vector
    points: Tensor | None = None  # (B, 17, P) fine features at the keypoints below
    keypoints: Tensor | None = None  # (B, 17, 3) COCO keypoints: x, y in the crop frame [-1, 1], confidence


def network_input(batch: dict) -> Tensor | Features:
    """What a network reads of a batch: the image, or the features of one that was seen before.

    Channels last in memory, the layout in which convolutions are fastest and tokens need no copy.
    """
    if "image" in batch:
        return batch["image"].contiguous(memory_format=torch.channels_last)
    stored = batch["features"]
    return Features((stored["map16"], stored["map32"]), stored["pooled"], stored["points"], stored["keypoints"])


def sample_bilinear(feature_map: Tensor, xy: Tensor) -> Tensor:
    """feature_map (B, C, H, W) read at xy (B, N, 2) in [-1, 1] -> (B, N, C); zero outside."""
    # in float32: bfloat16 coordinates are off by a tenth of a pixel
    samples = F.grid_sample(feature_map.float(), xy[:, :, None].float(), mode="bilinear", align_corners=True)
    return samples[..., 0].transpose(1, 2)


def pixels(feature_map: Tensor) -> Tensor:
    """feature_map (B, C, H, W) -> (B, H W, C), row by row; no copy where its memory is channels-last."""
    return feature_map.flatten(2).mT


def bilinear_weights(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """What `sample_bilinear` multiplies the pixels of a map of size (H, W) by: xy (B, N, 2) -> (B, N, H W) float32."""
    weights = []
    for position, length in zip(xy.float().unbind(-1), size[::-1], strict=True):
        steps = torch.arange(length, device=xy.device)
        weights.append((1 - ((position[..., None] + 1) / 2 * (length - 1) - steps).abs()).clamp(min=0))
    return (weights[1][..., :, None] * weights[0][..., None, :]).flatten(-2)
