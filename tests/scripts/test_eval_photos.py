import json
from types import SimpleNamespace

import numpy as np
import pytest

from models.movenet import load_movenet
from scripts import eval_photos
from utils.errors import UserError
from utils.media.images import load_image
from utils.paths import SAMPLES
from utils.skeleton import J14

BBOX = [72.0, 19.0, 352.0, 571.0]


@pytest.fixture(scope="module")
def keypoints():
    """MoveNet's keypoints of the second sample, in the form of labels; the left wrist is not labelled."""
    network = load_movenet(eval_photos.MOVENET)
    joints = eval_photos.movenet_joints(network, "own", load_image(SAMPLES / "im02.png"), BBOX)
    labels = {name: [*map(float, joints[name]), 2] for name in eval_photos.LIMBS}
    labels["left_wrist"] = [0, 0, 0]
    return labels


@pytest.fixture
def photos(tmp_path, keypoints):
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "im02.png").write_bytes((SAMPLES / "im02.png").read_bytes())
    entry = {"image": "im02.png", "bbox": BBOX, "keypoints": keypoints}
    (folder / "annotations.json").write_text(json.dumps([entry]))
    return folder


def run(monkeypatch, *argv):
    monkeypatch.setattr("sys.argv", ["eval_photos.py", *map(str, argv)])
    eval_photos.main()


def test_scores_count_what_they_say(keypoints):
    """Three joints off by 0.03, 0.07 and 0.5 longer sides, the rest exact, the unlabelled one ignored."""
    joints = {name: np.array(keypoints[name][:2]) for name in eval_photos.LIMBS}
    joints["left_knee"] += (0.03 * 571, 0)
    joints["right_knee"] += (0, -0.07 * 571)
    joints["left_elbow"] += np.array((0.3, 0.4)) * 571
    joints["left_wrist"] += 10_000
    report = eval_photos.evaluate([{"image": "a", "bbox": BBOX, "keypoints": keypoints}], lambda name, bbox: joints)
    assert report["count"] == 11 and report["num_people"] == 1
    assert report["pck@0.05"] == pytest.approx(9 / 11) and report["pck@0.1"] == pytest.approx(10 / 11)
    assert report["mean_error"] == pytest.approx(0.6 / 11)
    assert report["per_joint"]["left_elbow"]["pck@0.1"] == 0
    assert report["per_joint"]["left_wrist"] == {"pck@0.05": None, "pck@0.1": None, "mean_error": None, "count": 0}
    assert report["images"][0]["errors"]["left_knee"] == pytest.approx(0.03)
    assert report["images"][0]["joints"]["right_knee"] == list(joints["right_knee"])


def test_every_limb_has_its_place_in_j14():
    assert set(eval_photos.LIMBS) < set(eval_photos.J14_NAMES) and len(set(eval_photos.J14_NAMES)) == len(J14)


@pytest.mark.parametrize("decoder", ["argmax", "own"])
def test_movenet_command(monkeypatch, photos, tmp_path, decoder, capsys):
    output, overlays = tmp_path / "new" / "result.json", tmp_path / "overlays"
    run(monkeypatch, "--photos", photos, "--output", output, "--movenet", decoder, "--overlays", overlays)
    report = json.loads(output.read_text())
    assert report["model"] == f"movenet {decoder}"
    assert report["pck@0.1"] == 1 and report["mean_error"] < (1e-6 if decoder == "own" else 0.03)
    assert "right_ankle" in capsys.readouterr().out
    assert load_image(next(overlays.iterdir())).shape == (640, 640, 3)


def test_network_command(monkeypatch, photos, tmp_path, keypoints):
    """A stand-in for the network whose projected joints are the labels, shifted by 0.06 longer sides."""
    shift = np.array((0.06 * 571, 0))
    shifted = {name: keypoints[name][:2] + shift for name in eval_photos.LIMBS}
    points = np.array([shifted.get(name, np.zeros(2)) for name in eval_photos.J14_NAMES])
    person = SimpleNamespace(keypoints_2d=points, vertices=None, camera=None)
    monkeypatch.setattr(eval_photos, "load_predictor", lambda *_, **options: lambda image, bbox: [person])
    run(monkeypatch, "--photos", photos, "--output", tmp_path / "r.json", "--checkpoint", "some.pt")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["model"] == "some.pt"
    assert (report["pck@0.05"], report["pck@0.1"]) == (0, 1) and report["mean_error"] == pytest.approx(0.06)
    assert set(report["images"][0]["joints"]) == set(eval_photos.J14_NAMES)


def test_bad_folders(photos):
    annotations = photos / "annotations.json"
    entries = json.loads(annotations.read_text())
    with pytest.raises(UserError, match="not found"):
        eval_photos.read_annotations(photos / "images")
    for broken, message in (
        ("{", "cannot be read"),
        ("[]", "not a list of people"),
        (json.dumps([{**entries[0], "bbox": [0, 0, 0, 5]}]), "entry 0 lacks"),
        (json.dumps([*entries, {**entries[0], "keypoints": {}}]), "entry 1 lacks"),
        (json.dumps([{**entries[0], "image": "absent.png"}]), "absent.png"),
    ):
        annotations.write_text(broken)
        with pytest.raises(UserError, match=message):
            eval_photos.read_annotations(photos)


def test_impossible_requests(monkeypatch, photos, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "--photos", photos, "--output", tmp_path / "r.json", "--movenet", "--checkpoint", "c.pt")
    assert stop.value.code == 2 and "two networks" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "--photos", photos, "--output", photos / "annotations.json" / "r.json", "--movenet")
    assert stop.value.code == 2 and "cannot write into" in capsys.readouterr().err


def test_movenet_on_annotated_photographs():
    photos = SAMPLES.parent.parent / "shared" / "photos"
    if not photos.is_dir():
        pytest.skip(f"needs the annotated photographs at {photos}")
    network = load_movenet(eval_photos.MOVENET)
    entries = eval_photos.read_annotations(photos)[::6]
    report = eval_photos.evaluate(
        entries,
        lambda name, bbox: eval_photos.movenet_joints(network, "own", load_image(photos / "images" / name), bbox),
    )
    assert report["pck@0.05"] > 0.8 and report["pck@0.1"] > 0.93
