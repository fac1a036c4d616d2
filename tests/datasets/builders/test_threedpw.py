"""3DPW: world-frame pickles -> rows, against the truth that the release is written from."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from datasets.builders.journal import GrowingSet
from scripts import build_3dpw_dataset
from tests.helpers.releases.built import assert_agrees, labels_of, report_of, run, sheet_of
from tests.helpers.releases.fits import write_json
from tests.helpers.releases.scene import pose_body
from tests.helpers.releases.threedpw import make_sequence, write_pickle
from utils.paths import OPEN_BODY, ROOT


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Two people in train, one (with betas of 300) in test."""
    root = tmp_path_factory.mktemp("3dpw")
    walk = make_sequence(root, "train", "walk_00", 3, ("m", "f"), seed=0)
    sit = make_sequence(root, "test", "sit_00", 4, ("f",), seed=1, long_betas=True)
    write_pickle(root, "train", walk)
    write_pickle(root, "test", sit)
    return root, walk, sit


def build(root, output, *flags):
    return run(
        build_3dpw_dataset,
        *("--images", root / "imageFiles", "--sequences", root / "sequenceFiles", "--output", output),
        *("--smpl_path", OPEN_BODY, "--num_workers", 1, *flags),
    )


def build_changed(release, tmp_path, **changes):
    """Build the test sequence with changed entries -> exit code, output, report."""
    root, _, sit = release
    (tmp_path / "sequenceFiles/test").mkdir(parents=True)
    (tmp_path / "imageFiles").symlink_to(root / "imageFiles")
    write_pickle(tmp_path, "test", sit, **changes)
    code, output = build(tmp_path, tmp_path / "out", "--splits", "test", "--sheet_rows", 0)
    yaml_file = tmp_path / "out/3dpw/test_has_gender.yaml"
    return code, output, report_of(yaml_file) if yaml_file.exists() else None


def test_rows_agree_with_the_truth(release, tmp_path):
    root, walk, sit = release
    code, output = build(root, tmp_path)
    assert code == 0, output
    train, test = (labels_of(tmp_path / "3dpw" / name) for name in ("train.yaml", "test_has_gender.yaml"))
    assert len(train) == 6 and len(test) == 4
    for person, gender in enumerate(("male", "female")):
        for i, truth in enumerate(walk.people[person]):
            label = train[f"walk_00/image_{i:05d}.jpg_{person}"]
            assert label["raw"]["gender"] == gender
            assert_agrees(label, truth, picture_has_one=False)
            assert label["jpeg"] == walk.jpegs[i]  # bytes as they are
    for i, truth in enumerate(sit.people[0]):
        assert_agrees(test[f"sit_00/image_{i:05d}.jpg_0"], truth)
    report = report_of(tmp_path / "3dpw/train.yaml")
    assert report["rows"] == 6 and report["genders"] == {"male": 3, "female": 3} and report["problems"] == []
    assert report["measured"]["reprojection_px"]["p95"] < 0.01
    assert sheet_of(tmp_path / "3dpw/train.yaml").shape == (448, 896, 3)
    assert "SMPL joints of the release" in (tmp_path / "3dpw/train.report.txt").read_text()
    # once more: nothing to do
    before = (tmp_path / "3dpw/train.img.tsv").stat().st_mtime_ns
    code, output = build(root, tmp_path)
    assert code == 0 and "already" in output
    assert (tmp_path / "3dpw/train.img.tsv").stat().st_mtime_ns == before


def test_contact_sheet_shows_the_mesh(release, tmp_path):
    root, _, _ = release
    code, output = build(root, tmp_path, "--splits", "test")
    assert code == 0, output
    tile = sheet_of(tmp_path / "3dpw/test_has_gender.yaml")[:224, :224].astype(int)
    person = np.abs(tile[..., ::-1] - (40, 200, 250)).max(-1) < 60  # the flat colour of the picture, if not drawn over
    clay = (np.abs(tile - 110).max(-1) > 30) & ~person
    assert clay.sum() > 8 * person.sum() and clay.sum() > 1500


