"""The occlusion sweep: patches cover what they should, errors are those of independent computation."""

import json

import cv2
import numpy as np
import pytest
import torch

from datasets.synthetic import SyntheticDataset
from models.predictor import load_network
from scripts import eval_occlusion
from scripts.cache_features import open_occluded
from scripts.eval_occlusion import covered_joints, increases
from scripts.lib.occlusion.patches import LIMBS, limb_keypoints, limb_mask, occluder_picture, square_masks
from scripts.lib.occlusion.sweep import (
    COVERED,
    PATCHES_PER_PERSON,
    Networks,
    OccludedPeople,
    covered,
    joint_errors,
    patches_of,
)
from tests.helpers.tiny_data import write_set
from utils.metrics import mpjpe, pa_mpjpe
from utils.paths import OPEN_BODY
from utils.skeleton import J14, J24_TO_J14


def distance_to_segment(size: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    points = np.stack((x, y), -1).astype(float)
    share = (((points - a) @ (b - a)) / ((b - a) @ (b - a))).clip(0, 1)
    return np.linalg.norm(points - a - share[..., None] * (b - a), axis=-1)


def test_a_limb_is_hidden_up_to_its_radius():
    a, b = np.array([30.0, 40.0]), np.array([80.0, 70.0])
    mask = limb_mask(np.stack((a, b)), 9, 120)
    distance = distance_to_segment(120, a, b)
    assert mask[distance < 8].all() and not mask[distance > 10.5].any()
    corners = np.array([[20.0, 20], [60, 20], [60, 90], [20, 90]])
    trunk = limb_mask(corners, 5, 120)
    assert trunk[16:94, 16:64].mean() > 0.99 and not trunk[:, 70:].any()
    outside = limb_mask(np.array([[-50.0, 5], [-20, 5]]), 6, 120)  # beyond the border: nothing, and no error
    assert not outside.any()


def test_squares_cover_the_picture():
    masks = square_masks(4, 30, 100)
    assert masks.shape == (16, 100, 100) and masks.any(0).all()
    assert masks[0, :27, :27].all() and not masks[0, 28:].any() and masks[1, 0, 25:52].all()
    assert (square_masks(5, 20, 100).sum(0) == 1).all()


@pytest.mark.parametrize("occluder", ["grey", "texture"])
def test_a_patch_changes_the_pixels_under_it_alone(occluder):
    image = torch.randn(3, 64, 64)
    masks = square_masks(2, 20, 64)
    images = covered(image, masks, occluder_picture(occluder, 64, 0))
    assert torch.equal(images[0], image)
    for mask, hidden in zip(torch.from_numpy(masks), images[1:], strict=True):
        assert torch.equal(hidden[:, ~mask], image[:, ~mask]) and not (hidden[:, mask] == image[:, mask]).any()
    spread = images[1][:, torch.from_numpy(masks[0])].std(1)
    assert (spread < 1e-6).all() if occluder == "grey" else (spread > 0.1).any()


def test_a_limb_outside_the_crop_has_no_patch():
    row = {"image": torch.zeros(3, 64, 64), "keypoints_2d": torch.zeros(24, 3), "has_keypoints_2d": True}
    row["keypoints_2d"][:, 2] = 1
    row["keypoints_2d"][J24_TO_J14[J14.index("L_Ankle")], 0] = 1.2
    row["keypoints_2d"][J24_TO_J14[J14.index("R_Wrist")], 2] = 0
    masks = patches_of(row, 0, 0.1, 0.2)
    absent = {limb for limb, mask in zip(LIMBS, masks, strict=True) if not mask.any()}
    assert absent == {"left shin", "right forearm"}
    assert patches_of(row, 3, 0.1, 0.2).shape == (9, 64, 64)


def test_the_rows_of_a_person_have_one_limb_each_under_a_patch():
    def person(seed: int) -> dict:
        row = {"image": torch.randn(3, 64, 64), "keypoints_2d": torch.rand(24, 3) * 1.6 - 0.8, "index": seed}
        row["keypoints_2d"][:, 2] = 1
        return row | {"has_keypoints_2d": True}

    people = [person(0), person(1)]
    people[1]["keypoints_2d"][J24_TO_J14[J14.index("Head")], 2] = 0  # its head is outside the picture
    rows = OccludedPeople(people, "texture")
    assert len(rows) == 2 * PATCHES_PER_PERSON == 22 and [rows[i]["index"] for i in (0, 21)] == [0, 21]
    for index in range(len(rows)):
        row, whole = rows[index], people[index // 11]
        limb = [None, *LIMBS][index % 11]
        covers = limb is not None and not (limb == "head" and index > 11)
        assert torch.equal(row["image"], whole["image"]) != covers
        expected = {J24_TO_J14[j] for j in limb_keypoints(limb)} if covers else set()
        assert {j for j in range(24) if row["keypoints_2d"][j, 2] == COVERED} == expected
        assert torch.equal(row["keypoints_2d"][:, :2], whole["keypoints_2d"][:, :2])
    assert (people[0]["keypoints_2d"][:, 2] == 1).all()  # the people themselves stay as they are


def test_rows_to_cache_are_those_of_the_people_without_augmentation():
    rows = open_occluded("val", 0, 500, "none", "grey")
    people = SyntheticDataset(OPEN_BODY, "val", seed=0, num_samples=46, assets="none")
    assert len(rows) == 500 and torch.equal(rows[22]["image"], people[2]["image"])
    assert not torch.equal(rows[23]["image"], people[2]["image"])


def test_errors_are_those_of_the_metrics():
    generator = torch.Generator().manual_seed(0)
    pred, label = torch.randn(3, 14, 3, generator=generator), torch.randn(14, 3, generator=generator)
    valid = torch.ones(14).bool()
    valid[6] = False
    errors = joint_errors(pred, label, valid)
    many = label.expand_as(pred), valid.expand(3, 14)
    for name, metric in (("PA error", pa_mpjpe), ("hip-aligned error", mpjpe)):
        assert np.isnan(errors[name][:, 6]).all()
        np.testing.assert_allclose(np.nanmean(errors[name], 1), 1000 * metric(pred, *many).numpy(), rtol=1e-6)
    valid[2] = False  # a hip: nothing to align by
    errors = joint_errors(pred, label, valid)
    assert np.isnan(errors["hip-aligned error"]).all() and not np.isnan(errors["PA error"][:, 0]).any()


def test_the_joints_of_a_limb_and_their_changes():
    rng = np.random.default_rng(0)
    first = rng.normal(100, 5, (30, 1 + len(LIMBS), 14))
    place = 1 + [*LIMBS].index("left forearm")
    joints = limb_keypoints("left forearm")
    assert {J14[i] for i in joints} == {"L_Elbow", "L_Wrist"}
    first[:, place, joints] = first[:, 0, joints] + 40
    first[:10, place] = np.nan  # no patch for these people
    second = first.copy()
    second[:, place, joints] += 3
    rows = covered_joints({"a": first, "b": second})
    row = next(row for row in rows if row["limb"] == "left forearm")
    assert row["people"] == 20 and row["networks"]["b"]["change_mm"] == pytest.approx(3)
    found = row["networks"]["a"]
    assert found["hidden_mm"] - found["free_mm"] == pytest.approx(40)
    assert rows[-1]["limb"] == "all of these" and 0 < rows[-1]["networks"]["b"]["change_mm"] < 3
    assert increases(first)[place - 1, joints] == pytest.approx(40)


def run(monkeypatch, *argv) -> None:
    monkeypatch.setattr("sys.argv", ["eval_occlusion.py", *map(str, argv)])
    eval_occlusion.main()


def test_synthetic_people_with_and_without_the_graph(tmp_path, monkeypatch, capsys):
    run(monkeypatch, "--output", tmp_path, "--num_samples", 2, "--assets", "none", "--without_graph", "--device", "cpu")
    report = json.loads((tmp_path / "occlusion.json").read_text())
    assert report["people"] == 2 and "default without graph minus default, hidden" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "occlusion.png")).std() > 10
    row = report["PA error"]["covered"][0]
    assert row["limb"] == "head" and row["networks"]["default"]["free_mm"] > 0
    # the error without a patch is that of the network itself, without and with its graph
    model = load_network().eval()
    dataset = SyntheticDataset(OPEN_BODY, "test", num_samples=2, assets="none")
    networks = Networks([None], True, torch.device("cpu"))
    image = dataset[1]["image"][None]
    with torch.inference_mode():
        whole = model(image)["pred_keypoints_3d"]
        for block in model.blocks:
            block.joint_embedding = None
            for unit in block.units:
                unit.graph = None
        bare = model(image)["pred_keypoints_3d"]
    found = networks(image)
    assert len(networks.groups) == 1  # both read the same features
    torch.testing.assert_close(found["default"], whole, atol=2e-4, rtol=0)
    torch.testing.assert_close(found["default without graph"], bare, atol=2e-4, rtol=0)
    assert (whole - bare).abs().max() > 1e-3


def test_a_set_of_files_with_a_sliding_patch(tmp_path, monkeypatch, capsys):
    """Rows without 3D keypoints are left out."""
    write_set(tmp_path / "own.yaml", 4, seed=0)
    out = tmp_path / "out"
    run(monkeypatch, "--output", out, "--yaml", tmp_path / "own.yaml", "--slide", 2, "--occluder", "texture")
    report = json.loads((out / "occlusion.json").read_text())
    assert report["people"] == 3 and np.shape(report["PA error"]["increase_mm"]["default"]) == (4, 14)
    assert cv2.imread(str(out / "occlusion.png")).std() > 5
    write_set(tmp_path / "flat.yaml", 4, seed=0, labels=("2d",))
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "--output", out, "--yaml", tmp_path / "flat.yaml")
    assert stop.value.code == 2 and "no row of the set has 3D keypoints" in capsys.readouterr().err
