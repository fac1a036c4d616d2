"""The beginning of a film, scaled down: frames, times and size; the whole film stays reachable for its sound."""

import numpy as np
import pytest

from tests.helpers.films import make_film
from utils.media.bounded_film import BoundedFilm
from utils.media.film import open_film

GREYS = [20 * number for number in range(12)]


@pytest.fixture
def path(tmp_path):
    images = [np.full((60, 120, 3), grey, np.uint8) for grey in GREYS]
    return make_film(tmp_path / "film.mp4", images, [number / 10 for number in range(12)], claimed_rate=10)


def test_the_beginning_scaled_down(path):
    film = BoundedFilm(open_film(path), seconds=0.45, side=60)
    assert film.info.frames == 5 and film.info[2:] == (30, 60) and film.zoom == 0.5
    for _ in range(2):  # it can be read again
        frames = list(film.frames())
        assert [frame.image.shape for frame in frames] == [(30, 60, 3)] * 5
        assert [frame.image.mean() for frame in frames] == pytest.approx(GREYS[:5], abs=3)
        assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4]) == film.times
    assert film.is_cut and film.source.path == film.path == path
    assert [frame.time for frame in film.frames(2, 4)] == pytest.approx([0.2, 0.3])
    assert [frame.time for frame in film.frames(3, 9)] == pytest.approx([0.3, 0.4])


def test_a_film_within_the_bounds_is_unchanged(path):
    whole = open_film(path)
    film = BoundedFilm(open_film(path), seconds=20, side=1280)
    assert film.info == whole.info and film.zoom == 1
    for frame, expected in zip(film.frames(), whole.frames(), strict=True):
        assert frame.time == expected.time and np.array_equal(frame.image, expected.image)
    assert not film.is_cut and film.times == whole.times
