"""Films with known truth: rendered people moved along known paths over painted backgrounds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from datasets.synthetic import SyntheticDataset
from utils.media.clock import rate_of
from utils.media.video_writer import write_video
from utils.paths import OPEN_BODY

SIZE = (240, 400)  # height and width of the films, pixels
RENDERED = 256  # side of the pictures that people are rendered in
LEFT, RIGHT = 14, 21  # rows of the test split: people who stand, in different clothes
VISIBLE = 0.5  # part of a person's pixels that has to be in the picture and not hidden

Path2D = Callable[[float], tuple[float, float]]  # seconds -> x of the middle and y of the feet, pixels


class Actor(NamedTuple):
    """A rendered person: row of the synthetic test split, path, and height in pixels. Later ones are in front."""

    row: int
    path: Path2D
    height: float = 170


@dataclass
class Scene:
    """times: of the frames, seconds. pillar: x of its edges, in front of everybody. cut: the frame that begins another
    shot, from which on `after_cut` are the actors."""

    name: str
    times: np.ndarray
    actors: list[Actor]
    max_people: int = 1
    pillar: tuple[int, int] | None = None
    cut: int | None = None
    after_cut: list[Actor] = field(default_factory=list)
    event: float | None = None  # seconds, when the first actor turns back


class Truth(NamedTuple):
    """boxes (T, A, 4): x, y, width, height of all of an actor; visible (T, A) bool."""

    boxes: np.ndarray
    visible: np.ndarray


def scenes(rate: float = 12.5) -> list[Scene]:
    """Six films of 32 person-seconds."""
    middle, floor = SIZE[1] / 2, SIZE[0] - 15

    def walk(start: float, x: float, speed: float) -> Path2D:
        """Out of the picture until `start`, then from x on."""
        return lambda t: (x + speed * (t - start) if t >= start else -500, floor)

    def there_and_back(turn: float, speed: float, x: float) -> Path2D:
        return lambda t: (x - speed * abs(t - turn), floor)

    def steady(seconds: float) -> np.ndarray:
        return np.arange(round(seconds * rate)) / rate

    uneven = np.concatenate((np.arange(8) * 0.2, 1.6 + np.arange(60) / 25))
    return [
        Scene("comes in late", steady(5), [Actor(LEFT, walk(1.0, -40, 70))]),
        Scene("second comes late", steady(5), [Actor(LEFT, walk(0, 110, 8)), Actor(RIGHT, walk(1.6, 300, -8))], 2),
        Scene("hidden by a pillar", steady(5), [Actor(LEFT, walk(0, 60, 60))], pillar=(170, 240)),
        Scene("leaves and returns", steady(6), [Actor(LEFT, lambda t: (200 + 300 * np.sin(1.2 * t), floor))]),
        Scene("crossing", steady(5), [Actor(LEFT, walk(0, 80, 48)), Actor(RIGHT, walk(0, 320, -48))], 2),
        Scene(
            "cut, uneven rate",
            uneven,
            [Actor(LEFT, there_and_back(1.2, 60, 260))],
            cut=int((uneven < 2.0).sum()),
            after_cut=[Actor(RIGHT, lambda t: (middle + 40 * np.sin(t), floor))],
            event=1.2,
        ),
    ]


def make_film(scene: Scene, path: Path) -> Truth:
    """Write the film -> the truth about it, the actors after the cut behind those before it."""
    rng = np.random.default_rng(0)
    backgrounds = [_background(rng) for _ in range(2)]
    everybody = scene.actors + scene.after_cut
    boxes, visible = np.zeros((len(scene.times), len(everybody), 4)), np.zeros((len(scene.times), len(everybody)), bool)
    with write_video(path, rate_of(scene.times)) as add:
        for t, time in enumerate(scene.times):
            second = scene.cut is not None and t >= scene.cut
            image = backgrounds[int(second)].copy()
            owner = np.full(SIZE, -1)
            for number, actor in enumerate(everybody):
                if (number >= len(scene.actors)) == second:
                    boxes[t, number] = _paste(image, owner, number, actor, time)
            if scene.pillar:
                image[:, slice(*scene.pillar)], owner[:, slice(*scene.pillar)] = (90, 80, 70), -1
            for number, actor in enumerate(everybody):
                whole = (_cut_out(actor.row, actor.height)[..., 3] > 0).sum()
                visible[t, number] = (owner == number).sum() >= VISIBLE * whole
            add(np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8), float(time))
    return Truth(boxes, visible)


def make_group(actors: list[Actor]) -> np.ndarray:
    """A picture (240, 400, 3) of rendered people where they are at time 0, the later ones in front."""
    image, owner = _background(np.random.default_rng(0)), np.full(SIZE, -1)
    for number, actor in enumerate(actors):
        _paste(image, owner, number, actor, 0.0)
    return image


def _paste(image: np.ndarray, owner: np.ndarray, number: int, actor: Actor, time: float) -> np.ndarray:
    """Draw an actor -> box."""
    person = _cut_out(actor.row, actor.height)
    height, width = person.shape[:2]
    x, floor = actor.path(time)
    left, top = round(x - width / 2), round(floor - height)
    rows, columns = (np.arange(start, start + n) for start, n in ((top, height), (left, width)))
    inside = np.ix_((rows >= 0) & (rows < SIZE[0]), (columns >= 0) & (columns < SIZE[1]))
    part, place = person[inside], np.ix_(rows[inside[0].ravel()], columns[inside[1].ravel()])
    alpha = part[..., 3:] / 255
    image[place] = (image[place] * (1 - alpha) + part[..., :3] * alpha).astype(np.uint8)
    owner[place] = np.where(part[..., 3] > 0, number, owner[place])
    return np.array((left, top, width, height), float)


@cache
def _cut_out(row: int, height: float) -> np.ndarray:
    """A person (h, w, 4) uint8 RGBA, cut off closely, h = height."""
    sample = _dataset()[row]
    mask = sample["mask"].numpy()
    rgba = np.dstack((sample["image_uint8"].permute(1, 2, 0).numpy(), 255 * mask.astype(np.uint8)))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    zoom = height / rgba.shape[0]
    return cv2.resize(rgba, (round(zoom * rgba.shape[1]), round(height)), interpolation=cv2.INTER_AREA)


@cache
def _dataset() -> SyntheticDataset:
    return SyntheticDataset(OPEN_BODY, "test", size=RENDERED, clean=True, with_image_uint8=True)


def _background(rng: np.random.Generator) -> np.ndarray:
    """Soft patches of colour above a floor."""
    image = cv2.resize(rng.uniform(90, 230, (4, 6, 3)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    image[-50:] = image[-50:] * 0.4 + 60
    return np.clip(image, 0, 255).astype(np.uint8)
