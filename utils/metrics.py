"""Errors of predicted bodies: MPJPE, PA-MPJPE, MPVPE and PCK. Batched, float64, no gradients, unit of the input."""

import numpy as np
import torch
from torch import Tensor

from utils.skeleton import J14, J14_HIPS

PCK_THRESHOLDS = (0.05, 0.1)  # in lengths of the longer side of the box
NEWTON_STEPS = 6  # five are enough for all digits wherever the closed form is used
MIN_STABILITY = 1e-3  # below, the closed form would lose more than five of its sixteen digits
MAX_LAST_STEP = 1e-9  # relative; a longer last step means that Newton's method has not converged


@torch.no_grad()
def mpjpe(
    pred: Tensor,
    gt: Tensor,
    valid: Tensor | None = None,
    names: tuple[str, ...] = J14,
    hips: tuple[int, int] = J14_HIPS,
) -> Tensor:
    """Mean per-joint position error: pred, gt (B, J, 3) -> (B,). names: the J joints, J14 by default.

    Both are moved so that the middle of their hips is the origin. valid (B, J): joints with a label (default: all);
    only these enter the mean. nan if a hip has no label.
    """
    pred, gt = pred.double(), gt.double()
    _check_keypoints(pred, gt, len(names))
    valid = torch.ones_like(gt[..., 0]) if valid is None else valid.to(gt)
    hips = list(hips)
    pred = pred - pred[:, hips].mean(1, keepdim=True)
    gt = gt - gt[:, hips].mean(1, keepdim=True)
    error = _masked_mean((pred - gt).norm(dim=-1), valid)
    return torch.where(valid[:, hips].all(1), error, torch.nan)


