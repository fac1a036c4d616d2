"""Pictures as films: animated GIF, WebP, PNG and AVIF files, and numbered pictures.

Both classes have the interface of utils.media.video.VideoFile.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.media.clock import rate_of
from utils.media.images import count_frames, load_image, open_picture, picture_to_rgb
from utils.media.prefetch import prefetch
from utils.media.video import AHEAD, MAX_PIXELS, Frame, VideoInfo, fit

FIRST = 10  # frames that are read at once, for the rate: all of them may be hours of work
SHORTEST, USUAL = 10, 100  # milliseconds: a frame that claims to be shorter lasts USUAL, as in browsers


class Animation:
    """An animated picture. UserError if its first frame cannot be read; it ends at the first damaged one.

    All frames have the size of the first. times: of the frames that were reached so far, from the first on, seconds.
    """

    start = None  # it has no sound

    def __init__(self, path: str | Path):
        self.path, self.times = Path(path), []
        size = None
        for image, _ in islice(self._from_start(), FIRST):
            size = size or image.shape[:2]
        if size is None:
            raise UserError(f"{path} is damaged or cut short; copy or export it again")
        self.info = VideoInfo(max(count_frames(path), len(self.times)), rate_of(self.times), *size)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames number `start` to `stop` - 1, decoded in a thread."""
        return prefetch(self._between(start, stop), AHEAD)

    def _between(self, start: int, stop: int | None) -> Iterator[Frame]:
        for number, (image, time) in enumerate(self._from_start()):
            if number == stop:
                return
            if number >= start:
                yield Frame(fit(image, *self.info[2:]), time)

    def _from_start(self) -> Iterator[Frame]:
        now = 0.0
        for number, (image, seconds) in enumerate(self._decode()):
            if number == len(self.times):
                self.times.append(now)
            yield Frame(image, now)
            now += seconds

    def _decode(self) -> Iterator[tuple[np.ndarray, float]]:
        """Every frame (H, W, 3) uint8 RGB, and how many seconds it is shown."""
        try:
            with open_picture(self.path, MAX_PIXELS) as picture:
                for number in count():
                    picture.seek(number)  # EOFError behind the last one
                    if picture.width * picture.height > MAX_PIXELS:  # later frames of a GIF may be larger
                        return
                    image = picture_to_rgb(picture)
                    shown = picture.info.get("duration") or 0
                    yield image, (shown if shown > SHORTEST else USUAL) / 1000
        except UserError:
            raise
        except Exception:  # behind the last frame, or damaged, which has a dozen forms
            return


class NumberedPictures:
    """Pictures as the frames of a film, `rate` per second, all in the size of the first. UserError if one of them
    cannot be read."""

    start = None

    def __init__(self, paths: list[Path], rate: float):
        self.path, self.paths = paths[0], paths
        self.times = [number / rate for number in range(len(paths))]
        size = load_image(paths[0], MAX_PIXELS).shape[:2]
        self.info = VideoInfo(len(paths), Fraction(rate).limit_denominator(1001), *size)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames number `start` to `stop` - 1, read in a thread."""
        part = zip(self.paths[start:stop], self.times[start:stop], strict=True)
        return prefetch((Frame(fit(load_image(path, MAX_PIXELS), *self.info[2:]), time) for path, time in part), AHEAD)
