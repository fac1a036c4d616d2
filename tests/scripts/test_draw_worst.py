"""The sheet of the samples with the largest errors: ordered, of the right rows, labels where the people are."""

import sys

import cv2
import numpy as np
import pytest
import torch

from datasets.human_mesh import HumanMeshDataset
from datasets.synthetic import SyntheticDataset
from models.body_model import load_body_model
from models.build import load_keypoint_regressor
from models.criterion import Criterion
from scripts import draw_worst
from tests.helpers.tiny_data import write_body, write_set
from utils.errors import UserError
from utils.evaluation.predictions import Predictions
from utils.geometry import rotvec_to_rotmat
from utils.paths import OPEN_BODY
from utils.skeleton import J14, J14_HIPS, J17_TO_J14

SIZE = draw_worst.SIZE


def parts_of(body_file, regressor_file=None):
    body = load_body_model(body_file)
    return body, load_keypoint_regressor(regressor_file, body)


def predict(rows: list[dict], body, regressor, noise: float, seed: int = 0) -> Predictions:
    """Predictions whose poses are the labelled ones with noise, and whose errors are 0.1, 0.2, ... m."""
    n, hips = len(rows), list(J14_HIPS)
    pose, betas = (torch.stack([row[name] for row in rows]) for name in ("pose", "betas"))
    pose = pose + noise * torch.randn(pose.shape, generator=torch.Generator().manual_seed(seed))
    vertices, _ = body(rotvec_to_rotmat(pose.view(n, 24, 3)), betas)
    joints = (regressor[list(J17_TO_J14)] @ vertices).double()
    joints = (joints - joints[:, hips].mean(1, keepdim=True)).numpy()
    errors = 0.1 * np.arange(1.0, n + 1)
    return Predictions(
        key=np.array([row["image_id"] for row in rows]), index=np.array([row["index"] for row in rows]),
        mpjpe=errors, pa_mpjpe=errors[::-1] / 2, mpvpe=np.where(errors > 0.15, errors, np.nan),
        joint_errors=np.tile(errors[:, None], (1, 14)), confidence=np.ones((n, 14)),
        pose=pose.double().numpy(), betas=betas.double().numpy(), camera=np.tile((0.9, 0.0, 0.0), (n, 1)),
        joints=joints, label_joints=joints, joint_names=np.array(J14),
    )  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A set of files with a tiny body, and predictions for it."""
    place = tmp_path_factory.mktemp("own")
    write_body(place)
    write_set(place / "set/val.yaml", 6, seed=1)
    rows = HumanMeshDataset(place / "set/val.yaml")
    found = predict([rows[i] for i in range(6)], *parts_of(place / "tiny_body.npz", place / "tiny_j17.npy"), noise=0.2)
    return place, found


def run(monkeypatch, place, found: Predictions, *flags: str):
    found.save(place / "found.npz")
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["draw_worst.py", "found.npz", "--output", "worst.png", *flags])
    draw_worst.main()


OWN = ("--val_yaml", "set/val.yaml", "--smpl_path", "tiny_body.npz", "--keypoint_regressor", "tiny_j17.npy")


@pytest.mark.parametrize(("metric", "order"), [("mpjpe", [5, 4, 3]), ("pa_mpjpe", [0, 1, 2]), ("mpvpe", [5, 4, 3])])
def test_the_worst_come_first(own, monkeypatch, capsys, metric, order):
    place, found = own
    shuffled = found.select(np.random.default_rng(0).permutation(6))
    run(monkeypatch, place, shuffled, *OWN, "--count=3", f"--metric={metric}")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines[:3]] == [f"val_{i}" for i in order]
    i = order[0]
    assert f"(row {i}): MPJPE {100.0 * (i + 1):.1f}, PA-MPJPE {50.0 * (6 - i):.1f}" in lines[0]
    sheet = cv2.imread(str(place / "worst.png"))
    assert sheet.shape == (draw_worst.BAR + 3 * (draw_worst.BAR + SIZE), 5 * SIZE + 4 * draw_worst.GAP, 3)


def test_a_sample_without_a_pose_shows_its_keypoints(own):
    """Row 2 of the set has no pose: green keypoints instead of a mesh, and no mesh from the side."""
    place, found = own
    body, regressor = parts_of(place / "tiny_body.npz", place / "tiny_j17.npy")
    painter = draw_worst.Painter(Criterion(body, regressor), regressor)
    rows = HumanMeshDataset(place / "set/val.yaml")
    for index, has_pose in ((2, False), (1, True)):
        sheet = painter.row(rows[index], found.select(np.array([index])))
        crop, estimate, label, side, side_label = (sheet[:, i * (SIZE + draw_worst.GAP) :][:, :SIZE] for i in range(5))
        # the made-up 2D keypoints of row 1 fit no camera
        assert (label == (0, 220, 0)).all(-1).sum() > 20
        assert (side_label == 255).all() == (not has_pose)
        assert (crop != estimate).any() and np.ptp(side) > 50


def test_predictions_of_another_set_or_body_are_refused(own, monkeypatch):
    place, found = own
    with pytest.raises(SystemExit):
        run(monkeypatch, place, found, *OWN[:2])
    body, regressor = parts_of(place / "tiny_body.npz", place / "tiny_j17.npy")
    painter = draw_worst.Painter(Criterion(body, regressor), regressor)
    rows = HumanMeshDataset(place / "set/val.yaml")
    moved = found.select(np.array([1]))
    moved.joints = moved.joints * 1.1
    with pytest.raises(UserError, match="give the body of the evaluation"):
        painter.row(rows[1], moved)
    with pytest.raises(UserError, match="row 0 is other in the predictions, val_0 in the data set"):
        draw_worst.read_sample(rows, 0, "other")
    with pytest.raises(UserError, match="the data set has 6 rows"):
        draw_worst.read_sample(rows, 6, "val_6")
    found = found.select(np.arange(6))
    found.mpvpe = np.full(6, np.nan)
    with pytest.raises(UserError, match="no sample of the predictions has a MPVPE"):
        draw_worst.find_worst(found, "mpvpe", 3)


def test_labels_of_synthetic_people_lie_over_them(monkeypatch, tmp_path):
    """Mesh of the label over the picture against the renderer's mask of the person."""
    dataset = SyntheticDataset(OPEN_BODY, "test", assets="none", clean=True, with_image_uint8=True)
    body, regressor = parts_of(OPEN_BODY)
    painter = draw_worst.Painter(Criterion(body, regressor), regressor)
    for index in range(3):
        row = dataset[index]
        mask = row.pop("mask").numpy()
        found = predict([row], body, regressor, noise=0.1)
        sheet = painter.row(row, found)
        crop, label = (sheet[:, i * (SIZE + draw_worst.GAP) :][:, :SIZE].astype(int) for i in (0, 2))
        drawn = np.abs(crop - label).sum(-1) > 12
        mask = cv2.resize(mask.astype(np.uint8), (SIZE, SIZE)) > 0
        # clothes and hair are wider than the body
        assert (drawn & mask).sum() > 0.85 * drawn.sum()
        assert (drawn & mask).sum() > 0.6 * mask.sum()