@torch.no_grad()
def pa_mpjpe(pred: Tensor, gt: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean per-joint position error after Procrustes alignment: pred, gt (B, J, 3) -> (B,).

    The prediction is scaled, rotated (never mirrored) and translated to the least squared distance. valid (B, J) as in
    `mpjpe`; nan if fewer than three joints have a label.
    """
    pred, gt = pred.double(), gt.double()
    valid = torch.ones_like(gt[..., 0]) if valid is None else valid.to(gt)
    error = _masked_mean(similarity_align(pred, gt, valid).sub_(gt).norm(dim=-1), valid)
    return torch.where(valid.sum(1) >= 3, error, torch.nan)


@torch.no_grad()
def mpvpe(pred: Tensor, gt: Tensor) -> Tensor:
    """Mean per-vertex position error: pred, gt (B, V, 3), both with a common origin -> (B,)."""
    return (pred.double() - gt.double()).norm(dim=-1).mean(-1)


def pck(errors: list[float]) -> dict[str, float | int | None]:
    """errors: distances of 2D joints, divided by the longer side of the box -> PCK at each threshold, mean and count.

    PCK and mean are None if there are no errors.
    """
    errors = np.asarray(errors)
    result = {f"pck@{t}": float((errors < t).mean()) if len(errors) else None for t in PCK_THRESHOLDS}
    return result | {"mean_error": float(errors.mean()) if len(errors) else None, "count": len(errors)}


def summarize(rows: Tensor) -> dict[str, float | int | None]:
    """rows (N, 4): sample index, MPJPE, PA-MPJPE, MPVPE in metres (nan without a label) -> means in mm.

    A metric without any label is None. The counts are the numbers of samples in each mean.
    """
    errors = (
        1000 * rows[rows[:, 0].argsort(), 1:].double()
    )  # in data set order, so that sums do not depend on the number of processes
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
    """The evaluation as text: the protocol (name -> value), then the metrics of `summarize`."""
    width = max(12, *(len(name) + 2 for name in protocol))
    lines = [f"{name:<{width}}{text}" for name, text in (protocol | {"samples": report["count"]}).items()]
    for name, key in (("MPJPE", "mpjpe"), ("PA-MPJPE", "pa_mpjpe"), ("MPVPE", "mpvpe")):
        mean, count = report[f"{key}_mm"], report[f"{key}_count"]
        value = "no sample has a label for it" if mean is None else f"{mean:8.2f} mm over {count} samples"
        lines.append(f"{name:<{width}}{value}")
    return "\n".join(lines)


def similarity_align(source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Align source (B, N, 3) to target (B, N, 3), float64, by scale, rotation and translation -> (B, N, 3).

    Minimises the squared distance weighted by weight (B, N) >= 0 (Umeyama, PAMI 1991); never mirrors. If all points of
    a source coincide, it is only translated. Half the time of roma.rigid_points_registration, which also loses digits
    for points near a line and gives nan for coinciding points.
    """
    weight = weight.to(source)
    w = (weight / weight.sum(-1, keepdim=True).clamp(min=1e-12))[..., None]
    target_mean = w.mT @ target
    x, y = source - w.mT @ source, target - target_mean
    weighted = w * x
    rotation, gain = best_rotation(weighted.mT @ y)
    scale = gain / (weighted * x).sum((1, 2)).clamp(min=1e-12)
    return (x @ (scale[:, None, None] * rotation)).add_(target_mean)


def best_rotation(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """matrix (B, 3, 3) float64 -> the rotations R (B, 3, 3) with the largest sum(R * matrix), and that sum (B,).

    The sum is s1 + s2 + s3 of the singular values, s3 with the sign of the determinant. It is the largest root of a
    quartic, and R follows from it in closed form (Markley, J. Astronautical Sciences 1993), at a tenth of the time of a
    singular value decomposition. If R is ill-conditioned (points on a line, some mirror images), R comes from the
    decomposition instead.
    """
    a, b, c = matrix.unbind(1)
    cofactors = torch.stack((torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)), 1)
    determinant = (a * cofactors[:, 0]).sum(-1)
    size, cofactor_size = matrix.square().sum((1, 2)), cofactors.square().sum((1, 2))
    gain = (size + 2 * (3 * cofactor_size).sqrt()).sqrt()  # an upper bound of the root
    for _ in range(NEWTON_STEPS):
        rest = gain.square() - size
        value = rest.square() - 8 * gain * determinant - 4 * cofactor_size
        step = value / (4 * gain * rest - 8 * determinant)
        gain = gain - step
    kappa = (gain.square() - size) / 2  # s1 s2 + s2 s3 + s3 s1
    zeta = kappa * gain - determinant  # (s1 + s2) (s2 + s3) (s3 + s1)
    by_matrix, by_cofactors = (kappa + size)[:, None, None], gain[:, None, None]
    rotation = by_matrix * matrix + by_cofactors * cofactors - matrix @ matrix.mT @ matrix
    rotation = rotation / zeta[:, None, None]
    # Newton's last step bounds the error; negated, so that nan counts as unstable
    unstable = ~((zeta > MIN_STABILITY * gain**3) & (step.abs() < MAX_LAST_STEP * gain))
    if unstable.any():
        rotation[unstable], gain[unstable] = _decompose(matrix[unstable])
    return rotation, gain


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """`best_rotation` by singular value decomposition; s3 changes sign if the best orthogonal matrix is a mirror."""
    u, s, vt = torch.linalg.svd(matrix)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ vt).sign()
    return (u * sign[:, None]) @ vt, (s * sign).sum(-1)


def _masked_mean(error: Tensor, valid: Tensor) -> Tensor:
    return (error * valid).sum(-1) / valid.sum(-1)


def _check_keypoints(pred: Tensor, gt: Tensor, count: int):
    if pred.shape != gt.shape or pred.shape[1:] != (count, 3):
        order = "J14" if count == len(J14) else "SMPL"
        shapes = f"{tuple(pred.shape)} and {tuple(gt.shape)}"
        raise ValueError(f"expected two (B, {count}, 3) tensors in {order} order, got {shapes}")
