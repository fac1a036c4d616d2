"""People followed through films, and motion without jitter."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.movenet import load_movenet
from utils.detect.tracker import SHORTEST, Track, Tracker, long_enough, overlap, smooth_rotations
from utils.media.images import load_image
from utils.paths import MOVENET

SAMPLE = "samples/im01.png"
WHERE = (170, 84, 252, 420)  # the woman who walks in it


@pytest.fixture(scope="module")
def movenet():
    return load_movenet(MOVENET)


@pytest.fixture(scope="module")
def image(request) -> np.ndarray:
    return load_image(request.config.rootpath / SAMPLE)


def shifted(image: np.ndarray, right: int) -> np.ndarray:
    return np.roll(image, right, axis=1)


def test_a_person_is_followed(movenet, image):
    tracker = Tracker(movenet, rate=30)
    for step in range(4):
        (number, person), *others = tracker(shifted(image, -12 * step)).items()
        assert number == 0 and not others
        np.testing.assert_allclose(person.bbox, np.array(WHERE) - (12 * step, 0, 0, 0), atol=25)


def test_a_person_who_comes_back_soon_is_the_same_one(movenet, image):
    tracker = Tracker(movenet, rate=4)  # patience 2 frames
    assert list(tracker(image)) == [0]
    assert not tracker(np.full_like(image, 128))
    assert list(tracker(image)) == [0]


def test_a_person_who_comes_back_late_is_another_one(movenet, image):
    tracker = Tracker(movenet, rate=2)  # patience 1 frame, a search every second one
    assert list(tracker(image)) == [0]
    for _ in range(3):
        assert not tracker(np.full_like(image, 128))
    assert list(tracker(image)) == [1]


def test_two_people_keep_their_numbers(movenet, image):
    two = np.concatenate((image, image[:, ::-1]), axis=1)
    tracker = Tracker(movenet, rate=30, max_people=2)
    first, second = tracker(two), tracker(shifted(two, 10))
    assert set(first) == set(second) == {0, 1}
    for number in first:
        assert overlap(first[number].bbox, second[number].bbox) > 0.8
    assert overlap(first[0].bbox, first[1].bbox) < 0.1


def test_boxes_say_whom_to_follow(movenet, image):
    two = np.concatenate((image, image[:, ::-1]), axis=1)
    right = (two.shape[1] - WHERE[0] - WHERE[2], *WHERE[1:])
    people = Tracker(movenet, rate=30, boxes=[right])(two)
    assert list(people) == [0] and overlap(people[0].bbox, right) > 0.75


def random_turns(n: int, size: float) -> np.ndarray:
    return Rotation.from_rotvec(np.random.default_rng(0).normal(size=(n, 3)) * size).as_matrix()


def test_smoothing_takes_jitter_out_and_leaves_motion():
    """A steady turn with noise comes back closer to the turn, and as rotations."""
    clean = Rotation.from_euler("y", np.linspace(0, 2, 60)[:, None]).as_matrix()
    noisy = clean @ random_turns(60, 0.05)
    smooth = smooth_rotations(noisy, 2.0)

    def error(a):
        return Rotation.from_matrix(a[6:-6] @ clean[6:-6].swapaxes(1, 2)).magnitude().mean()

    assert error(smooth) < 0.5 * error(noisy)
    np.testing.assert_allclose(smooth @ smooth.swapaxes(1, 2), np.broadcast_to(np.eye(3), smooth.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(smooth), 1)
    steady = smooth_rotations(clean, 2.0)[10:-10]
    np.testing.assert_allclose(steady, clean[10:-10], atol=1e-6)


def track_of(frames: list[int], turns: np.ndarray) -> Track:
    track = Track()
    for frame in frames:
        track.frames.append(frame)
        track.rotmat.append(np.broadcast_to(turns[frame], (24, 3, 3)))
        track.betas.append(np.full(10, frame))
        track.weak.append(np.array((100.0, 10.0 * frame, 5.0)))
    return track


def test_gaps_are_filled_in_between():
    turns = Rotation.from_euler("z", np.linspace(0, 1, 11)[:, None]).as_matrix()
    smooth = track_of([2, 3, 4, 8, 9, 10], turns).smooth(rate=30, seconds=0)
    np.testing.assert_array_equal(smooth.frames, np.arange(2, 11))
    np.testing.assert_array_equal(smooth.frames[~smooth.seen], (5, 6, 7))
    np.testing.assert_allclose(smooth.rotmat[:, 7], turns[2:], atol=1e-9)
    np.testing.assert_allclose(smooth.weak[:, 1], 10 * smooth.frames)
    np.testing.assert_array_equal(smooth.betas, np.full(10, 6))  # the median of all


def test_one_frame_is_a_track_too():
    smooth = track_of([5], random_turns(9, 1)).smooth(rate=30, seconds=0.1)
    assert smooth.rotmat.shape == (1, 24, 3, 3) and smooth.seen.all()


def test_short_tracks_are_mistakes_unless_the_film_is_short():
    tracks = {0: track_of(list(range(9)), random_turns(9, 1)), 1: track_of([3], random_turns(9, 1))}
    assert set(long_enough(tracks, rate=30, num_frames=9)) == {0}
    assert set(long_enough(tracks, rate=30, num_frames=1)) == {0, 1}
    assert SHORTEST * 30 > 1


def test_overlap():
    assert overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (5, 5, 1, 1)) == 0 and overlap((1, 1, 2, 3), (1, 1, 2, 3)) == 1
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0
