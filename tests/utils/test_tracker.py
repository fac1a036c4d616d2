"""People followed through films, and motion without jitter."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.movenet import load_movenet
from tests.helpers.tracks import track_of
from utils.detect.appearance import clothes_colours, colour_distance
from utils.detect.motion import FILL, REACH, smooth_rotations, smooth_values
from utils.detect.pieces import OTHER_COLOUR, SAME_COLOUR, SHORTEST, join_pieces, long_enough
from utils.detect.shots import find_cuts
from utils.detect.tracker import PATIENCE, Tracker, overlap
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
    tracker = Tracker(movenet)
    for step in range(4):
        (number, person), *others = tracker(shifted(image, -12 * step), step / 30).items()
        assert number == 0 and not others
        np.testing.assert_allclose(person.bbox, np.array(WHERE) - (12 * step, 0, 0, 0), atol=25)


def test_a_person_who_comes_back_soon_is_the_same_one(movenet, image):
    tracker = Tracker(movenet)
    assert list(tracker(image, 0)) == [0]
    assert not tracker(np.full_like(image, 128), PATIENCE / 2)
    assert list(tracker(image, PATIENCE)) == [0]


def test_somebody_new_is_found_at_once_if_nobody_is_there(movenet, image):
    """Two black frames first."""
    tracker = Tracker(movenet)
    assert not tracker(np.zeros_like(image), 0) and not tracker(np.zeros_like(image), 0.04)
    assert list(tracker(image, 0.08)) == [0]


def test_a_cut_ends_all_tracks(movenet, image):
    tracker = Tracker(movenet)
    assert list(tracker(image, 0)) == [0]
    assert list(tracker(image, 0.04, cut=True)) == [1]


@pytest.fixture
def counted(movenet):
    """-> MoveNet, and the number of pictures that it has had."""
    counts = [0]

    def network(images):
        counts[0] += len(images)
        return movenet(images)

    return network, counts


def test_searches_depend_on_time_and_not_on_frames(counted):
    """Nobody is there: one look a frame, and now and then a thorough search, rarer and rarer."""
    network, counts = counted
    empty = np.full((64, 64, 3), 128, np.uint8)
    looks = {}
    for rate in (5, 10):
        tracker, counts[0] = Tracker(network), 0
        for frame in range(2 * rate):
            tracker(empty, frame / rate)
        looks[rate] = counts[0]
    # of a picture that has no tiles a thorough search takes three looks more; at 0, 0.5 and 1.5 s
    assert looks == {5: 10 + 3 * 3, 10: 20 + 3 * 3}


def test_people_are_followed_at_one_look_each(counted, image):
    network, counts = counted
    tracker = Tracker(network)
    tracker(image, 0)
    before = counts[0]
    for frame in range(1, 4):
        assert list(tracker(image, frame)) == [0]
    assert counts[0] - before == 3


def test_two_people_keep_their_numbers(movenet, image):
    two = np.concatenate((image, image[:, ::-1]), axis=1)
    tracker = Tracker(movenet, max_people=2)
    first, second = tracker(two, 0), tracker(shifted(two, 10), 1 / 30)
    assert set(first) == set(second) == {0, 1}
    for number in first:
        assert overlap(first[number].bbox, second[number].bbox) > 0.8
    assert overlap(first[0].bbox, first[1].bbox) < 0.1


def test_boxes_say_whom_to_follow(movenet, image):
    two = np.concatenate((image, image[:, ::-1]), axis=1)
    right = (two.shape[1] - WHERE[0] - WHERE[2], *WHERE[1:])
    people = Tracker(movenet, boxes=[right])(two, 0)
    assert list(people) == [0] and overlap(people[0].bbox, right) > 0.75


def test_clothes_are_known_again(movenet, image):
    (person,) = Tracker(movenet)(image, 0).values()
    own = clothes_colours(image, person.keypoints)
    darker = clothes_colours((image * 0.8).astype(np.uint8), person.keypoints)
    other = clothes_colours(np.clip(image + np.array((90, 0, -40)), 0, 255).astype(np.uint8), person.keypoints)
    assert own.shape == (4, 3) and colour_distance(own, own) == 0
    assert colour_distance(own, darker) < SAME_COLOUR < OTHER_COLOUR < colour_distance(own, other)
    nobody = clothes_colours(image, np.zeros((17, 3)))
    assert np.isnan(nobody).all() and np.isnan(colour_distance(own, nobody))


def random_turns(n: int, size: float) -> np.ndarray:
    return Rotation.from_rotvec(np.random.default_rng(0).normal(size=(n, 3)) * size).as_matrix()


def test_smoothing_takes_jitter_out_and_leaves_motion():
    """A steady turn with noise, at uneven times, comes back closer to the turn, and as rotations."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.choice((0.02, 0.03, 0.05), 60))
    clean = Rotation.from_euler("y", times[:, None]).as_matrix()
    noisy = clean @ random_turns(60, 0.05)
    smooth = smooth_rotations(noisy, times, 0.07)

    def error(a):
        return Rotation.from_matrix(a @ clean.swapaxes(1, 2)).magnitude().mean()

    assert error(smooth) < 0.6 * error(noisy)
    np.testing.assert_allclose(smooth @ smooth.swapaxes(1, 2), np.broadcast_to(np.eye(3), smooth.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(smooth), 1)
    np.testing.assert_allclose(smooth_rotations(clean, times, 0.07), clean, atol=2e-3)  # also at the ends


@pytest.mark.parametrize("times", [np.arange(20) / 30, np.concatenate((np.arange(6) / 5, 1.2 + np.arange(14) / 30))])
def test_lines_stay_lines(times):
    values = np.stack((3 * times - 1, np.full(len(times), 2.0)), axis=1)
    np.testing.assert_allclose(smooth_values(values, times, 0.06), values, atol=1e-9)


def test_smoothing_agrees_with_a_fit_of_lines():
    """Against weighted least squares of NumPy, frame by frame."""
    rng = np.random.default_rng(1)
    times, width = np.cumsum(rng.uniform(0.01, 0.2, 30)), 0.1
    values = rng.normal(size=30)
    smooth = smooth_values(values[:, None], times, width)[:, 0]
    for t, value in zip(times, smooth, strict=True):
        near = np.abs(times - t) <= REACH * width
        apart = times[near] - t
        root = np.exp(-((apart / width) ** 2) / 4)
        expected = np.polyfit(apart, values[near], 1, w=root)[1] if near.sum() > 1 else values[near][0]
        assert value == pytest.approx(expected, abs=1e-6)


def test_gaps_are_filled_in_between():
    turns = Rotation.from_euler("z", np.linspace(0, 1, 11)[:, None]).as_matrix()
    smooth = track_of([2, 3, 4, 8, 9, 10], turns).smooth(np.arange(11) / 30, seconds=0)
    np.testing.assert_array_equal(smooth.frames, np.arange(2, 11))
    np.testing.assert_array_equal(smooth.frames[~smooth.observed], (5, 6, 7))
    np.testing.assert_allclose(smooth.rotmat[:, 7], turns[2:], atol=1e-9)
    np.testing.assert_allclose(smooth.weak[:, :2], np.stack((np.full(9, 100), 10 * smooth.frames), 1))
    np.testing.assert_array_equal(smooth.betas, np.full(10, 6))  # the median of all


def test_long_gaps_stay_open():
    times = np.arange(100) / 10
    smooth = track_of([0, 1, 2, 30, 31, 40]).smooth(times, seconds=0.1)
    assert times[30] - times[2] > FILL > times[40] - times[31]
    np.testing.assert_array_equal(smooth.frames, [0, 1, 2, *range(30, 41)])
    np.testing.assert_allclose(smooth.weak[:, 1], 10 * smooth.frames, atol=1e-6)


def test_one_frame_is_a_track_too():
    smooth = track_of([5]).smooth(np.arange(9) / 30, seconds=0.1)
    assert smooth.rotmat.shape == (1, 24, 3, 3) and smooth.observed.all()


def test_short_tracks_are_mistakes_unless_their_shot_is_short():
    times = np.arange(60) / 30
    assert long_enough(track_of(list(range(9))), times, (0, 60))
    assert not long_enough(track_of([3]), times, (0, 60)) and SHORTEST * 30 > 1
    assert long_enough(track_of([3]), times, (3, 4))
    assert long_enough(track_of([3]), np.arange(60.0), (0, 60))  # a film of one frame per second


JOINS = {
    "hidden": (track_of(list(range(10))), track_of(list(range(20, 30))), True),
    "returns after long, elsewhere": (track_of([0, 1]), track_of([90, 91], box=(400, 0, 55, 110)), True),
    "somebody else takes the place": (track_of([0, 1]), track_of([8, 9], colour=80.0), False),
    "at once elsewhere": (track_of([0, 1]), track_of([3, 4], box=(400, 0, 50, 100)), False),
    "both at a time": (track_of(list(range(10))), track_of(list(range(5, 15)), box=(400, 0, 50, 100)), False),
    "the same body twice": (track_of(list(range(10))), track_of(list(range(9, 15))), True),
    "other clothes after long": (track_of([0, 1]), track_of([90, 91], colour=70.0), False),
    "walking on behind a pillar": (track_of(list(range(10)), step=5), track_of(list(range(20, 30)), step=5), True),
}


@pytest.mark.parametrize("case", JOINS.values(), ids=JOINS.keys())
def test_pieces_of_one_person_are_joined(case):
    a, b, one = case
    times = np.arange(100) / 30
    for pieces in ([a, b], [b, a]):
        joined = join_pieces(pieces, times)
        assert len(joined) == (1 if one else 2)
        if one:
            assert joined[0].frames == sorted({*a.frames, *b.frames})


def test_the_nearest_pieces_are_joined_first():
    """Two people in the same clothes, both hidden for a while, stay two people."""
    left = [track_of(list(range(10))), track_of(list(range(20, 30)))]
    right = [track_of(list(range(10)), box=(200, 0, 50, 100)), track_of(list(range(21, 31)), box=(200, 0, 50, 100))]
    joined = join_pieces([left[0], right[0], right[1], left[1]], np.arange(100) / 30)
    assert sorted(track.boxes[-1][0] for track in joined) == [0, 200] and {len(t.frames) for t in joined} == {20}


def views(*brightness: int) -> list[np.ndarray]:
    """A picture of noise per number, of one kind for each brightness."""
    noises = {b: np.random.default_rng(b).integers(0, 100, (18, 32, 3)) for b in brightness}
    return [np.repeat(np.repeat((noises[b] + b).astype(np.uint8), 8, 0), 8, 1) for b in brightness]


CUTS = {
    "none": ((10, 10, 10, 10), []),
    "one": ((10, 10, 150, 150), [2]),
    "a flash": ((10, 10, 150, 10, 10), []),
    "black first": ((0, 0, 150, 150, 150), [2]),
    "the last frame": ((10, 10, 150), [2]),
    "one frame": ((10,), []),
    "no frame": ((), []),
    "two": ((10, 10, 10, 150, 150, 150, 90, 90), [3, 6]),
    "a fade": (tuple(range(0, 150, 15)), []),
}


@pytest.mark.parametrize("case", CUTS.values(), ids=CUTS.keys())
def test_cuts(case):
    brightness, expected = case
    images = (
        views(*brightness)
        if brightness != CUTS["a fade"][0]
        else [np.full((144, 256, 3), b, np.uint8) for b in brightness]
    )
    assert [i for i, cut in enumerate(find_cuts(images)) if cut] == expected


def test_overlap():
    assert overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (5, 5, 1, 1)) == 0 and overlap((1, 1, 2, 3), (1, 1, 2, 3)) == 1
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0
