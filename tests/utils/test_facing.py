"""Frames that face another way than their neighbours are left out, and nothing else."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.helpers.tracks import track_of
from utils.detect.facing import CONTRADICTION, NOISE, TURN, consistent

FRAME = 0.04  # seconds


def turning(n: int, degrees_per_second: float, noise: float = 5.0, seed: int = 0) -> np.ndarray:
    """A body that turns about the vertical axis, with noise of some degrees about all axes."""
    rng = np.random.default_rng(seed)
    turn = Rotation.from_euler("y", np.arange(n)[:, None] * FRAME * degrees_per_second, degrees=True)
    return (Rotation.from_rotvec(np.radians(noise) * rng.normal(size=(n, 3))) * turn).as_matrix()


def turned_about(orientation: np.ndarray, frames) -> np.ndarray:
    """Front and back exchanged in some frames."""
    result = orientation.copy()
    result[frames] = result[frames] @ np.diag((-1.0, 1, -1))
    return result


@pytest.mark.parametrize("frames", [[20, 21], [0], [0, 1, 2], [49], [47, 48, 49], [5, 7, 9], [10, 11, 12, 13, 14, 30]])
def test_short_errors_are_left_out(frames):
    keep = consistent(turned_about(turning(50, 90), frames), np.arange(50) * FRAME)
    assert np.flatnonzero(~keep).tolist() == frames


@pytest.mark.parametrize("speed", [0, 200, 700])
def test_true_turns_are_kept(speed):
    assert consistent(turning(50, speed), np.arange(50) * FRAME).all()


def test_an_error_that_lasts_is_kept():
    """Nobody knows which of two long pieces is right."""
    assert consistent(turned_about(turning(90, 0), slice(30, 60)), np.arange(90) * FRAME).all()


def test_frames_that_are_seconds_apart_may_face_any_way():
    orientation = turned_about(turning(6, 0), [1, 3, 5])
    assert consistent(orientation, np.arange(6) * 1.0).all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames(count):
    assert consistent(turned_about(turning(count, 0), slice(1, None)), np.arange(count) * FRAME).any()


@pytest.mark.parametrize("seed", range(10))
def test_no_other_choice_is_cheaper(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.03, 0.12, 10))
    orientation = turned_about(turning(10, 0, 20, seed), rng.random(10) < 0.4)
    duration = np.minimum(np.gradient(times), CONTRADICTION / 2)

    def cost(keep: np.ndarray) -> float:
        kept = np.flatnonzero(keep)
        apart = [
            np.degrees(Rotation.from_matrix(orientation[b] @ orientation[a].T).magnitude()) for a, b in pairs(kept)
        ]
        limits = [NOISE + TURN * (times[b] - times[a]) for a, b in pairs(kept)]
        return duration[~keep].sum() + CONTRADICTION * (np.array(apart) > limits).sum()

    def pairs(kept):
        return itertools.pairwise(kept)

    choices = [np.array(choice) for choice in itertools.product((False, True), repeat=10) if any(choice)]
    assert cost(consistent(orientation, times)) == pytest.approx(min(map(cost, choices)))


def test_films_do_not_mix_front_and_back():
    orientation = turning(50, 30, noise=1)
    wrong = turned_about(orientation, [20, 21])
    times = np.arange(50) * FRAME

    def smoothed(orientation: np.ndarray, seconds: float) -> np.ndarray:
        track = track_of(list(range(50)))
        for frame in range(50):
            rotmat = np.tile(np.eye(3), (24, 1, 1))
            rotmat[0] = orientation[frame]
            track.set(frame, rotmat=rotmat)
        return track.smooth(times, seconds).rotmat[:, 0]

    apart = Rotation.from_matrix(smoothed(wrong, 0.06) @ smoothed(orientation, 0.06).swapaxes(1, 2)).magnitude()
    assert np.degrees(apart).max() < 3
    np.testing.assert_allclose(smoothed(wrong, 0), wrong, atol=1e-6)  # no smoothing, no change
