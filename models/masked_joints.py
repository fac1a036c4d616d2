"""Masked joints in training: the image features of random joints are removed, so that other joints determine them.

After masked modelling of joints and vertices (METRO, Lin et al., CVPR 2021). There the tokens of masked joints are
replaced; here a masked joint keeps its token, but reads nothing of the image.
"""

import torch
from torch import Tensor

from models.features import Features
from utils.skeleton import COCO17_TO_SMPL, NUM_JOINTS, NUM_KEYPOINTS


def draw_masked(batch: int, share: float, device: torch.device) -> Tensor:
    """Each joint with probability `share`, independently -> (B, 24) bool."""
    return torch.rand(batch, NUM_JOINTS, device=device) < share


def without_keypoints(features: Features, masked: Tensor) -> Features:
    """The features without the 2D keypoints of the masked joints (B, 24): position, confidence and features are zero,
    also in `pooled`, whose last numbers are the keypoints. Features without keypoints stay as they are."""
    if features.keypoints is None:
        return features
    keep = torch.ones_like(features.keypoints[..., :1])
    coco, smpl = zip(*COCO17_TO_SMPL.items(), strict=True)
    keep[:, list(coco), 0] = (~masked[:, list(smpl)]).to(keep)
    keypoints = features.keypoints * keep
    image = features.pooled[:, : -3 * NUM_KEYPOINTS]
    pooled = torch.cat((image, keypoints.flatten(1).to(image)), dim=1)
    return features._replace(pooled=pooled, points=features.points * keep.to(features.points), keypoints=keypoints)
