"""The same people from frame to frame of a film: cheap following in between, searches when somebody may be missing.

Everything depends on time in seconds, never on numbers of frames. Trackers such as ByteTrack or norfair link boxes of a
detector that runs on every frame; here the keypoint network itself follows a person at a fifth of a detection's cost.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from utils.detect.appearance import clothes_colours, colour_distance
from utils.detect.person_finder import DetectedPerson, find_people, follow_people, is_person, is_same, person_in_box

PATIENCE = 0.5  # seconds for which a person who is lost is looked for where he or she would be
LOOK_AROUND = 0.25  # seconds between quick searches while somebody is missing; with nobody in view there is no pause
THOROUGH = (0.5, 4.0)  # seconds between thorough searches; doubled each time that nobody new is found, up to the second
SAME = 0.3  # overlap (intersection over union) of boxes above which two are of one person
OTHER_COLOUR = 24.0  # distance of clothes' colours from which on it is another person
REMEMBER = 0.1  # how much of its colours a person takes from each frame
MAX_SPEED = 6.0  # longer sides of the person per second


@dataclass
class Target:
    """Somebody who is followed."""

    person: DetectedPerson  # as seen last
    colours: np.ndarray  # (4, 3) utils.detect.appearance
    seen: float  # seconds, when that was
    velocity: np.ndarray  # (2,) pixels per second

    def expected(self, time: float) -> DetectedPerson:
        """Where the person would be."""
        shift = self.velocity * min(time - self.seen, PATIENCE / 2)
        keypoints = self.person.keypoints + np.append(shift, 0)
        return self.person._replace(keypoints=keypoints, bbox=self.person.bbox + np.append(shift, (0, 0)))

    def update(self, person: DetectedPerson, colours: np.ndarray, time: float):
        step, side = time - self.seen, max(person.bbox[2:])
        moved = _middle(person.bbox) - _middle(self.person.bbox)
        if 0 < step <= PATIENCE:
            speed = np.clip(moved / step, -MAX_SPEED * side, MAX_SPEED * side)
            self.velocity = 0.5 * self.velocity + 0.5 * speed
        else:
            self.velocity = np.zeros(2)
        known = np.isnan(self.colours)
        mixed = self.colours + REMEMBER * np.where(np.isnan(colours), 0, colours - self.colours)
        self.person, self.seen, self.colours = person, time, np.where(known, colours, mixed)


class Tracker:
    """Follows up to `max_people` through the frames of a film, each of which it gets once, in order.

    network: as for `find_people`. boxes: where the people are in the first frame, each x, y, width, height in pixels;
    by default they are searched for. search=False: follow whom `add` names, look for nobody else.
    """

    def __init__(
        self,
        network: Callable,
        max_people: int = 1,
        device: torch.device | str = "cpu",
        boxes: list[tuple[float, float, float, float]] = (),
        search: bool = True,
    ):
        self.network, self.device, self.search = network, device, search
        self.max_people = max(max_people, len(boxes))
        self.boxes, self.people = list(boxes), 0
        self.targets: dict[int, Target] = {}
        self.quick_at = self.thorough_at = -np.inf  # when the next searches are due
        self.pause = THOROUGH[0]

    def __call__(self, image: np.ndarray, time: float, cut: bool = False) -> dict[int, DetectedPerson]:
        """The next frame (H, W, 3) uint8 RGB, `time` in seconds, increasing -> who is visible in it, by number.

        cut: a new shot begins: nobody is where he or she was.
        """
        if cut:
            self.targets.clear()
            self.quick_at = self.thorough_at = time
            self.pause = THOROUGH[0]
        for box in self.boxes:
            self.add(person_in_box(box), np.full((4, 3), np.nan, np.float32), time)
        self.boxes = []
        visible = self._follow(image, time)
        self.targets = {i: t for i, t in self.targets.items() if time - t.seen <= PATIENCE}
        if self.search and len(visible) < self.max_people:
            self._look_around(image, time, visible)
        return visible

    def add(self, person: DetectedPerson, colours: np.ndarray, time: float) -> int:
        """Follow a person from `time` on -> his or her number."""
        self.targets[self.people] = Target(person, colours, time, np.zeros(2))
        self.people += 1
        return self.people - 1

    def _follow(self, image: np.ndarray, time: float) -> dict[int, DetectedPerson]:
        expected = {i: target.expected(time) for i, target in self.targets.items()}
        found = dict(
            zip(expected, follow_people(image, self.network, list(expected.values()), self.device), strict=True)
        )
        colours = {i: clothes_colours(image, person.keypoints) for i, person in found.items()}
        costs = {}
        for i, person in found.items():
            colour = colour_distance(colours[i], self.targets[i].colours)
            if is_person(person) and not colour > OTHER_COLOUR:
                distance = np.linalg.norm(_middle(person.bbox) - _middle(expected[i].bbox)) / max(person.bbox[2:])
                costs[i] = distance + np.nan_to_num(colour) / OTHER_COLOUR
        visible = {}
        for i in sorted(costs, key=costs.get):  # of two who became one, the better match is he or she
            if not any(is_same(found[i], other) or is_same(other, found[i]) for other in visible.values()):
                visible[i] = found[i]
                self.targets[i].update(found[i], colours[i], time)
        return visible

    def _look_around(self, image: np.ndarray, time: float, visible: dict[int, DetectedPerson]):
        """Search, if it is time to, and add who is found to `visible`."""
        thorough = time >= self.thorough_at
        if not thorough and visible and time < self.quick_at:
            return
        before = len(visible)
        for person in find_people(image, self.network, self.max_people, self.device, thorough):
            known = any(overlap(person.bbox, other.bbox) > SAME or is_same(person, other) for other in visible.values())
            if not known and len(visible) < self.max_people:
                colours = clothes_colours(image, person.keypoints)
                visible[self._number(person, colours, time, visible)] = person
        self.quick_at = time + LOOK_AROUND
        if len(visible) > before:
            self.pause = THOROUGH[0]
        if thorough or len(visible) > before:
            self.thorough_at = time + self.pause
        if thorough and len(visible) == before:
            self.pause = min(2 * self.pause, THOROUGH[1])

    def _number(self, person: DetectedPerson, colours: np.ndarray, time: float, visible: dict) -> int:
        """Of a person who was found: the old one if somebody was lost there, else a new one."""
        for number, target in self.targets.items():
            same_place = overlap(person.bbox, target.expected(time).bbox) > SAME
            if number not in visible and same_place and not colour_distance(colours, target.colours) > OTHER_COLOUR:
                target.update(person, colours, time)
                return number
        return self.add(person, colours, time)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union, 0 to 1, of two boxes (4,): x, y, width, height in the same unit."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    inside = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = inside.clip(0).prod()
    return float(shared / max(a[2:].prod() + b[2:].prod() - shared, 1e-9))


def _middle(bbox: np.ndarray) -> np.ndarray:
    return bbox[:2] + bbox[2:] / 2
