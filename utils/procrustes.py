"""The similarity that lays one set of points over another, for thousands of small sets at once."""

import torch
from torch import Tensor

NEWTON_STEPS = 6  # from the start below, five reach all digits wherever the closed form is used
LEAST_STABILITY = 1e-3  # below, the closed form would lose more than five of its sixteen digits
LAST_STEP = 1e-9  # relative; where it is longer, the sequence has not arrived


def similarity_align(source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """source (B, N, 3) moved onto target (B, N, 3) by the similarity with the least weighted squared distance.

    float64, weight (B, N) >= 0. Umeyama's problem (PAMI 1991): scale, rotation, never a mirror. A source that is a
    single point is only moved.
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

    The sum, s1 + s2 + s3 of the singular values with the determinant's sign at s3, is the largest root of a quartic;
    given it, R is a short formula (Markley, J. Astronautical Sciences 1993), which costs a tenth of a singular value
    decomposition. Where R is hardly determined, as for points on a line and some mirror images, the decomposition is
    made after all.
    """
    a, b, c = matrix.unbind(1)
    cofactors = torch.stack((torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)), 1)
    determinant = (a * cofactors[:, 0]).sum(-1)
    size, cofactor_size = matrix.square().sum((1, 2)), cofactors.square().sum((1, 2))
    gain = (size + 2 * (3 * cofactor_size).sqrt()).sqrt()  # never below the root
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
    # the last step of a sequence that doubles its digits; written so that it is true of what is not a number, too
    unstable = ~((zeta > LEAST_STABILITY * gain**3) & (step.abs() < LAST_STEP * gain))
    if unstable.any():
        rotation[unstable], gain[unstable] = _decompose(matrix[unstable])
    return rotation, gain


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """`best_rotation` by singular values: the last changes sign where the best orthogonal matrix would be a mirror."""
    u, s, vt = torch.linalg.svd(matrix)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ vt).sign()
    return (u * sign[:, None]) @ vt, (s * sign).sum(-1)
