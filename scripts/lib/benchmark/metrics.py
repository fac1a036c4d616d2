"""PA-MPJPE of ten thousand bodies: one batch, and one singular value decomposition per body."""

from collections.abc import Iterator

import numpy as np
import torch

from scripts.lib.benchmark.timing import Row, Settings, compare
from utils.metrics import pa_mpjpe

NUM_SAMPLES = 10_000
NUM_KEYPOINTS = 14


def measure(settings: Settings) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    gt = rng.normal(0, (0.15, 0.5, 0.1), (NUM_SAMPLES, NUM_KEYPOINTS, 3))
    pred = gt + rng.normal(0, 0.05, gt.shape)
    tensors = [torch.from_numpy(points).to(settings.device) for points in (pred, gt)]
    difference = np.abs(pa_mpjpe_one_by_one(pred, gt) - pa_mpjpe(*tensors).cpu().numpy()).max()
    methods = {
        "one numpy SVD per sample": lambda: pa_mpjpe_one_by_one(pred, gt),
        "batched, closed form": lambda: pa_mpjpe(*tensors),
    }
    notes = {"batched, closed form": {"largest_difference_m": float(difference)}}
    case = f"PA-MPJPE, {NUM_SAMPLES} samples"
    yield from compare("metrics", case, methods, NUM_SAMPLES, "samples/s", settings, notes)


def pa_mpjpe_one_by_one(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Umeyama's algorithm (PAMI 1991), sample by sample: pred, gt (N, J, 3) -> (N,)."""
    errors = []
    for source, target in zip(pred, gt, strict=True):
        x, y = source - source.mean(axis=0), target - target.mean(axis=0)
        u, s, vt = np.linalg.svd(x.T @ y)
        sign = np.array((1, 1, np.sign(np.linalg.det(u @ vt))))
        scale = (s * sign).sum() / (x**2).sum()
        aligned = scale * x @ (u * sign) @ vt
        errors.append(np.sqrt(((aligned - y) ** 2).sum(axis=-1)).mean())
    return np.array(errors)