def test_frames_that_cannot_be_used_are_dropped_and_counted(release, tmp_path):
    sit = release[2].content
    valid, poses2d, poses = sit["campose_valid"][0].copy(), sit["poses2d"][0].copy(), sit["poses"][0].copy()
    valid[0], poses2d[1], poses[2, 5] = 0, 0, np.nan
    code, output, report = build_changed(release, tmp_path, campose_valid=[valid], poses2d=[poses2d], poses=[poses])
    assert code == 0, output
    assert report["rows"] == 1
    assert report["dropped"] == {
        "camera pose is not valid (campose_valid)": 1,
        "fewer than 6 visible 2D joints": 1,
        "'poses' has nonfinite or huge numbers": 1,
    }
    assert "sit_00.pkl person 0 frame 2" in output


def test_missing_and_broken_pictures_are_dropped(release, tmp_path):
    root, _, sit = release
    images = tmp_path / "imageFiles/sit_00"
    images.mkdir(parents=True)
    for i in (1, 2, 3):
        (images / f"image_{i:05d}.jpg").write_bytes(sit.jpegs[i] if i < 3 else sit.jpegs[i][:-200])
    (images / "image_00002.jpg").write_bytes(b"no picture")
    (tmp_path / "sequenceFiles").symlink_to(root / "sequenceFiles")
    code, output = build(tmp_path, tmp_path / "out", "--splits", "test", "--sheet_rows", 0)
    assert code == 0, output
    report = report_of(tmp_path / "out/3dpw/test_has_gender.yaml")
    assert report["rows"] == 1
    assert report["dropped"] == {"picture is missing": 1, "not a picture": 1, "JPEG is cut short": 1}


@pytest.mark.parametrize(
    "name, message",
    [
        ("transposed rotation", "convention"),
        ("millimetres", "millimetres"),
        ("degrees", "degrees"),
        ("swapped sides", "sides are swapped"),
        ("camera to world", "convention"),
        ("as described", None),
        ("exchanged pose", "left and right of the pose"),
        ("inverse pose", "transposed"),
        ("joints in millimetres", "unit"),
    ],
)
def test_wrong_conventions_are_flagged(release, tmp_path, name, message):
    content = release[2].content
    cameras = content["cam_poses"].copy()
    changes = {}
    if name == "transposed rotation":
        cameras[:, :3, :3] = cameras[:, :3, :3].transpose(0, 2, 1)
        changes = {"cam_poses": cameras}
    elif name == "camera to world":
        changes = {"cam_poses": np.linalg.inv(cameras)}
    elif name == "millimetres":
        cameras[:, :3, 3] *= 1000
        changes = {"cam_poses": cameras, "trans": [content["trans"][0] * 1000]}
    elif name == "degrees":
        changes = {"poses": [np.rad2deg(content["poses"][0])]}
    elif name == "exchanged pose":
        order = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
        changes = {"poses": [content["poses"][0].reshape(-1, 24, 3)[:, order].reshape(-1, 72)]}
    elif name == "inverse pose":
        changes = {"poses": [-content["poses"][0]]}
    elif name == "joints in millimetres":
        changes = {"jointPositions": [1000 * content["jointPositions"][0]]}
    elif name == "swapped sides":
        swapped = content["poses2d"][0][:, :, [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]]
        changes = {"poses2d": [swapped]}
    code, output, report = build_changed(release, tmp_path, **changes)
    if message is None:
        assert code == 0 and report["problems"] == []
        return
    assert code == 2
    said = " ".join(report["problems"]) if report else output
    assert message in said, output


def test_pickles_that_would_run_code_are_refused(release, tmp_path):
    root, _, _ = release
    (tmp_path / "sequenceFiles/test").mkdir(parents=True)
    (tmp_path / "imageFiles").symlink_to(root / "imageFiles")
    marker = tmp_path / "executed"
    (tmp_path / "sequenceFiles/test/evil.pkl").write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    code, output = build(tmp_path, tmp_path / "out", "--splits", "test")
    assert code == 2 and "refused" in output and not marker.exists()
    assert not list((tmp_path / "out/3dpw").glob("*"))


