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
    trunk8: Tensor | None = None  # (B, C, H, W) stride 8, from which upper stages that learn compute maps and points


def network_input(batch: dict) -> Tensor | Features:
    """Input of the network in a batch: images, or features that were computed before (datasets/feature_cache.py).

    Images are channels-last in memory: convolutions are fastest in this layout, and tokens need no copy.
    """
    if "image" in batch:
        return batch["image"].contiguous(memory_format=torch.channels_last)
    stored = batch["features"]
    maps, trunk8 = (stored["map16"], stored["map32"]), stored.get("trunk8")
    return Features(maps, stored["pooled"], stored["points"], stored["keypoints"], trunk8)


def to_pixel(position: Tensor, length: int, align_corners: bool) -> Tensor:
    """Coordinates in [-1, 1] along one side of a map -> pixels, 0 at the centre of the first of `length` pixels.

    align_corners: -1 and 1 are the centres of the first and last pixel, as in the published network. Otherwise they are
    the outer edges, as in labels; the half pixel between an edge and the nearest centre then counts as that centre.
    """
    if align_corners:
        return (position + 1) / 2 * (length - 1)
    pixel = ((position + 1) * length - 1) / 2
    return pixel - pixel.clamp(-0.5, 0) - (pixel - (length - 1)).clamp(0, 0.5)


def sample_bilinear(feature_map: Tensor, xy: Tensor, align_corners: bool = True) -> Tensor:
    """feature_map (B, C, H, W) read at xy (B, N, 2) in [-1, 1] -> (B, N, C); zero outside. See `to_pixel`."""
    xy = xy.float()  # bfloat16 coordinates are off by a tenth of a pixel
    if not align_corners:
        sizes = feature_map.shape[:-3:-1]
        xy = torch.stack([2 * to_pixel(xy[..., i], n, False) / (n - 1) - 1 for i, n in enumerate(sizes)], -1)
    samples = F.grid_sample(feature_map.float(), xy[:, :, None], mode="bilinear", align_corners=True)
    return samples[..., 0].transpose(1, 2)


def pixels(feature_map: Tensor) -> Tensor:
    """feature_map (B, C, H, W) -> (B, H W, C), row by row; no copy if its memory is channels-last."""
    return feature_map.flatten(2).mT


def bilinear_weights(xy: Tensor, size: tuple[int, int], align_corners: bool = True) -> Tensor:
    """Weights of the pixels of a map of size (H, W) in `sample_bilinear`: xy (B, N, 2) -> (B, N, H W) float32."""
    weights = []
    for position, length in zip(xy.float().unbind(-1), size[::-1], strict=True):
        steps = torch.arange(length, device=xy.device)
        pixel = to_pixel(position, length, align_corners)
        weights.append((1 - (pixel[..., None] - steps).abs()).clamp(min=0))
    return (weights[1][..., :, None] * weights[0][..., None, :]).flatten(-2)
