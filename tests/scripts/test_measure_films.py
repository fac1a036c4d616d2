"""scripts/measure_films.py and scripts/measure_motion.py: films with known truth, and what is counted."""

import numpy as np
import pytest

from scripts.lib.films.filters import gaussian_mean, one_euro
from scripts.lib.films.staged import Actor, Scene, Truth, make_film, scenes
from scripts.measure_films import compare, turning_point
from scripts.measure_motion import measures
from utils.media.video import read_frames


def test_the_films_are_thirty_person_seconds():
    films = scenes()
    seconds = [scene.times[-1] * max(len(scene.actors), len(scene.after_cut)) for scene in films]
    assert len(films) == 6 and sum(seconds) >= 30 and len({scene.name for scene in films}) == 6


def test_truth_is_where_people_are_drawn(tmp_path):
    """An actor walks in from the left, behind a pillar."""
    times = np.arange(6) / 5
    scene = Scene("walk", times, [Actor(14, lambda t: (30 + 300 * t, 225.0), 100)], pillar=(185, 240))
    truth = make_film(scene, tmp_path / "film.mp4")
    assert truth.visible[:, 0].tolist() == [True, True, True, False, True, True]
    np.testing.assert_allclose(np.diff(truth.boxes[:, 0, 0]), 60, atol=1)
    images = [frame.image.astype(int) for frame in read_frames(tmp_path / "film.mp4")]
    x, y, width, height = truth.boxes[1, 0].astype(int)
    changed = np.abs(images[1] - images[3]).sum(-1) > 60  # with and without the actor
    rows, columns = np.nonzero(changed[:, :160])
    assert abs(rows.min() - y) <= 2 and abs(rows.max() + 1 - y - height) <= 2
    assert columns.min() >= x - 2 and columns.max() < x + width + 2


def person(frames: list[int], x: float, observed: bool = True) -> dict[str, np.ndarray]:
    joints = np.array(((x, 0.0), (x + 10, 100)))
    count = len(frames)
    return {
        "frames": np.array(frames),
        "times": np.array(frames) / 10,
        "observed": np.full(count, observed),
        "joints_2d": np.broadcast_to(joints, (count, 2, 2)),
    }


def test_bodies_are_counted_where_people_are_visible():
    boxes = np.zeros((6, 2, 4))
    boxes[:, 0], boxes[:, 1] = (0, 0, 10, 100), (50, 0, 10, 100)
    visible = np.ones((6, 2), bool)
    visible[0, 1] = False
    scene, truth = Scene("two", np.arange(6) / 10, [], 2), Truth(boxes, visible)
    row = compare(scene, truth, [person(list(range(6)), 0), person([2, 3, 4, 5], 50)])
    assert row[1:6] == (11, 10, 0, 0, 1)
    row = compare(scene, truth, [person([0, 1, 2], 0), person([3, 4, 5], 0), person([1, 2], 200)])
    assert row[2:5] == (6, 1, 2) and row.late == 6 - 1  # the second is never found


def test_the_moment_of_turning_back():
    times = np.arange(20) / 10
    x = 100 - 50 * np.abs(times - 0.73)
    assert turning_point(times, x) == pytest.approx(0.73, abs=1e-6)


def test_filters_keep_what_is_steady_and_calm_what_is_not():
    rng = np.random.default_rng(0)
    times = np.arange(60) / 30
    noise = rng.normal(size=(60, 2))
    for smooth, width in ((gaussian_mean, 0.1), (one_euro, 1.0)):
        np.testing.assert_allclose(smooth(np.ones((60, 2)), times, width), 1)
        assert smooth(noise, times, width).std() < 0.8 * noise.std()


def test_measures_are_zero_for_the_truth_and_grow_with_noise():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1, 12, 3)).repeat(30, 0)
    found = points + (1, 2, 4)
    pixels = points[..., :2]
    np.testing.assert_allclose(measures(found, points, pixels, 60), 0, atol=1e-6)
    noisy = found + rng.normal(size=found.shape) * 0.01
    assert (measures(noisy, points, pixels, 60) > (5, 10, 300, 1)).all()
