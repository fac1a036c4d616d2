"""Measures and decision of the experiment on the graph, against independent computation."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import ttest_1samp

from scripts.lib.graph_ablation.measure import (
    Difference,
    hip_joint_errors,
    joint_groups,
    mean_error,
    nearest_pose,
    pa_joint_errors,
    paired,
)
from scripts.lib.graph_ablation.report import decide, spread
from utils.evaluation.predictions import Predictions
from utils.metrics import pa_mpjpe
from utils.skeleton import J14


def estimates(count: int = 12, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    joints, labels = (rng.normal(size=(count, 14, 3)) for _ in range(2))
    confidence = rng.choice([0, 0.5, 1], (count, 14))
    errors = np.linalg.norm(joints - labels, axis=-1)
    unused = np.zeros((count, 1))
    return Predictions(
        np.arange(count).astype(str), np.arange(count), unused, unused, unused, errors, confidence, unused, unused,
        unused, joints, labels, np.array(J14),
    )  # fmt: skip


def test_errors_of_joints_have_the_known_means():
    found = estimates()
    mean = pa_mpjpe(torch.from_numpy(found.joints), torch.from_numpy(found.label_joints))
    np.testing.assert_allclose(pa_joint_errors(found).mean(1), 1000 * mean.numpy(), rtol=1e-9)
    np.testing.assert_allclose(hip_joint_errors(found), 1000 * found.joint_errors)


def test_joints_without_a_label_have_no_error_and_do_not_change_the_others():
    found = estimates(3)
    found.label_joints[0, 5] = np.nan
    valid = torch.ones(3, 14)
    valid[0, 5] = 0
    mean = pa_mpjpe(torch.from_numpy(found.joints), torch.from_numpy(np.nan_to_num(found.label_joints)), valid)
    errors = pa_joint_errors(found)
    assert np.isnan(errors[0, 5]) and np.isnan(errors).sum() == 1
    np.testing.assert_allclose(np.nanmean(errors, 1), 1000 * mean.numpy(), rtol=1e-9)


def test_groups_of_joints():
    found = estimates(40)
    distance = np.random.default_rng(1).random(40)
    groups = joint_groups(found, distance)
    for names in (("visible", "hidden", "outside"), ("legs", "arms", "trunk"), tuple(groups)[-4:]):
        assert (sum(groups[name].astype(int) for name in names) == 1).all(), names
    assert groups["hidden"].sum() == (found.confidence == 0.5).sum()
    assert {J14[i] for i in np.flatnonzero(groups["arms"][0])} == {"L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist"}
    near, far = (groups[name][:, 0] for name in ("nearest quarter of poses", "farthest quarter of poses"))
    assert near.sum() == far.sum() == 10 and distance[near].max() < distance[far].min()
    errors = hip_joint_errors(found)
    assert mean_error(errors, groups["hidden"]) == pytest.approx(errors[found.confidence == 0.5].mean())
    assert mean_error(errors, np.zeros_like(groups["hidden"])) is None


def test_the_nearest_pose_is_found_in_any_orientation_and_size():
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(20, 14, 3, generator=generator)
    turned = torch.from_numpy(Rotation.random(random_state=0).as_matrix()).float()
    poses = torch.cat(((1.3 * others[7] @ turned.T + 1)[None], torch.randn(2, 14, 3, generator=generator)))
    found = nearest_pose(poses, others)
    assert found[0] < 1e-6
    brute = [min(float(pa_mpjpe(other[None], pose[None])) for other in others) for pose in poses]
    np.testing.assert_allclose(found, brute, atol=1e-9)


def test_a_difference_is_paired_and_its_interval_over_seeds_is_that_of_student():
    """Where all people have the same difference, only the seeds are uncertain."""
    rng = np.random.default_rng(0)
    b = {seed: rng.normal(100, 20, (50, 14)) for seed in range(3)}
    shifts = {0: -3.0, 1: -1.0, 2: -2.5}
    a = {seed: b[seed] + shifts[seed] for seed in b} | {9: b[0]}
    mask = rng.random((50, 14)) < 0.5
    found = paired(a, b, mask)
    assert found.by_seed == pytest.approx(shifts) and found.count == mask.sum()
    assert found.mean == pytest.approx(np.mean([*shifts.values()])) and found.people == pytest.approx([found.mean] * 2)
    expected = ttest_1samp([*shifts.values()], 0).confidence_interval()
    assert found.both == pytest.approx([expected.low, expected.high], rel=1e-3)
    assert paired(a, {}, mask) is None and paired(a, b, np.zeros_like(mask)) is None
    alone = paired({0: a[0]}, {0: b[0]}, mask)
    assert alone.both is None and alone.mean == pytest.approx(-3)


def test_an_interval_over_people_covers_the_truth_in_most_samples():
    covered = 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        of_person = rng.normal(-2, 5, (60, 1)).repeat(14, 1)  # the joints of a person are no independent samples
        b = {0: rng.normal(100, 20, (60, 14))}
        found = paired({0: b[0] + of_person}, b, np.ones((60, 14), bool))
        covered += found.people[0] <= -2 <= found.people[1]
    assert covered >= 34


def test_rows_of_one_person_are_drawn_together():
    """Rows that repeat a person narrow no interval."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(100, 20, (40, 14)) for _ in range(2))
    once = paired({0: a}, {0: b}, np.ones((40, 14), bool))
    many = [values.repeat(11, 0) for values in (a, b)]
    together = paired({0: many[0]}, {0: many[1]}, np.ones((440, 14), bool), np.arange(440) // 11)
    apart = paired({0: many[0]}, {0: many[1]}, np.ones((440, 14), bool))
    assert together.people == pytest.approx(once.people)
    assert apart.people[1] - apart.people[0] < 0.5 * (once.people[1] - once.people[0])


def difference(mean: float, half: float, wide: float, by_seed: tuple[float, ...]) -> Difference:
    ends = [mean - half, mean + half], [mean - wide, mean + wide]
    return Difference(mean, *ends, dict(enumerate(by_seed)), 100)


def test_the_decision_follows_the_plan():
    clear = difference(-3, 1, 4, (-2, -3, -4))
    assert decide([clear, clear], 3) == "yes"
    assert decide([clear, clear], 3, [1]).startswith("open: seed 1 has a run on the plateau")
    one_sign = difference(-1.5, 1, 1.5, (-4, 0.5, -1))
    assert decide([clear, one_sign], 3) == "open: more seeds are needed"
    small = difference(-0.2, 1, 1.2, (0.3, -0.5, -0.4))
    assert decide([clear, small], 3).startswith("bounded no: a gain of 2 mm")
    assert decide([clear, None], 3) == decide([clear, difference(-3, 1, 4, (-2, -3))], 3) == "open: runs are missing"


def test_a_spread_is_mean_and_deviation():
    assert spread([90.0, 100.0, 107.0], 1) == f"99.0 ± {np.std([90, 100, 107], ddof=1):.1f}"
    assert spread([1.0], 2) == "1.00" and spread([], 1) == ""
