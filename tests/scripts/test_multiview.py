from dataclasses import replace

import numpy as np
import pytest

from scripts.lib.pose2sim.multiview import Camera, correct_aim, jackknife, low_pass, read_qualisys, spread, triangulate
from utils.errors import UserError


def look_at(name, position, distortion=(-0.05, 0.1, 0.0005, -0.0003)):
    """A camera at `position` that looks at the point one metre above the origin; the world has z up."""
    forward = np.array((0, 0, 1.0)) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    rotation = np.stack((right, np.cross(forward, right), forward))
    matrix = np.array([[1600.0, 0, 540], [0, 1600, 950], [0, 0, 1]])
    return Camera(name, np.array((1080, 1920)), matrix, np.array(distortion), rotation, np.array(position, float))


@pytest.fixture
def cameras():
    return [look_at(str(i), p) for i, p in enumerate(((4, 0, 2), (0, 4, 2), (-4, 1, 1.5), (1, -4, 2.5)))]


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform((-0.4, -0.4, 0.2), (0.4, 0.4, 1.8), (30, 12, 3))


def see(cameras, points):
    return np.stack([camera.project(points) for camera in cameras])


def test_what_is_above_appears_above(cameras):
    for camera in cameras:
        low, high = camera.project(np.array([[0, 0, 0.2], [0, 0, 1.8]]))
        assert high[1] < low[1] and (camera.to_camera(np.zeros(3)) > 0)[2]


def test_exact_pixels_give_exact_points(cameras, points):
    found, errors = triangulate(see(cameras, points), np.ones((4, 30, 12)), cameras)
    np.testing.assert_allclose(found, points, atol=1e-5)
    assert errors.max() < 0.01


def test_one_view_that_takes_left_for_right_does_no_harm(cameras, points):
    rng = np.random.default_rng(1)
    pixels = see(cameras, points) + rng.normal(0, 2, (4, 30, 12, 2))
    pixels[2] = pixels[2, :, ::-1]
    found, errors = triangulate(pixels, np.ones((4, 30, 12)), cameras)
    assert np.median(np.linalg.norm(found - points, axis=-1)) < 0.008
    assert np.median(errors[2]) > 5 * np.median(errors[0])


def test_confidence_counts(cameras, points):
    pixels = see(cameras, points)
    pixels[1] += 12
    weak = np.ones((4, 30, 12))
    weak[1] = 0.01
    error = [
        np.linalg.norm(triangulate(pixels, w, cameras)[0] - points, axis=-1).mean() for w in (weak, np.ones_like(weak))
    ]
    assert error[0] < 0.2 * error[1]


def test_a_knocked_camera_is_set_right(cameras, points):
    shift = np.array((15.0, -12.0))
    matrix = cameras[3].matrix.copy()
    matrix[:2, 2] += shift
    pixels = see([*cameras[:3], replace(cameras[3], matrix=matrix)], points)
    pixels += np.random.default_rng(2).normal(0, 2, pixels.shape)
    settled = correct_aim(pixels, np.ones((4, 30, 12)), cameras)
    errors = [triangulate(pixels, np.ones((4, 30, 12)), some)[1].max(0).mean() for some in (cameras, settled)]
    assert errors[1] < 0.5 * errors[0] and errors[1] < 5


def test_low_pass_keeps_slow_motion_and_drops_noise():
    time = np.arange(200) / 60
    slow = np.sin(2 * np.pi * time)[:, None]
    noisy = slow + np.random.default_rng(3).normal(0, 0.1, slow.shape)
    smooth = low_pass(noisy, 60, 6)
    assert np.abs(smooth - slow)[10:-10].mean() < 0.6 * np.abs(noisy - slow).mean()
    np.testing.assert_allclose(low_pass(slow, 60, 6)[10:-10], slow[10:-10], atol=0.01)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    """Tukey's formula is exact for a mean: s / sqrt(n), here in each of three directions."""
    samples = np.random.default_rng(4).normal(size=(9, 50, 3))
    without = np.stack([np.delete(samples, k, axis=0).mean(0) for k in range(9)])
    expected = np.sqrt((samples.var(0, ddof=1) / 9).sum(-1))
    np.testing.assert_allclose(spread(without), expected, atol=1e-12)


def test_leaving_a_camera_out_changes_nothing_where_all_agree(cameras, points):
    estimates = jackknife(see(cameras, points), np.ones((4, 30, 12)), cameras)
    assert estimates.shape == (4, 30, 12, 3)
    np.testing.assert_allclose(estimates, np.broadcast_to(points, estimates.shape), atol=1e-5)


CAMERA = """<camera serial="cam01">
<fov_video left="0" right="1087" top="0" bottom="1919"/>
<transform x="0" y="-2000" z="1000" r11="1" r12="0" r13="0" r21="0" r22="0" r23="1" r31="0" r32="-1" r33="0"/>
<intrinsic focalLengthU="102400" focalLengthV="102400" centerPointU="34816" centerPointV="61440" radialDistortion1="0"
 radialDistortion2="0" tangentalDistortion1="0" tangentalDistortion2="0"/></camera>"""
QCA = f"<calibration><cameras>{CAMERA}{CAMERA}</cameras></calibration>"


def test_qualisys_conventions(tmp_path):
    path = tmp_path / "Calib.qca.txt"
    path.write_text(QCA)
    camera, _ = read_qualisys(path)
    # two metres in front of a camera that looks along +y, half a metre up and to the right
    np.testing.assert_allclose(camera.to_camera(np.array((0.5, 0, 1.5))), (0.5, -0.5, 2), atol=1e-12)
    np.testing.assert_allclose(camera.project(np.array((0.5, 0, 1.5))), (544 + 400, 960 - 400), atol=1e-6)
    assert camera.size.tolist() == [1088, 1920]


def test_broken_calibration_is_named(tmp_path):
    path = tmp_path / "Calib.qca.txt"
    for text in ("", "<calibration>", "<calibration/>", QCA.replace('r11="1"', "")):
        path.write_text(text)
        with pytest.raises(UserError, match=r"Calib\.qca\.txt"):
            read_qualisys(path)
