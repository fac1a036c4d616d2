"""How far predicted bodies are from the true ones: in float64, in the unit of the input, batched, without gradients."""

import numpy as np
import torch
from torch import Tensor

from utils.procrustes import similarity_align
from utils.skeleton import J14, J14_HIPS

PCK_THRESHOLDS = (0.05, 0.1)  # longer box sides


@torch.no_grad()
def mpjpe(pred: Tensor, gt: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean per-joint position error: pred, gt (B, 14, 3), J14 order -> (B,).

    Both sides are put with the middle of their hips at the origin. valid (B, 14): which joints have a label (default:
    all); the others count in neither numerator nor denominator. Not a number where a hip has no label.
    """
    pred, gt = pred.double(), gt.double()
    _check_keypoints(pred, gt)
    valid = torch.ones_like(gt[..., 0]) if valid is None else valid.to(gt)
    hips = list(J14_HIPS)
    pred = pred - pred[:, hips].mean(1, keepdim=True)
    gt = gt - gt[:, hips].mean(1, keepdim=True)
    error = _masked_mean((pred - gt).norm(dim=-1), valid)
    return torch.where(valid[:, hips].all(1), error, torch.nan)


@torch.no_grad()
def pa_mpjpe(pred: Tensor, gt: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean per-joint position error after Procrustes alignment: pred, gt (B, J, 3) -> (B,).

    The prediction is scaled, rotated (never mirrored) and moved to least squared distance. valid (B, J) as in `mpjpe`;
    not a number where fewer than three joints have a label.
    """
    pred, gt = pred.double(), gt.double()
    valid = torch.ones_like(gt[..., 0]) if valid is None else valid.to(gt)
    error = _masked_mean(similarity_align(pred, gt, valid).sub_(gt).norm(dim=-1), valid)
    return torch.where(valid.sum(1) >= 3, error, torch.nan)


@torch.no_grad()
def mpvpe(pred: Tensor, gt: Tensor) -> Tensor:
    """Mean per-vertex position error: pred, gt (B, V, 3), put at a common origin by the caller -> (B,)."""
    return (pred.double() - gt.double()).norm(dim=-1).mean(-1)


def _masked_mean(error: Tensor, valid: Tensor) -> Tensor:
    return (error * valid).sum(-1) / valid.sum(-1)


def _check_keypoints(pred: Tensor, gt: Tensor):
    if pred.shape != gt.shape or pred.shape[1:] != (len(J14), 3):
        raise ValueError(f"expected two (B, 14, 3) tensors in J14 order, got {tuple(pred.shape)} and {tuple(gt.shape)}")


def pck(errors: list[float]) -> dict[str, float | int | None]:
    """errors: distances of 2D joints in longer box sides -> PCK at the thresholds, mean error and count; None without
    any."""
    errors = np.asarray(errors)
    result = {f"pck@{t}": float((errors < t).mean()) if len(errors) else None for t in PCK_THRESHOLDS}
    return result | {"mean_error": float(errors.mean()) if len(errors) else None, "count": len(errors)}


def summarize(rows: Tensor) -> dict[str, float | int | None]:
    """rows (N, 4): index of the sample, then MPJPE, PA-MPJPE and MPVPE in metres, nan without a label -> means in mm.

    A metric that no sample has a label for is None. The counts say over how many samples each mean is taken.
    """
    errors = 1000 * rows[rows[:, 0].argsort(), 1:].double()  # in the order of the data set on any number of processes
    labelled = ~errors.isnan()
    counts = labelled.sum(0).tolist()
    sums = torch.where(labelled, errors, 0.0).sum(0).tolist()
    means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
    return {
        **dict(zip(("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm"), means, strict=True)),
        "count": len(rows),
        **dict(zip(("mpjpe_count", "pa_mpjpe_count", "mpvpe_count"), counts, strict=True)),
    }


def format_table(report: dict, protocol: dict[str, str]) -> str:
    """The evaluation as people read it: what was measured and how, then the numbers."""
    lines = [f"{name:<12}{text}" for name, text in protocol.items()]
    lines.append(f"{'samples':<12}{report['count']}")
    for name, key in (("MPJPE", "mpjpe"), ("PA-MPJPE", "pa_mpjpe"), ("MPVPE", "mpvpe")):
        mean, count = report[f"{key}_mm"], report[f"{key}_count"]
        value = "no sample has a label for it" if mean is None else f"{mean:8.2f} mm over {count} samples"
        lines.append(f"{name:<12}{value}")
    return "\n".join(lines)
