"""Human3.6M: JSON of joints and fits in the world frame -> rows, against the truth."""

import copy

import numpy as np
import pytest

from scripts import build_h36m_dataset
from tests.helpers.releases.built import assert_agrees, labels_of, report_of, run
from tests.helpers.releases.h36m import make_subject, write_subject
from utils.paths import OPEN_BODY


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("h36m")
    train = make_subject(root, 1, frames=(0, 3, 5), cameras=(1, 3), seed=0)
    valid = make_subject(root, 9, frames=(0, 5), cameras=(2, 4), seed=1)
    return root, train, valid


def build(root, output, *flags):
    return run(
        build_h36m_dataset,
        *("--images", root / "images", "--annotations", output / "annotations", "--output", output),
        *("--smpl_path", OPEN_BODY, "--num_workers", 1, "--sheet_rows", 0, *flags),
    )


def build_train(release, tmp_path, **changes):
    """Build the training subject with other files -> exit code, output, report."""
    write_subject(tmp_path / "annotations", release[1], **changes)
    code, output = build(release[0], tmp_path, "--splits", "train")
    yaml_file = tmp_path / "human3.6m/train.yaml"
    return code, output, report_of(yaml_file) if yaml_file.exists() else None


def changed_camera(subject, change):
    cameras = copy.deepcopy(subject.files["camera"])
    for camera in cameras.values():
        rotation, shift = change(np.array(camera["R"]), np.array(camera["t"]))
        camera["R"], camera["t"] = rotation.tolist(), shift.tolist()
    return cameras


def changed_fits(subject, change):
    fits = copy.deepcopy(subject.files["smpl_param"])
    for fit in fits["2"]["1"].values():
        change(fit)
    return fits


def test_rows_agree_with_the_truth(release, tmp_path):
    root, train, valid = release
    for subject in (train, valid):
        write_subject(tmp_path / "annotations", subject)
    code, output = build(root, tmp_path)
    assert code == 0, output
    rows = labels_of(tmp_path / "human3.6m/train.yaml")
    assert len(rows) == 4  # every 5th frame, two cameras
    for (camera, frame), person in train.people.items():
        if frame % 5 == 0:
            folder = f"s_01_act_02_subact_01_ca_{camera:02d}"
            label = rows[f"{folder}/{folder}_{frame + 1:06d}.jpg"]
            assert_agrees(label, person)
            assert label["jpeg"] == train.jpegs[camera, frame]
            assert (label["keypoints_3d"][:, 3] > 0).sum() == 17
    rows = labels_of(tmp_path / "human3.6m/valid.protocol2.yaml")
    assert sorted(rows) == [f"{f}/{f}_{i:06d}.jpg" for f in ["s_09_act_02_subact_01_ca_04"] for i in (1, 6)]
    assert "x_cam = R x + t" in output


def test_the_other_camera_convention_is_found_and_told(release, tmp_path):
    other = changed_camera(release[1], lambda rotation, shift: (rotation, -rotation.T @ shift))
    code, output, report = build_train(release, tmp_path, camera=other)
    assert code == 0 and "x_cam = R (x - t)" in output
    label = labels_of(tmp_path / "human3.6m/train.yaml")[
        "s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg"
    ]
    assert_agrees(label, release[1].people[1, 0])
    assert report["problems"] == []


def test_without_fits_the_joints_stay(release, tmp_path):
    code, output, report = build_train(release, tmp_path, smpl_param=None)
    assert code == 0 and "no SMPL fits" in output
    assert report["rows"] == 4 and report["with_body"] == 0


def test_bad_fits_and_missing_frames(release, tmp_path):
    fits = changed_fits(release[1], lambda fit: None)
    fits["2"]["1"]["0"]["pose"] = (np.array(fits["2"]["1"]["0"]["pose"]) * 1.8).tolist()
    del fits["2"]["1"]["5"]
    code, _, report = build_train(release, tmp_path, smpl_param=fits)
    assert report["rows"] == 4 and report["with_body"] == 0 and report["fits_left_out"] == 2
    assert code == 2 and any("too far from the 3D labels" in problem for problem in report["problems"])


def test_neuralannot_fits_lie_elsewhere(release, tmp_path):
    fits = release[1].files["smpl_param"]
    write_subject(tmp_path / "annotations", release[1], smpl_param=None)
    only = type(release[1])(1, {}, {}, {"SMPL_NeuralAnnot": fits})
    write_subject(tmp_path / "fits", only)
    code, output = build(release[0], tmp_path, "--splits", "train", "--fits", tmp_path / "fits")
    assert code == 0, output
    assert report_of(tmp_path / "human3.6m/train.yaml")["with_body"] == 4


@pytest.mark.parametrize("name", ["transposed rotation", "degrees", "metres", "swapped sides", "fit in millimetres"])
def test_wrong_conventions_are_flagged(release, tmp_path, name):
    subject = release[1]
    changes, message = {}, "convention"
    if name == "transposed rotation":
        changes = {"camera": changed_camera(subject, lambda rotation, shift: (rotation.T, shift))}
    elif name == "degrees":
        changes = {"smpl_param": changed_fits(subject, lambda fit: fit.update(pose=np.rad2deg(fit["pose"]).tolist()))}
        message = "degrees"
    elif name == "metres":
        joints = copy.deepcopy(subject.files["joint_3d"])
        for frame, values in joints["2"]["1"].items():
            joints["2"]["1"][frame] = (np.array(values) / 1000).tolist()
        changes, message = {"joint_3d": joints}, "unit"
    elif name == "swapped sides":
        joints = copy.deepcopy(subject.files["joint_3d"])
        for frame, values in joints["2"]["1"].items():
            order = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
            joints["2"]["1"][frame] = np.array(values)[order].tolist()
        changes, message = {"joint_3d": joints}, "sides are swapped"
    elif name == "fit in millimetres":
        fits = changed_fits(subject, lambda fit: fit.update(trans=[1000 * x for x in fit["trans"]]))
        changes = {"smpl_param": fits}
    code, output, report = build_train(release, tmp_path, **changes)
    assert code == 2
    said = " ".join(report["problems"]) if report else output
    assert message in said, output


def test_broken_files_are_one_line(release, tmp_path):
    write_subject(tmp_path / "annotations", release[1])
    file = tmp_path / "annotations/Human36M_subject1_camera.json"
    file.write_text(file.read_text()[:-20])
    code, output = build(release[0], tmp_path, "--splits", "train")
    assert code == 2 and output.count("error:") == 1 and "subject1_camera.json" in output
    code, output = build(release[0], tmp_path, "--splits", "valid")
    assert code == 2 and "Human36M_subject9_data.json" in output


def test_broken_images_and_annotations_are_dropped_one_by_one(release, tmp_path):
    data = copy.deepcopy(release[1].files["data"])
    data["images"][0].pop("frame_idx")
    data["annotations"][1].pop("bbox")
    data["images"] += [None, {"id": 99}]
    code, output, report = build_train(release, tmp_path, data=data)
    assert code == 0, output
    assert report["rows"] == 2 and sum(report["dropped"].values()) == 4, report["dropped"]
