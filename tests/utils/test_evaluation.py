"""Details of an evaluation against plain loops; keys of real sets; the file of predictions."""

import re

import numpy as np
import pytest

from scripts import compare_runs
from utils.errors import UserError
from utils.evaluation.bootstrap import interval
from utils.evaluation.details import acceleration_errors, explain, format_details
from utils.evaluation.groups import DEFAULT_PATTERNS, consecutive_frames, groups_of, sequences_of, split_key
from utils.evaluation.predictions import Predictions, load_predictions
from utils.skeleton import J14


def make(keys: list[str], seed: int = 0, shift: float = 0.0) -> Predictions:
    """Made-up predictions whose errors follow from their joints; the labels depend on the keys alone."""
    n, random, labels = len(keys), np.random.default_rng(seed), np.random.default_rng(99)
    label = labels.normal(0, 0.3, (n, 14, 3))
    confidence = labels.choice((0, 0.5, 1), (n, 14))
    joints = label + random.normal(0, 0.05 + shift, (n, 14, 3))
    errors = np.linalg.norm(joints - label, axis=-1)
    mpvpe = errors.mean(1) * 1.2
    mpvpe[::4] = np.nan
    return Predictions(
        key=np.array(keys), index=np.arange(n), mpjpe=errors.mean(1), pa_mpjpe=0.6 * errors.mean(1), mpvpe=mpvpe,
        joint_errors=errors, confidence=confidence, pose=np.zeros((n, 72)), betas=np.zeros((n, 10)),
        camera=np.zeros((n, 3)), joints=joints, label_joints=label, joint_names=np.array(J14),
    )  # fmt: skip


FRAMES = [f"{name}_{i:02d}/image_{frame:05d}.jpg_0" for i, name in enumerate(("downtown_walk", "office_sit")) for frame
          in (3, 4, 5, 6, 9, 10)]  # fmt: skip


@pytest.mark.parametrize(
    ("data_mode", "key", "sequence", "frame", "group"),
    [
        ("h36m", "S9_SittingDown_1.54138969_000217.jpg", "S9_SittingDown_1.54138969", 217, "SittingDown"),
        ("h36m", "s_09_act_02_subact_01_ca_01_000001.jpg", "s_09_act_02_subact_01_ca_01", 1, "02"),
        ("3dpw", "downtown_runForBus_01/image_00012.jpg_1", "downtown_runForBus_01", 12, "downtown_runForBus_01"),
        ("emdb", "P0/09_outdoor_walk/00012.jpg", "P0/09_outdoor_walk", 12, "P0/09_outdoor_walk"),
    ],
)
def test_keys_of_the_known_sets(data_mode, key, sequence, frame, group):
    assert split_key(key)[::2] == (sequence, frame)
    assert groups_of([key], None, data_mode) == [group]


def test_independent_samples_have_no_sequence():
    keys = ["synthetic/test/0/0/17", "test_has_gender_00000", "000000123.jpg_4"]
    assert groups_of(keys, None, "synthetic") is None
    assert sequences_of(keys).tolist() == keys
    assert len(consecutive_frames(keys)) == 0
    assert groups_of(keys, r"^([a-z]+)_", None).tolist() == ["other", "test", "other"]


def test_acceleration_is_that_of_consecutive_frames_whatever_the_order():
    predictions = make(FRAMES)
    order = np.random.default_rng(1).permutation(len(FRAMES))
    errors = acceleration_errors(predictions.select(order))
    for place, row in enumerate(order):
        if row % 6 in (1, 2):  # frames 4 and 5 have both neighbours; 6, 9 and 10 do not
            difference = predictions.joints - predictions.label_joints
            expected = [np.linalg.norm(difference[row - 1, j] - 2 * difference[row, j] + difference[row + 1, j])
                        for j in range(14)]  # fmt: skip
            assert errors[place] == pytest.approx(np.mean(expected))
        else:
            assert np.isnan(errors[place])


def test_two_people_under_one_key_have_no_acceleration():
    keys = [f"walk/{i}.jpg" for i in (1, 2, 3, 3)] + [f"run/{i}.jpg" for i in (1, 2, 3)]
    assert consecutive_frames(keys).tolist() == [[4, 5, 6]]


