"""Cuts in films: where a picture has little to do with the one before it, while its neighbours change little."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

CELLS = (32, 18)  # the picture in cells of one colour each
CHANGED = 0.08  # difference of a cell's colour, of the range, above which it has changed
# between four cameras in one room 58 to 79 % of the cells differ; from frame to frame of a panning film, up to 32 %
MANY = 0.5  # share of changed cells from which on two pictures can be of two shots
ALONE = 0.5  # beside a cut, this part of the change at the cut is not reached


def find_cuts(images: Iterable[np.ndarray]) -> Iterator[bool]:
    """Images (H, W, 3) uint8 RGB of one size -> for each, whether a shot begins with it. The first is never a cut.

    An answer comes one image late: a flash, after which all is as before, is no cut.
    """
    cells, change = [], 0.0  # of the last two images; the change up to the first of them
    for image in images:
        cells.append(_cells(image))
        if len(cells) == 3:
            now = _change(cells[0], cells[1])
            yield _is_cut(change, now, _change(cells[1], cells[2]), _change(cells[0], cells[2]))
            change = now
            cells.pop(0)
        elif len(cells) == 2:
            yield False  # for the first image
    if len(cells) == 2:
        yield _is_cut(change, _change(*cells), 0.0, 1.0)
    elif cells:
        yield False


def _is_cut(before: float, now: float, after: float, over_two: float) -> bool:
    return now >= MANY and over_two >= MANY and max(before, after) < ALONE * now


def _change(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the cells that differ."""
    return float((np.abs(a - b).mean(-1) > CHANGED).mean())


def _cells(image: np.ndarray) -> np.ndarray:
    step = max(1, min(image.shape[0] // (4 * CELLS[1]), image.shape[1] // (4 * CELLS[0])))
    small = cv2.resize(image[::step, ::step], CELLS, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255
