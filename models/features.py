"""What a backbone tells about an image, and how to read a feature map between its pixels."""

from typing import NamedTuple

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
    """What a network reads of a batch: the image, or the features of one that was seen before."""
    if "image" in batch:
        return batch["image"]
    stored = batch["features"]
    return Features((stored["map16"], stored["map32"]), stored["pooled"], stored["points"], stored["keypoints"])


def sample_bilinear(feature_map: Tensor, xy: Tensor) -> Tensor:
    """feature_map (B, C, H, W) read at xy (B, N, 2) in [-1, 1] -> (B, N, C); zero outside."""
    # in float32: bfloat16 coordinates are off by a tenth of a pixel
    samples = F.grid_sample(feature_map.float(), xy[:, :, None].float(), mode="bilinear", align_corners=True)
    return samples[..., 0].transpose(1, 2)