def test_the_interval_is_that_of_the_normal_distribution_for_many_samples():
    values = np.random.default_rng(0).normal(5, 2, 4000)
    low, high = interval(values, np.arange(4000))
    half = 1.96 * 2 / np.sqrt(4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_frames_of_a_sequence_are_no_independent_samples():
    """100 equal frames of each of 20 sequences have the spread of 20 samples."""
    means = np.random.default_rng(0).normal(5, 2, 20)
    values, clusters = np.repeat(means, 100), np.repeat(np.arange(20), 100)
    low, high = interval(values, clusters)
    assert high - low == pytest.approx(2 * 1.96 * means.std() / np.sqrt(20), rel=0.15)
    few, many = interval(values, np.arange(2000))
    assert many - few < 0.2 * (high - low)
    assert interval(values, np.zeros(2000)) is None


def test_details_are_plain_means():
    predictions = make(FRAMES)
    details = explain(predictions, None, "3dpw")
    for j, name in enumerate(J14):
        assert details["joints"][name] == pytest.approx(1000 * predictions.joint_errors[:, j].mean())
    for name, confidence in (("visible", 1), ("hidden", 0.5), ("outside", 0)):
        chosen = [1000 * predictions.joint_errors[i, j] for i in range(12) for j in range(14)
                  if predictions.confidence[i, j] == confidence]  # fmt: skip
        assert details["visibility"][name] == {"mpjpe_mm": pytest.approx(np.mean(chosen)), "count": len(chosen)}
    groups = details["groups"]
    assert list(groups) == ["downtown_walk_00", "office_sit_01"]
    assert groups["office_sit_01"]["mpjpe_mm"] == pytest.approx(1000 * predictions.mpjpe[6:].mean())
    assert groups["office_sit_01"]["mpvpe_mm"] == pytest.approx(1000 * np.nanmean(predictions.mpvpe[6:]))
    assert details["intervals_over"] == "sequences" and details["acceleration_count"] == 4
    text = format_details(details)
    assert f"{groups['office_sit_01']['mpjpe_mm']:.2f}" in text and "acceleration error" in text


def test_predictions_survive_the_file(tmp_path):
    predictions = make(FRAMES)
    predictions.save(tmp_path / "a.npz")
    again = load_predictions(tmp_path / "a.npz")
    assert all(np.array_equal(value, getattr(again, name)) or np.isnan(value).any() for name, value in
               vars(predictions).items())  # fmt: skip
    np.testing.assert_array_equal(again.mpvpe, predictions.mpvpe)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(UserError, match="--save_predictions"):
            load_predictions(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pose", np.zeros((12, 71))), ("key", np.arange(12)), ("index", np.arange(12.0)), ("mpjpe", np.zeros(11)),
        ("joints", np.zeros((12, 14))), ("camera", np.zeros((12, 3), complex)), ("joint_names", np.array(["a"] * 14)),
        ("index", np.array(3)), ("joint_names", np.array("R_Hip")),
    ],
)  # fmt: skip
def test_damaged_predictions_are_refused(tmp_path, name, value):
    predictions = make(FRAMES)
    setattr(predictions, name, value)
    predictions.save(tmp_path / "a.npz")
    with pytest.raises(UserError, match="use an undamaged file"):
        load_predictions(tmp_path / "a.npz")


def test_comparison_pairs_by_key(tmp_path, monkeypatch, capsys):
    a, b = make(FRAMES, seed=1), make(FRAMES, seed=2, shift=0.05)
    order = np.random.default_rng(3).permutation(11)  # one sample is missing
    a.save(tmp_path / "a.npz")
    b.select(order).save(tmp_path / "b.npz")
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")])
    compare_runs.main()
    out = capsys.readouterr().out
    assert "11 samples in both, 1 in one alone" in out
    line = next(line for line in out.splitlines() if line.startswith("MPJPE ")).split()
    kept = np.sort(order)
    means = [1000 * x.mpjpe[kept].mean() for x in (a, b)]
    assert [float(x) for x in line[2:5]] == pytest.approx([*means, means[1] - means[0]], abs=0.006)
    assert float(line[8]) == pytest.approx(100 * (b.mpjpe < a.mpjpe)[kept].mean(), abs=0.5)
    assert re.search(r"^office_sit_01 +5 ", out, re.M)
    wrist = next(line for line in out.splitlines() if line.startswith("R_Wrist")).split()
    assert float(wrist[2]) == pytest.approx(1000 * a.joint_errors[kept, J14.index("R_Wrist")].mean(), abs=0.006)


def test_evaluations_of_different_sets_are_not_compared(tmp_path):
    a = make(FRAMES)
    with pytest.raises(UserError, match="no sample in common"):
        compare_runs.pair(a, make([f"else/{i}.jpg" for i in range(3)]))
    other = make(FRAMES)
    other.label_joints = other.label_joints + 0.01
    with pytest.raises(UserError, match="labels of the two files differ"):
        compare_runs.pair(a, other)


def test_default_patterns_have_one_group():
    assert all(re.compile(pattern).groups == 1 for pattern in DEFAULT_PATTERNS.values())
