"""Statistics of synthetic people: agreement with MoveNet, viewpoints, contact sheets."""

import numpy as np
import pytest

from scripts.lib.keypoint_sheets import LEFT, RIGHT, draw_keypoints, sheet
from scripts.lib.synthetic_statistics.realism import LIMBS, MIRRORED, compare
from scripts.synthetic_statistics import viewer_directions
from utils.skeleton import J24


@pytest.fixture
def labels():
    """Twenty people with left and right well apart, all keypoints visible."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.8, 0.8, (20, 24, 2))
    xy[:, LIMBS, 0] = [0.5 if J24[j].startswith("L_") else -0.5 for j in LIMBS] + rng.normal(0, 0.05, (20, 12))
    return np.concatenate((xy, np.ones((20, 24, 1))), -1)


def test_perfect_estimates_and_their_mirror_image(labels):
    exact, mirrored = compare(labels[:, LIMBS, :2], labels), compare(labels[:, MIRRORED, :2], labels)
    assert exact.pck(0.001) == 1 and exact.judged.all() and not exact.mirrored.any()
    assert mirrored.mirrored.all() and mirrored.pck(0.1) < 0.1
    summary = mirrored[np.arange(20) < 5].summary()
    assert summary["people"] == summary["judged"] == 5 and summary["swapped"] == 1 and summary["swapped_pm"] == 0


def test_errors_are_in_sides_of_the_box_and_only_of_visible_keypoints(labels):
    size = np.ptp(labels[..., :2], axis=1).max(-1)[:, None, None]
    off = labels[:, LIMBS, :2] + np.array((0.07, 0)) * size
    comparison = compare(off, labels)
    assert comparison.pck(0.05) == 0 and comparison.pck(0.1) == 1
    np.testing.assert_allclose(comparison.error, 0.07)
    hidden = labels.copy()
    hidden[:, LIMBS[1:], 2] = 0.5
    off[:, 1:] += 5
    comparison = compare(off, hidden)
    assert comparison.pck(0.1) == 1 and np.isnan(comparison.error[:, 1:]).all()
    assert not comparison.judged.any()  # one keypoint cannot distinguish left from right


def test_confidence_intervals_have_their_coverage():
    """About 95 % of the intervals from 300 people with correlated errors contain the true share."""
    rng = np.random.default_rng(1)
    labels = np.concatenate((rng.uniform(-1, 1, (300, 24, 2)), np.ones((300, 24, 1))), -1)
    held = 0
    for _ in range(200):
        lost = rng.random(300) < 0.2
        comparison = compare(labels[:, LIMBS, :2] + 9 * lost[:, None, None], labels)
        summary = comparison.summary()
        held += abs(summary["pck@0.1"] - 0.8) < summary["pck@0.1_pm"]
    assert 0.88 < held / 200 <= 1


def test_viewer_directions():
    quarter = np.pi / 2
    poses = np.zeros((4, 24, 3))
    poses[0, 0] = (2 * quarter, 0, 0)  # upright before the viewer, whose camera has y down, and facing it
    poses[1, 0] = (0, 0, 2 * quarter)  # upright, the back to the viewer
    poses[2, 0] = 2 * quarter * np.array((np.sqrt(0.5), 0, np.sqrt(0.5)))  # facing the picture's right
    poses[3, 0] = (quarter, 0, 0)  # facing up the picture, the feet to the viewer
    azimuth, elevation, angle = viewer_directions(poses)
    np.testing.assert_allclose(angle, (0, 180, 90, 90), atol=1e-6)
    np.testing.assert_allclose(elevation, (0, 0, 0, -90), atol=1e-5)
    # who faces the picture's right shows the viewer the right side
    np.testing.assert_allclose(np.abs(azimuth[:3]), (0, 180, 90), atol=1e-5)
    assert azimuth[2] == pytest.approx(-90)


def test_keypoints_are_drawn_where_they_are():
    labels = np.zeros((24, 3))
    for name, x in (("L_Knee", 0.5), ("R_Knee", -0.5)):
        labels[J24.index(name)] = (x, 0, 1)
    image = draw_keypoints(np.full((101, 101, 3), 128, np.uint8), labels)
    assert tuple(image[50, 75]) == LEFT and tuple(image[50, 25]) == RIGHT
    changed = (image != 128).any(-1)
    assert changed.sum() < 100 and not changed[:, 35:65].any()  # no bone to what has no label
    labels[J24.index("L_Knee"), 2] = 0.5
    assert tuple(draw_keypoints(np.full((101, 101, 3), 128, np.uint8), labels)[50, 75]) == (0, 0, 0)


def test_a_sheet_fills_its_last_row_with_white():
    tiles = [np.full((4, 6, 3), k, np.uint8) for k in range(5)]
    picture = sheet(tiles, columns=3)
    assert picture.shape == (8, 18, 3)
    assert (picture[4:, 6:12] == 4).all() and (picture[4:, 12:] == 255).all()
