"""Image features of a backbone, and bilinear sampling of feature maps."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Features(NamedTuple):
    """Image features of a batch.

    The last two come only from a backbone that detects 2D keypoints. Without them the network is the published one.
    """

    maps: tuple[Tensor, ...]  # (B, C_s, H_s, W_s) each, finest first
    pooled: Tensor  # (B, F) one vector for the whole image
    points: Tensor | None = None  # (B, 17, P) fine features at the keypoints below
    keypoints: Tensor | None = None  # (B, 17, 3) COCO keypoints: x, y in the crop frame [-1, 1], confidence


def network_input(batch: dict) -> Tensor | Features:
    """Input of the network in a batch: images, or features that were computed before (datasets/feature_cache.py).

    Images are channels-last in memory: convolutions are fastest in this layout, and tokens need no copy.
    """
    if "image" in batch:
        return batch["image"].contiguous(memory_format=torch.channels_last)
    stored = batch["features"]
    return Features((stored["map16"], stored["map32"]), stored["pooled"], stored["points"], stored["keypoints"])


def sample_bilinear(feature_map: Tensor, xy: Tensor) -> Tensor:
    """Samples of feature_map (B, C, H, W) at xy (B, N, 2) in [-1, 1] -> (B, N, C); zero outside."""
    # in float32: bfloat16 coordinates are off by a tenth of a pixel
    samples = F.grid_sample(feature_map.float(), xy[:, :, None].float(), mode="bilinear", align_corners=True)
    return samples[..., 0].transpose(1, 2)


def pixels(feature_map: Tensor) -> Tensor:
    """feature_map (B, C, H, W) -> (B, H W, C), row by row; no copy if its memory is channels-last."""
    return feature_map.flatten(2).mT


def bilinear_weights(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """Weights of the pixels of a map of size (H, W) in `sample_bilinear`: xy (B, N, 2) -> (B, N, H W) float32."""
    weights = []
    for position, length in zip(xy.float().unbind(-1), size[::-1], strict=True):
        steps = torch.arange(length, device=xy.device)
        weights.append((1 - ((position[..., None] + 1) / 2 * (length - 1) - steps).abs()).clamp(min=0))
    return (weights[1][..., :, None] * weights[0][..., None, :]).flatten(-2)
