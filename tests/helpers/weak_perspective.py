"""The best weak-perspective camera for given points, to check labels and projections."""

import torch
from torch import Tensor


def fit_weak_perspective(points: Tensor, keypoints_2d: Tensor, confidence: Tensor) -> Tensor:
    """Least-squares camera that projects points (B, N, 3) onto keypoints_2d (B, N, 2) -> cam (B, 3) = (s, tx, ty).

    confidence (B, N) weighs the squared residuals. At least two distinct points need a positive confidence.
    """
    w = (confidence / confidence.sum(-1, keepdim=True))[..., None]
    xy = points[..., :2]
    xy_mean = (w * xy).sum(1, keepdim=True)
    uv_mean = (w * keypoints_2d).sum(1, keepdim=True)
    xy_c, uv_c = xy - xy_mean, keypoints_2d - uv_mean
    s = (w * xy_c * uv_c).sum((1, 2)) / (w * xy_c.square()).sum((1, 2))
    t = uv_mean[:, 0] / s[:, None] - xy_mean[:, 0]
    return torch.cat((s[:, None], t), dim=-1)
