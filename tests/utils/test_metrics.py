"""Metrics against recorded numbers; batched alignment against one singular value decomposition per sample."""

import json

import numpy as np
import pytest
import roma
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from tests.helpers.weak_perspective import fit_weak_perspective
from utils.metrics import best_rotation, format_table, mpjpe, mpvpe, pa_mpjpe, similarity_align, summarize
from utils.skeleton import J14_HIPS
from utils.train.logger import to_json


@pytest.fixture
def recorded(reference):
    return {key: torch.from_numpy(value) for key, value in np.load(reference / "tsv" / "expected_metrics.npz").items()}


@pytest.fixture
def poses():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 16, 14, 3, generator=generator, dtype=torch.float64).unbind()


def test_recorded_numbers(recorded):
    labelled = recorded["has_3d"].bool()
    pred, gt = recorded["pred_joints"], recorded["gt_joints"][..., :3]
    torch.testing.assert_close(mpjpe(pred, gt)[labelled], recorded["mpjpe"].double(), rtol=1e-5, atol=0)
    # one sample is an exact similarity: its recorded error, 6e-8, is rounding
    torch.testing.assert_close(pa_mpjpe(pred, gt), recorded["pa_mpjpe"].double(), rtol=1e-5, atol=2e-7)
    vertices = mpvpe(recorded["pred_vertices"], recorded["gt_vertices"])[labelled]
    torch.testing.assert_close(vertices, recorded["mpve"].double(), rtol=1e-5, atol=0)


def test_recorded_cameras(recorded):
    keypoints, confidence = recorded["cam_joints_2d"], recorded["cam_conf"]
    cam = fit_weak_perspective(recorded["pred_joints"].double(), keypoints.double(), confidence.double())[3:]
    torch.testing.assert_close(cam, recorded["cam"].double(), rtol=1e-4, atol=0)


def test_pa_mpjpe_ignores_similarity(poses):
    pose, _ = poses
    moved = 1.7 * pose @ roma.random_rotmat(16, dtype=torch.float64).mT + torch.randn(16, 1, 3)
    assert pa_mpjpe(moved, pose).max() < 1e-12
    assert pa_mpjpe(pose * torch.tensor([-1.0, 1, 1]), pose).min() > 0.1  # a mirror image is another pose


def test_alignment_agrees_with_scipy(poses):
    """scipy allows mirrors, so compare where the best orthogonal matrix is a rotation."""
    source, target = poses
    source = target + 0.1 * source
    aligned = similarity_align(source, target, torch.ones(16, 14))
    for i in range(16):
        _, _, disparity = procrustes(target[i].numpy(), source[i].numpy())
        size = (target[i] - target[i].mean(0)).norm()
        assert ((aligned[i] - target[i]).norm() / size) ** 2 == pytest.approx(disparity, rel=1e-9)


def test_degenerate_poses_stay_finite(poses):
    pose, other = poses
    line = pose[:, :, :1] * torch.tensor([1.0, 2, 3])
    for pred in (line, torch.zeros_like(pose)):
        assert pa_mpjpe(pred, other).isfinite().all()
    assert pa_mpjpe(2 * line, line).max() < 1e-12


def test_mpjpe_ignores_where_the_hips_are(poses):
    pred, gt = poses
    torch.testing.assert_close(mpjpe(pred + 3, gt - 1), mpjpe(pred, gt))
    assert (mpjpe(pred, gt) >= pa_mpjpe(pred, gt)).all()


def test_unlabelled_joints_count_in_neither_numerator_nor_denominator(poses):
    pred, gt = poses
    valid = torch.rand(16, 14, generator=torch.Generator().manual_seed(1)) > 0.4
    valid[:, J14_HIPS] = True
    garbage = torch.where(valid[..., None], pred, 1e6)
    hips = list(J14_HIPS)
    for i in range(16):
        distance = ((pred[i] - pred[i, hips].mean(0)) - (gt[i] - gt[i, hips].mean(0))).norm(dim=-1)
        assert mpjpe(garbage, gt, valid)[i] == pytest.approx(distance[valid[i]].mean().item())
        alone = pa_mpjpe(pred[i : i + 1, valid[i]], gt[i : i + 1, valid[i]])
        assert pa_mpjpe(garbage, gt, valid)[i] == pytest.approx(alone.item())


def test_too_few_labels_give_no_number(poses):
    pred, gt = poses
    valid = torch.ones(16, 14, dtype=torch.bool)
    valid[0, J14_HIPS[0]] = False
    valid[1] = False
    assert mpjpe(pred, gt, valid).isnan().nonzero().flatten().tolist() == [0, 1]
    assert pa_mpjpe(pred, gt, valid).isnan().nonzero().flatten().tolist() == [1]


def test_empty_batch():
    nothing = torch.empty(0, 14, 3)
    assert len(mpjpe(nothing, nothing)) == len(pa_mpjpe(nothing, nothing)) == len(mpvpe(nothing, nothing)) == 0


def test_wrong_joint_set_is_refused():
    with pytest.raises(ValueError, match="J14"):
        mpjpe(torch.zeros(1, 17, 3), torch.zeros(1, 17, 3))


def test_summary_counts_each_metric_by_its_own_labels():
    nan = torch.nan
    rows = torch.tensor([[2, 0.1, 0.05, nan], [0, 0.3, nan, nan], [1, nan, 0.07, nan]], dtype=torch.float64)
    report = summarize(rows)
    assert report["mpjpe_mm"] == pytest.approx(200)
    assert report["pa_mpjpe_mm"] == pytest.approx(60)
    assert report["mpvpe_mm"] is None
    assert report["count"] == 3
    assert [report[f"{name}_count"] for name in ("mpjpe", "pa_mpjpe", "mpvpe")] == [2, 2, 0]
    assert summarize(rows.flip(0)) == report
    table = format_table(report, {"data": "h36m"})
    assert "200.00 mm over 2 samples" in table
    assert "no sample has a label" in table


def test_nothing_measured_is_valid_json():
    report = summarize(torch.empty(0, 4, dtype=torch.float64))
    assert json.loads(to_json(report))["mpjpe_mm"] is None
    assert json.loads(to_json({"a": {"loss": float("nan")}})) == {"a": {"loss": None}}


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


def test_names_of_the_table_stand_apart():
    report = {"count": 1} | {f"{name}_{key}": 1 for name in ("mpjpe", "pa_mpjpe", "mpvpe") for key in ("mm", "count")}
    lines = format_table(report, {"data": "x", "quarter turns": "y"}).splitlines()
    assert lines[:3] == ["data           x", "quarter turns  y", "samples        1"]
