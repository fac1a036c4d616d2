"""Labels that can be read but are wrong are named, right ones are not."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.utils.data import default_collate

from datasets.human_mesh import HumanMeshDataset, format_label
from datasets.label_checks import FirstBatches, fit_projection, measure, suspicions
from datasets.tsv import TSVWriter
from models.body_model import load_body_model
from scripts import check_dataset
from utils.geometry import rotvec_to_rotmat
from utils.media.images import load_image
from utils.paths import OPEN_BODY
from utils.skeleton import J24, J24_FLIP, SMPL_JOINTS

SIZE = 12
WRONG = {
    "millimetres": "are they in millimetres",
    "centimetres": "are they in centimetres",
    "degrees": "is 'pose' in degrees",
    "normalised 2D": "are they normalised",
    "pixel scale": "is 'scale' in pixels",
    "shifted 2D": "of the 2D keypoints are in the crop",
    "exchanged 2D": "2D fit 3D keypoints with left and right exchanged",
    "exchanged 3D": "the pose fits the 3D keypoints with left and right exchanged",
    "another frame": "2D and projected 3D keypoints differ",
    "pose of another frame": "are both in the frame of the camera",
    "pixels as betas": "are they coefficients of SMPL",
}


def write_people(folder, wrong: str | None = None):
    """People of the open body in random poses in front of a weak-perspective camera, with one thing wrong -> yaml."""
    body, random = load_body_model(OPEN_BODY), np.random.default_rng(0)
    pose = random.normal(0, 0.25, (SIZE, 24, 3))
    turn = Rotation.from_euler("y", random.uniform(-40, 40, (SIZE, 1)), degrees=True)
    pose[:, 0] = (Rotation.from_euler("x", 180, degrees=True) * turn).as_rotvec()
    betas = random.normal(0, 1, (SIZE, 10))
    with torch.no_grad():
        rotmat = rotvec_to_rotmat(torch.tensor(pose, dtype=torch.float32))
        joints = body.joints(rotmat, torch.tensor(betas, dtype=torch.float32)).numpy().astype(float)
    _, jpeg = cv2.imencode(".jpg", np.full((200, 200, 3), 90, np.uint8))
    with TSVWriter(folder / "set" / "a.yaml") as writer:
        for i in range(SIZE):
            keypoints_3d, keypoints_2d = np.zeros((24, 4)), np.zeros((24, 3))
            for j, name in enumerate(J24):
                if (smpl := name[:2] + name[2:].lower()) in SMPL_JOINTS:
                    keypoints_3d[j] = *joints[i, SMPL_JOINTS.index(smpl)], 1
            keypoints_2d[:, :2] = 80 * keypoints_3d[:, :2] + 100
            keypoints_2d[:, 2] = keypoints_3d[:, 3]
            row = {"scale": 1.0, "pose": pose[i].ravel(), "betas": betas[i]}
            match wrong:
                case "millimetres":
                    keypoints_3d[:, :3] *= 1000
                case "centimetres":
                    keypoints_3d[:, :3] *= 100
                case "degrees":
                    row["pose"] = np.rad2deg(row["pose"])
                case "normalised 2D":
                    keypoints_2d[:, :2] = keypoints_2d[:, :2] / 100 - 1
                case "pixel scale":
                    row["scale"] = 200.0
                case "shifted 2D":
                    keypoints_2d[:, 0] += 150
                case "exchanged 2D":
                    keypoints_2d = keypoints_2d[list(J24_FLIP)]
                case "exchanged 3D":
                    keypoints_2d, keypoints_3d = (points[list(J24_FLIP)] for points in (keypoints_2d, keypoints_3d))
                case "another frame":
                    keypoints_3d[:, :3] = keypoints_3d[:, [0, 2, 1]]
                case "pose of another frame":
                    turned = Rotation.from_euler("x", 180, degrees=True) * Rotation.from_rotvec(pose[i, 0])
                    row["pose"] = np.vstack((turned.as_rotvec(), pose[i, 1:])).ravel()
                case "pixels as betas":
                    row["betas"] = row["betas"] * 50
            label = format_label((100, 100), keypoints_2d=keypoints_2d, keypoints_3d=keypoints_3d, **row)
            writer.add(f"person_{i}", jpeg.tobytes(), label, 200, 200)
    return folder / "set" / "a.yaml"


def run_check(monkeypatch, *flags) -> None:
    monkeypatch.setattr("sys.argv", ["check_dataset.py", *map(str, flags), "--num_workers=0"])
    check_dataset.main()


@pytest.mark.parametrize("wrong", WRONG)
def test_check_dataset_says_what_looks_wrong(tmp_path, monkeypatch, capsys, wrong):
    run_check(monkeypatch, write_people(tmp_path, wrong), f"--smpl_path={OPEN_BODY}")
    printed = capsys.readouterr().out
    assert "0 of them cannot be used" in printed
    lines = [line for line in printed.splitlines() if "looks wrong" in line]
    assert any(WRONG[wrong] in line for line in lines), printed


def test_right_labels_give_measures_and_a_sheet(tmp_path, monkeypatch, capsys):
    run_check(monkeypatch, write_people(tmp_path), f"--smpl_path={OPEN_BODY}", "--sheet", tmp_path / "sheet.png")
    printed = capsys.readouterr().out
    assert "looks wrong" not in printed and "length of the thigh, m" in printed
    sheet = load_image(tmp_path / "sheet.png")
    assert sheet.shape == (2 * 224, 6 * 224, 3)
    for color in ((60, 220, 90), (255, 90, 60)):
        assert (np.abs(sheet.astype(int) - color).max(-1) < 10).any()


CHEAP = [name for name in WRONG if name not in ("exchanged 3D", "pose of another frame")]  # those need a body


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("wrong", [None, *CHEAP])
def test_the_first_batches_of_training_are_warned_of_once(tmp_path, capsys, wrong, augment):
    rows = HumanMeshDataset(write_people(tmp_path, wrong), augment=augment)
    batches = [default_collate([rows[i] for i in range(start, start + 4)]) for start in (0, 4, 8)] * 3
    assert all(a is b for a, b in zip(FirstBatches().filter(batches), batches, strict=True))
    printed = capsys.readouterr().out
    assert printed.count("warning: the labels of the first batches look wrong") == (wrong is not None)
    assert wrong is None or WRONG[wrong] in printed


def test_rows_without_labels_are_left_out():
    batch = {"keypoints_2d": torch.zeros(8, 24, 3), "keypoints_3d": torch.zeros(8, 24, 4), "pose": torch.zeros(8, 72)}
    batch |= {"betas": torch.zeros(8, 10)}
    batch |= {f"has_{name}": torch.zeros(8, dtype=bool) for name in ("keypoints_2d", "keypoints_3d", "smpl")}
    measures = measure(batch)
    assert all(np.isnan(values).all() for values in measures.values()) and suspicions(measures) == []


def test_the_projection_is_exact_and_never_mirrors():
    xyz = np.random.default_rng(0).normal(size=(3, 12, 3))
    xy = 2.5 * xyz[..., :2] + (3, -1)
    np.testing.assert_allclose(fit_projection(xyz, xy, np.ones((3, 12))), xy, atol=1e-9)
    mirrored = fit_projection(xyz, -xy, np.ones((3, 12)))
    np.testing.assert_allclose(mirrored, np.broadcast_to(-xy.mean(1, keepdims=True), xy.shape), atol=1e-9)
