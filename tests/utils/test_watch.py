"""Everybody in films made on the spot: late, hidden, returning, crossing, cut, small, at uneven times.

MoveNet finds real people; the network behind it, which has no part in who is found, is replaced by one that answers at
once.
"""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from models.movenet import load_movenet
from tests.helpers.films import make_film
from utils.camera import Crop, WeakPerspective
from utils.demo.video_results import measured_rate
from utils.demo.watch import Watcher
from utils.media.images import load_image
from utils.media.video import VideoFile
from utils.paths import MOVENET, SAMPLES
from utils.person import Detection

RATE = 12.5
PERSON = (slice(42, 252), slice(85, 211))  # of the sample at half its size


class Predictor:
    """Finds people by MoveNet; bodies stand still."""

    device = "cpu"

    def __init__(self):
        self.finder = load_movenet(MOVENET)

    def detection(self, bbox, score) -> Detection:
        return Detection(bbox, Crop.around(bbox), score)

    def reconstruct(self, images, detections):
        return [[self._body(person) for person in people] for people in detections]

    def _body(self, person: Detection) -> SimpleNamespace:
        x, y, width, height = person.bbox
        camera = WeakPerspective(height / 2, x + width / 2, y + height / 2)
        return SimpleNamespace(pose=np.zeros((24, 3)), betas=np.zeros(10), camera=camera)


@pytest.fixture(scope="module")
def predictor():
    return Predictor()


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    """(210, 126, 3) a woman who walks, cut out with what is around her."""
    return load_image(SAMPLES / "im01.png")[::2, ::2][PERSON]


def dyed(person: np.ndarray) -> np.ndarray:
    """The same woman, mirrored, in red."""
    return np.clip(person[:, ::-1] + np.array((90, 0, -40)), 0, 255).astype(np.uint8)


def stage(*places: tuple[np.ndarray, int], height: int = 230, width: int = 420, shade: int = 128) -> np.ndarray:
    """A picture with people at x, the later ones in front."""
    image = np.full((height, width, 3), shade, np.uint8)
    for person, x in places:
        left, right = max(x, 0), min(x + person.shape[1], width)
        if left < right:
            image[height - person.shape[0] :, left:right] = person[:, left - x : right - x]
    return image


@pytest.fixture
def watch(predictor, tmp_path):
    """Make a film and watch it -> the Watcher, and the people's tracks."""

    def call(images, times=None, max_people=1, name="film.mp4", **options):
        times = np.arange(len(images)) / RATE if times is None else times
        watcher = Watcher(predictor, VideoFile(make_film(tmp_path / name, images, times)), max_people, **options)
        return watcher, watcher.watch()

    return call


def test_black_frames_first(watch, person):
    watcher, (track,) = watch([np.zeros((230, 420, 3), np.uint8)] * 2 + [stage((person, 100))] * 4)
    assert track.frames == [2, 3, 4, 5] and watcher.count == 6


def test_a_late_comer_has_a_body_from_the_first_frame_on(watch, person):
    """Found by a search up to 0.25 s later, then followed backwards."""
    images = [stage((person, 20))] * 6 + [stage((person, 20), (dyed(person), 280))] * 6
    times = np.arange(12) / 30
    _, (first, second) = watch(images, times, max_people=2)
    assert first.frames == list(range(12)) and second.frames == list(range(6, 12))


def test_whoever_is_pasted_in_is_there_at_once(watch, person):
    _, (track,) = watch([stage()] * 3 + [stage((person, 150))] * 5, np.arange(8) / 25)
    assert track.frames == [3, 4, 5, 6, 7]


def test_times_are_the_files(watch, person):
    times = np.array((0, 0.2, 0.4, 0.6, 0.633, 0.667, 0.7))
    watcher, (track,) = watch([stage((person, 20 + round(100 * t))) for t in times], times)
    smooth = track.smooth(np.array(watcher.film.times), 0.06)
    np.testing.assert_allclose(smooth.times, times, atol=0.001)
    np.testing.assert_allclose(smooth.weak[:, 1] - smooth.weak[0, 1], 100 * times, atol=12)  # steady motion stays
    assert measured_rate(watcher.film) == pytest.approx(6 / 0.7, rel=0.05)


def test_somebody_hidden_stays_one_person_and_the_gap_is_marked(watch, person):
    xs = [20 + 14 * t for t in range(18)]
    images = [stage((person, x)) for x in xs]
    for t in range(7, 11):
        images[t] = stage((np.full_like(person, 60), xs[t]))
    watcher, (track,) = watch(images)
    smooth = track.smooth(np.array(watcher.film.times), 0.06)
    np.testing.assert_array_equal(smooth.frames, np.arange(18))
    np.testing.assert_array_equal(np.flatnonzero(~smooth.observed), np.arange(7, 11))


def test_somebody_who_leaves_and_returns_is_one_person(watch, person):
    xs = [150, 250, 500, 500, 500, 500, 500, 500, 500, 500, 250, 150, 150]
    _, tracks = watch([stage((person, x)) for x in xs], max_people=2)
    assert [track.frames for track in tracks] == [[0, 1, 10, 11, 12]]


def test_two_who_cross_are_two(watch, person):
    """Who goes behind is found again, and nobody changes the clothes."""
    other = dyed(person)
    xs = [10 + 24 * t for t in range(12)]
    _, tracks = watch([stage((other, 280 - x), (person, x)) for x in xs], max_people=2)
    assert len(tracks) == 2
    for track in tracks:
        assert track.frames[0] == 0 and track.frames[-1] == 11 and len(track.frames) >= 7
        red = np.array([colours[0, 1] for colours in track.colours])
        assert np.nanmax(red) - np.nanmin(red) < 25


def test_cuts_end_tracks(watch, person):
    """Two shots, in each of which somebody stands at the same place: nothing is joined or smoothed across the cut."""
    rng = np.random.default_rng(0)
    other = cv2.resize(rng.integers(0, 255, (6, 10, 3)).astype(np.uint8), (420, 230))
    second = other.copy()
    second[20:, 100:226] = person
    watcher, tracks = watch([stage((person, 100))] * 5 + [second] * 4)
    assert watcher.cuts == [5]
    assert [track.frames for track in tracks] == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


def test_small_people_are_found_by_thorough_searches(watch, person):
    small = cv2.resize(person, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    image = stage((small, 40), height=320, width=640)
    _, (track,) = watch([image] * 3)
    assert track.frames == [0, 1, 2] and track.boxes[0][3] < 80


def test_boxes_name_a_person(watch, person):
    image = stage((person, 20), (dyed(person), 280))
    _, (track,) = watch([image] * 4, boxes=[(280, 20, 126, 210)])
    assert all(box[0] > 200 for box in track.boxes) and len(track.frames) == 4


def test_empty_films_have_nobody(watch):
    watcher, tracks = watch([stage()] * 3)
    assert not tracks and watcher.count == 3


def test_one_frame_is_a_film(watch, person):
    _, (track,) = watch([stage((person, 100))])
    assert track.frames == [0]
