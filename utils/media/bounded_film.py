"""A film of bounded length and size."""

from collections.abc import Iterator
from math import ceil

import cv2

from utils.media.film import Film
from utils.media.video import Frame


class BoundedFilm:
    """The first `seconds` of a film, scaled down to at most `side` pixels; interface of utils.media.video.VideoFile.

    source: the whole film.
    """

    def __init__(self, film: Film, seconds: float, side: int):
        self.source, self.path, self.seconds = film, film.path, seconds
        height, width = film.info[2:]
        self.zoom = min(1.0, side / max(height, width))
        size = [max(1, round(self.zoom * length)) for length in (height, width)]
        frames = min(film.info.frames, max(1, ceil(seconds * film.info.rate)))
        self.info = film.info._replace(frames=frames, height=size[0], width=size[1])

    @property
    def times(self) -> list[float]:
        return [time for time in self.source.times if time < self.seconds]

    @property
    def is_cut(self) -> bool:
        """Whether the film goes on after `seconds`; known when the frames were read."""
        return len(self.times) < len(self.source.times)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames number `start` to `stop` - 1."""
        height, width = self.info[2:]
        for image, time in self.source.frames(start, stop):
            if time >= self.seconds:
                return
            if self.zoom < 1:
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            yield Frame(image, time)
