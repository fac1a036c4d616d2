from dataclasses import replace

import cv2
import numpy as np
import pytest

from datasets.build import describe_labels
from datasets.human_mesh import HumanMeshDataset
from datasets.tsv import TSVWriter, read_note
from scripts import build_pose2sim_dataset as script
from scripts.build_pose2sim_dataset import IMAGE_SCALE, LIMBS, fit_to_video, labels, unpack
from scripts.lib.pose2sim.multiview import Camera, low_pass, triangulate
from scripts.lib.pose2sim.uncertainty import HIPS, NAMES, measure
from utils.detect.person_finder import DetectedPerson
from utils.errors import UserError
from utils.metrics import mpjpe, pa_mpjpe
from utils.options import parse_args
from utils.skeleton import COCO17, J14, J24, J24_PELVIS, J24_TO_J14

CAMERA = Camera(
    "cam01", np.array((1088, 1920)), np.array([[1680.0, 0, 540], [0, 1680, 950], [0, 0, 1]]),
    np.array((-0.05, 0.1, 0, 0)), np.eye(3), np.zeros(3),
)  # fmt: skip


def test_limbs_are_the_same_in_both_sets():
    assert len(LIMBS) == 12 and list(LIMBS) == list(range(12))
    for j, c in LIMBS.items():
        side, part = J24[j].split("_")
        assert COCO17[c] == f"{ {'L': 'left', 'R': 'right'}[side] }_{part.lower()}"


def test_a_letterboxed_video_has_the_same_rays():
    video = fit_to_video(CAMERA, 1920, 1080)
    points = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 5), (50, 3))
    zoom = 1080 / 1088
    bars = (1920 - 1920 * zoom) / 2
    expected = (CAMERA.project(points) + 0.5) * zoom - 0.5 + (0, bars)
    np.testing.assert_allclose(video.project(points), expected, atol=1e-6)
    np.testing.assert_allclose(fit_to_video(CAMERA, 1920, 1088).matrix, CAMERA.matrix)


def test_labels_come_back_from_the_data_set(tmp_path):
    points = np.random.default_rng(1).uniform((-0.4, -0.9, 3.8), (0.4, 0.9, 4.2), (12, 3))
    label = labels(CAMERA, points)
    image = cv2.imencode(".jpg", np.zeros((960, 544, 3), np.uint8))[1].tobytes()
    with TSVWriter(tmp_path / "pose2sim" / "test.yaml") as writer:
        writer.add("cam01/000.jpg", image, label, 960, 544)
    row = HumanMeshDataset(tmp_path / "pose2sim" / "test.yaml")[0]
    assert row["has_keypoints_2d"] and row["has_keypoints_3d"] and not row["has_smpl"]

    found_3d, found_2d = row["keypoints_3d"].numpy(), row["keypoints_2d"].numpy()
    assert found_3d[:12, 3].tolist() == [1] * 12 and not found_3d[12:].any() and not found_3d[J24_PELVIS].any()
    hips = points[[J24.index("L_Hip"), J24.index("R_Hip")]].mean(0)
    np.testing.assert_allclose(found_3d[:12, :3], points - hips, atol=1e-5)
    side = 200 * float(row["scale"])
    pixels = (found_2d[:12, :2] + 1) / 2 * side + row["center"].numpy() - side / 2
    np.testing.assert_allclose(pixels, (CAMERA.project(points) + 0.5) * IMAGE_SCALE - 0.5, atol=1.0)
    assert np.abs(found_2d[:12, :2]).max() < 1  # the crop holds the person


def test_the_twelve_labelled_joints_count_and_no_others(tmp_path):
    points = np.random.default_rng(1).uniform((-0.4, -0.9, 3.8), (0.4, 0.9, 4.2), (12, 3))
    image = cv2.imencode(".jpg", np.zeros((960, 544, 3), np.uint8))[1].tobytes()
    with TSVWriter(tmp_path / "pose2sim" / "test.yaml") as writer:
        writer.add("cam01/000.jpg", image, labels(CAMERA, points), 960, 544)
    label = HumanMeshDataset(tmp_path / "pose2sim" / "test.yaml")[0]["keypoints_3d"][None, list(J24_TO_J14)]
    truth, valid = label[..., :3], label[..., 3] > 0
    assert [J14[j] for j in range(14) if not valid[0, j]] == ["Neck", "Head"]
    for metric in (mpjpe, pa_mpjpe):
        guess = truth.clone()
        guess[:, 12:] += 5
        assert metric(guess, truth, valid).item() < 1e-6
        guess[:, J14.index("L_Wrist")] += 0.12
        assert 0.002 < metric(guess, truth, valid).item() < 0.06  # a joint that counts does