def test_a_full_disk_is_told_before_the_build(release, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    code, output = build(release[0], tmp_path)
    assert code == 2 and "choose another --output" in output
    assert not list(tmp_path.glob("3dpw/train*"))


def test_two_builds_of_one_set_exclude_each_other(release, tmp_path):
    with GrowingSet(tmp_path / "3dpw/train.yaml", {}):
        code, output = build(release[0], tmp_path, "--splits", "train")
        assert code == 2 and "another process builds" in output


def test_an_interrupted_build_resumes_to_the_same_bytes(release, tmp_path):
    root, _, _ = release
    command = [
        sys.executable,
        "scripts/build_3dpw_dataset.py",
        "--images",
        root / "imageFiles",
        "--smpl_path",
        OPEN_BODY,
    ]
    command += ["--sequences", root / "sequenceFiles", "--splits", "train", "--sheet_rows", "0"]

    def start(output, workers, slow):
        code = (
            "import runpy, sys, time\n"
            "from datasets.builders import journal\nfrom datasets.builders.readers import threedpw as reader\n"
            "reader.FRAMES, journal.SECONDS = 1, 0\n"
            "make = reader.ThreeDPW._record\n"
            f"reader.ThreeDPW._record = lambda *a: (time.sleep({slow}), make(*a))[1]\n"
            "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        words = [sys.executable, "-c", code, *map(str, command[1:]), "--output", output, "--num_workers", workers]
        return subprocess.Popen(list(map(str, words)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    whole = start(tmp_path / "whole", 1, 0)
    printed = whole.communicate(timeout=120)[0].decode()
    assert whole.returncode == 0, printed
    killed = start(tmp_path / "again", 1, 1)
    journal = tmp_path / "again/3dpw/.train.building/journal.json"
    limit = time.monotonic() + 60
    while not journal.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    stopped = start(tmp_path / "again", 2, 4)
    assert any(b"resume after" in line for line in iter(stopped.stdout.readline, b""))
    # Python loses a signal that comes while it forks, so wait for both processes
    children = Path(f"/proc/{stopped.pid}/task/{stopped.pid}/children")
    while len(children.read_text().split()) < 2 and time.monotonic() < limit + 60:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(stopped.pid, signal.SIGINT)
    printed = stopped.communicate(timeout=60)[0].decode()
    assert stopped.returncode == 130 and "run the same command again" in printed and "Traceback" not in printed, printed
    assert journal.exists() and not list((tmp_path / "again/3dpw").glob("train.*"))
    resumed = start(tmp_path / "again", 2, 0)
    printed = resumed.communicate(timeout=120)[0].decode()
    assert resumed.returncode == 0 and "resume after" in printed, printed
    for name in ("img.tsv", "label.tsv", "hw.tsv", "img.lineidx", "linelist.tsv", "rows.jsonl"):
        paths = [tmp_path / place / "3dpw" / f"train.{name}" for place in ("whole", "again")]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name
    assert not journal.parent.exists()


def test_json_of_pose2mesh(release, tmp_path):
    """The same people in the camera's frame: the root turned by the camera, the translation about the root joint."""
    root, _, sit = release
    images, annotations = [], []
    for i, (person, camera) in enumerate(zip(sit.people[0], sit.cameras, strict=True)):
        turned = Rotation.from_matrix(camera.rotation) * Rotation.from_rotvec(person.pose[:3])
        pose = np.concatenate((turned.as_rotvec(), person.pose[3:]))
        shift = (person.vertices - pose_body(pose, person.betas)[0]).mean(0)
        left, top, right, bottom = person.box
        images.append(
            {
                "id": i, "sequence": sit.name, "file_name": f"image_{i:05d}.jpg", "width": camera.size[1],
                "height": camera.size[0], "cam_param": {"focal": list(camera.focal), "princpt": list(camera.principal)},
            }
        )  # fmt: skip
        annotations.append(
            {
                "id": 50 + i, "image_id": i, "bbox": [left, top, right - left, bottom - top],
                "openpose_result": sit.content["poses2d"][0][i].T.reshape(-1).tolist(),
                "smpl_param": {
                    "pose": pose.tolist(), "shape": person.betas.tolist(), "trans": shift.tolist(), "gender": "female",
                },
            }
        )  # fmt: skip
    write_json(tmp_path / "3DPW_latest_test.json", {"images": images, "annotations": annotations})
    flags = ("--images", root / "imageFiles", "--json", tmp_path, "--output", tmp_path / "out", "--sheet_rows", 0)
    code, output = run(build_3dpw_dataset, *flags, "--smpl_path", OPEN_BODY, "--num_workers", 1)
    assert code == 0, output
    rows = labels_of(tmp_path / "out/3dpw/test_has_gender.yaml")
    for i, person in enumerate(sit.people[0]):
        label = rows[f"sit_00/image_{i:05d}.jpg_{50 + i}"]
        assert_agrees(label, person)
        assert label["raw"]["gender"] == "female" and label["jpeg"] == sit.jpegs[i]
