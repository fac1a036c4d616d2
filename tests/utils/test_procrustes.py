"""Thousands of alignments at once against one singular value decomposition each, however the points lie."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from utils.metrics import pa_mpjpe
from utils.procrustes import best_rotation, similarity_align

NUM_SETS, NUM_POINTS = 1000, 14


def align_one(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Umeyama's algorithm for one set of points (N, 3)."""
    x, y = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(x.T @ y)
    sign = np.array((1, 1, np.sign(np.linalg.det(u @ vt))))
    scale = (s * sign).sum() / max((x**2).sum(), 1e-300)
    return scale * x @ (u * sign) @ vt + target.mean(0)


def random_sets(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of point sets (NUM_SETS, NUM_POINTS, 3) of which the first is a noisy, moved, odd image of the second."""
    rng = np.random.default_rng(len(kind))
    target = rng.normal(0, (0.15, 0.5, 0.1), (NUM_SETS, NUM_POINTS, 3))
    turns = Rotation.random(NUM_SETS, random_state=rng).as_matrix()
    noise = {"exact": 0, "noisy": 0.05, "unlike": 3}.get(kind, 0.02)
    source = target + noise * rng.normal(size=target.shape)
    flat = np.diag({"flat": (1, 1, 0), "line": (0, 1, 0), "nearly flat": (1, 1, 1e-7)}.get(kind, (1, 1, 1)))
    if kind == "nearly a line":  # from a rod of a tenth to one of a billionth
        flat = np.diag((0, 1, 0)) + 10 ** -rng.uniform(1, 9, (NUM_SETS, 1, 1)) * np.diag((1, 0, 0.5))
    source, target = source @ flat, target @ flat
    if kind == "mirrored":
        source = source * (-1, 1, 1)
    if kind == "point":
        source = np.broadcast_to(source[:, :1], source.shape)
    scale, shift = 10 ** rng.uniform(-3, 3, (NUM_SETS, 1, 1)), rng.normal(0, 2, (NUM_SETS, 1, 3))
    return scale * source @ turns + shift, target


@pytest.mark.parametrize("kind", ["exact", "noisy", "unlike", "mirrored", "flat", "nearly flat"])
def test_batches_equal_single_alignments(kind):
    source, target = random_sets(kind)
    aligned = similarity_align(torch.tensor(source), torch.tensor(target), torch.ones(NUM_SETS, NUM_POINTS))
    expected = np.stack([align_one(*pair) for pair in zip(source, target, strict=True)])
    np.testing.assert_allclose(aligned, expected, atol=1e-8)
    errors = pa_mpjpe(torch.tensor(source), torch.tensor(target))
    np.testing.assert_allclose(errors, np.linalg.norm(expected - target, axis=-1).mean(-1), atol=1e-8)


@pytest.mark.parametrize("kind", ["line", "nearly a line", "point"])
def test_where_many_rotations_are_best_one_of_them_is_found(kind):
    source, target = random_sets(kind)
    aligned = similarity_align(torch.tensor(source), torch.tensor(target), torch.ones(NUM_SETS, NUM_POINTS)).numpy()
    expected = np.stack([align_one(*pair) for pair in zip(source, target, strict=True)])
    left, least = (((points - target) ** 2).sum((1, 2)) for points in (aligned, expected))
    np.testing.assert_allclose(left, least, rtol=1e-9, atol=1e-12)


def test_rotations_are_the_best_ones_for_any_singular_values():
    """From three alike to one alone, mirrors with hardly a best rotation among them."""
    rng = np.random.default_rng(0)
    second, third = 10 ** -rng.uniform(0, 9, (2, 5000))
    third = np.where(rng.random(5000) < 0.3, 1 - third, third)  # also nearly equal ones
    values = np.stack((np.ones(5000), second, second * third * rng.choice((-1, 1), 5000)), -1)
    left, right = (Rotation.random(5000, random_state=rng).as_matrix() for _ in range(2))
    rotation, gain = best_rotation(torch.tensor((left * values[:, None]) @ right))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).double().expand(5000, 3, 3), rtol=0, atol=1e-9)
    assert (torch.linalg.det(rotation) > 0.999).all()
    np.testing.assert_allclose(gain, values.sum(-1), rtol=1e-12)
    reached = (rotation.numpy() * ((left * values[:, None]) @ right)).sum((1, 2))
    np.testing.assert_allclose(reached, values.sum(-1), rtol=1e-12)


def test_points_without_weight_change_nothing():
    source, target = random_sets("noisy")
    weight = np.random.default_rng(0).integers(0, 2, (NUM_SETS, NUM_POINTS)).astype(bool)
    weight[:, :5] = True
    aligned = similarity_align(torch.tensor(source), torch.tensor(target), torch.tensor(weight)).numpy()
    for i in range(50):
        seen = weight[i]
        np.testing.assert_allclose(aligned[i, seen], align_one(source[i, seen], target[i, seen]), atol=1e-9)