def ring(distance=4.0):
    """Four cameras around the origin, in a world with y down."""
    cameras = []
    for k, angle in enumerate(np.radians((0, 80, 170, 260))):
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        cameras.append(replace(CAMERA, name=f"cam{k}", rotation=rotation, position=-distance * rotation[2]))
    return cameras


def test_the_uncertainty_matches_the_real_errors():
    rng, cameras = np.random.default_rng(2), ring()
    start = rng.uniform((-0.4, -0.9, -0.2), (0.4, 0.9, 0.2), (12, 3))
    truth = start + 0.1 * np.sin(np.arange(60) / 20)[:, None, None]
    sharp, blurred = (
        np.stack([camera.project(truth) for camera in cameras]) + rng.normal(0, noise, (4, 60, 12, 2))
        for noise in (1, 6)
    )
    confidence, found = np.ones((4, 60, 12)), []
    for pixels in (sharp, blurred):
        points = low_pass(triangulate(pixels, confidence, cameras)[0], 60, 20)
        stated = measure(points, pixels, confidence, cameras, 60, 20)
        about_hips = [p - p[:, HIPS].mean(1, keepdims=True) for p in (points, truth)]
        actual = 1000 * np.sqrt(np.square(about_hips[0] - about_hips[1]).sum(-1).mean())
        found.append(np.sqrt(np.square(stated.points).mean()))
        assert 0.6 * actual < found[-1] < 2.5 * actual
        thigh = 1000 * np.linalg.norm(start[NAMES.index("L_Hip")] - start[NAMES.index("L_Knee")])
        assert stated.bones["L_Hip - L_Knee"][0] == pytest.approx(thigh, abs=actual)
        assert f"{np.median(stated.points):.0f} mm (median)" in stated.label() and stated.label() in stated.lines()
        assert set(stated.numbers()["joint_mm"]) == set(NAMES)
    assert found[1] > 3 * found[0]
    # 1 px at 4 m and a focal length of 1680 px
    np.testing.assert_allclose(stated.mm_per_pixel, 4000 / 1680, rtol=0.05)


def test_the_note_on_the_labels_is_part_of_an_evaluation(tmp_path):
    image = cv2.imencode(".jpg", np.zeros((960, 544, 3), np.uint8))[1].tobytes()
    label = labels(CAMERA, np.random.default_rng(1).uniform((-0.4, -0.9, 3.8), (0.4, 0.9, 4.2), (12, 3)))
    for note in (None, "uncertain by 20 mm: all of it"):
        with TSVWriter(tmp_path / "pose2sim" / "test.yaml", note=note) as writer:
            writer.add("cam01/000.jpg", image, label, 960, 544)
        assert read_note(tmp_path / "pose2sim" / "test.yaml") == note
        flags = ["--eval_only", "--load_checkpoint=a.pt", "--data_mode=pose2sim", f"--data_root={tmp_path}"]
        described = describe_labels(parse_args(flags))
        assert described == ({"labels": note} if note else {})
    assert describe_labels(parse_args(["--data_mode=synthetic"])) == {}


def test_the_person_is_detected_in_every_frame(tmp_path, monkeypatch, capsys):
    path, keypoints = tmp_path / "cam01.avi", np.full((17, 3), 0.5)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 60, (64, 96))
    for t in range(5):
        video.write(np.full((96, 64, 3), (0, 0, 40 * t), np.uint8))  # red, as OpenCV orders colours
    video.release()

    def find_people(image, network):
        t = round(image[..., 0].mean() / 40)
        return [] if t == 3 else [DetectedPerson(np.zeros(4), keypoints * (t + 1), 1.0)]

    monkeypatch.setattr(script, "find_people", find_people)
    view = script.detect(path, None)
    assert view.keypoints[:, 0, 2].tolist() == [0.5, 1, 1.5, 0, 2.5] and view.size == (96, 64) and view.rate == 60
    small = cv2.imdecode(np.frombuffer(view.frames[2], np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == (48, 32, 3) and np.abs(small.mean((0, 1)) - (0, 0, 80)).max() < 6
    assert "5 frames, a person found in 4" in capsys.readouterr().out
    path.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"cam01\.avi"):
        script.detect(path, None)


def test_a_wrong_wheel_is_named(tmp_path):
    path = tmp_path / "other.whl"
    path.write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"other\.whl"):
        unpack(path, tmp_path / "out")
