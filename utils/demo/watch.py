"""Everybody in a film: followed forwards, then back to where they came in, pieces of one person joined.

The network's estimates are a few numbers per person and frame, so that the length of a film costs time, not memory.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from utils.demo.terminal import short_name
from utils.detect.appearance import clothes_colours
from utils.detect.motion import Track
from utils.detect.person_finder import DetectedPerson
from utils.detect.pieces import ONE_BODY, join_pieces, long_enough
from utils.detect.shots import find_cuts
from utils.detect.tracker import Tracker, overlap
from utils.media.film import Film
from utils.media.prefetch import background
from utils.media.video import Frame
from utils.person import Box, Person
from utils.process import divided_cores

CHUNK = 8  # frames whose people go through the network together
BACK = 200_000_000  # bytes of the frames that are in memory together when a film is read backwards
BACK_FRAMES = 64  # and their number at most
frames_bar = partial(tqdm, unit="frame", disable=None)  # progress in a terminal, nothing elsewhere


class Watcher:
    """Finds and reconstructs the people of one film.

    predictor: models.predictor.Predictor. max_people: in one shot. bar: see utils.demo.video_results.VideoResults.
    """

    def __init__(self, predictor, film: Film, max_people: int = 1, boxes: list[Box] = (), bar: Callable = frames_bar):
        self.predictor, self.film, self.max_people, self.boxes = predictor, film, max_people, boxes
        self.bar = bar
        self.tracks: dict[int, Track] = {}
        self.cuts: list[int] = []  # first frames of shots, from the second shot on
        self.count = 0  # frames in the film

    def watch(self) -> list[Track]:
        """-> the people of each shot, at most `max_people`, those of boxes and then the longest in view first."""
        self._forwards()
        for number in list(self.tracks):
            self._backwards(number)
        times, people = np.array(self.film.times), []
        for first, after in self.shots():
            inside = [track for track in self.tracks.values() if first <= track.frames[0] < after]
            joined = [t for t in join_pieces(inside, times) if long_enough(t, times, (first, after))]
            joined.sort(key=lambda track: (not self.is_given(track), -len(track.frames)))
            people += joined[: max(self.max_people, len(self.boxes))]
        self._estimate_missing(people)
        return people

    def shots(self) -> list[tuple[int, int]]:
        """The first frame of every shot, and the first one after it."""
        return list(zip([0, *self.cuts], [*self.cuts, self.count], strict=True))

    def is_given(self, track: Track) -> bool:
        """Whether it is of a person whose box was given."""
        return track.frames[0] == 0 and any(overlap(track.boxes[0], box) > 0.3 for box in self.boxes)

    def _forwards(self):
        tracker = Tracker(self.predictor.finder, self.max_people, self.predictor.device, self.boxes)
        name, total = short_name(self.film.path.name, 24), self.film.info.frames

        def reconstruct(chunk: tuple[list[np.ndarray], list[dict[int, DetectedPerson]], int]):
            for number, track in self._reconstruct(*chunk).items():
                self.tracks.setdefault(number, Track()).extend(track)

        with self.bar(total=total, desc=f"{name}: watch") as bar, self._meanwhile(reconstruct) as reconstruct:
            frames = self._with_cuts()
            while chunk := list(islice(frames, CHUNK)):
                visible = []
                for number, (frame, cut) in enumerate(chunk, self.count):
                    visible.append(tracker(frame.image, frame.time, cut))
                    if cut:
                        self.cuts.append(number)
                reconstruct(([frame.image for frame, _ in chunk], visible, self.count))
                self.count += len(chunk)
                bar.update(len(chunk))

    @contextmanager
    def _meanwhile(self, work: Callable) -> Iterator[Callable]:
        """`work`, done by a thread while the next frames are followed; at once on a GPU, which gains nothing by it."""
        if str(self.predictor.device) != "cpu":
            yield work
            return
        with divided_cores(2), background(work, 1) as submit:
            yield submit

    def _with_cuts(self) -> Iterator[tuple[Frame, bool]]:
        waiting: list[Frame] = []

        def images():
            for frame in self.film.frames():
                waiting.append(frame)
                yield frame.image

        for cut in find_cuts(images()):
            yield waiting.pop(0), cut

    def _backwards(self, number: int):
        """Follow a person from where he or she was found back to where he or she came in."""
        found, times = self.tracks[number], self.film.times
        start = found.frames[0]
        first = max(first for first, _ in self.shots() if first <= start)
        block = min(BACK_FRAMES, max(1, BACK // (3 * math.prod(self.film.info[2:]))))
        tracker = Tracker(self.predictor.finder, 1, self.predictor.device, search=False)
        person = DetectedPerson(found.boxes[0], found.keypoints[0], 1.0)
        tracker.add(person, found.colours[0], -times[start])
        while start > first and tracker.targets:
            begin = max(first, start - block)
            images = [frame.image for frame in self.film.frames(begin, start)]
            visible: list[dict[int, DetectedPerson]] = [{} for _ in images]
            for frame in reversed(range(begin, start)):
                seen = list(tracker(images[frame - begin], -times[frame]).values())
                visible[frame - begin] = {number: seen[0]} if seen else {}
                if not tracker.targets or self._is_followed(visible[frame - begin], frame):
                    tracker.targets.clear()
                    break
            before = self._tracks(images, visible, begin)
            if number in before:
                self.tracks[number] = before[number].joined(self.tracks[number])
            start = begin

    def _is_followed(self, visible: dict[int, DetectedPerson], frame: int) -> bool:
        """Whether another track is of the same body in this frame: then it has what is before."""
        for number, person in visible.items():
            for other, track in self.tracks.items():
                box = None if other == number else track.box_in(frame)
                if box is not None and overlap(box, person.bbox) >= ONE_BODY:
                    return True
        return False

    def _estimate_missing(self, people: list[Track]):
        """Estimate the bodies that were found backwards, of these people only."""
        wanted: dict[int, dict[int, DetectedPerson]] = {}
        for number, track in enumerate(people):
            for i, frame in enumerate(track.frames):
                if track.rotmat[i] is None:
                    wanted.setdefault(frame, {})[number] = DetectedPerson(track.boxes[i], track.keypoints[i], 1.0)
        if not wanted:
            return
        first, after = min(wanted), max(wanted) + 1
        frames = enumerate(self.film.frames(first, after), first)
        with self._meanwhile(lambda part: self._fill(people, *part)) as fill:
            while part := list(islice(((number, frame) for number, frame in frames if number in wanted), CHUNK)):
                numbers = [number for number, _ in part]
                fill((numbers, [frame.image for _, frame in part], [wanted[number] for number in numbers]))

    def _fill(self, people: list[Track], numbers: list[int], images: list[np.ndarray], visible: list[dict]):
        """Write the estimates of the people visible in these frames into their tracks."""
        for frame, seen, bodies in zip(numbers, visible, self._bodies(images, visible), strict=True):
            for number, body in zip(seen, bodies, strict=True):
                people[number].set(frame, **_estimate(body))

    def _reconstruct(
        self, images: list[np.ndarray], visible: list[dict[int, DetectedPerson]], begin: int
    ) -> dict[int, Track]:
        """Tracks, with estimates, of the people visible in consecutive frames from number `begin` on."""
        return self._tracks(images, visible, begin, self._bodies(images, visible))

    def _bodies(self, images: list[np.ndarray], visible: list[dict[int, DetectedPerson]]) -> list[list[Person]]:
        detections = [[self.predictor.detection(p.bbox, p.score) for p in people.values()] for people in visible]
        return self.predictor.reconstruct(images, detections)

    @staticmethod
    def _tracks(
        images: list[np.ndarray],
        visible: list[dict[int, DetectedPerson]],
        begin: int,
        bodies: list[list[Person | None]] | None = None,
    ) -> dict[int, Track]:
        """Tracks of the people visible in consecutive frames from number `begin` on; bodies: their estimates."""
        tracks: dict[int, Track] = {}
        bodies = bodies or [[None] * len(people) for people in visible]
        for frame, (image, people, row) in enumerate(zip(images, visible, bodies, strict=True), begin):
            for (number, person), body in zip(people.items(), row, strict=True):
                tracks.setdefault(number, Track()).add(
                    frames=frame,
                    boxes=person.bbox,
                    keypoints=person.keypoints,
                    colours=clothes_colours(image, person.keypoints),
                    **_estimate(body),
                )
        return tracks


def _estimate(body: Person | None) -> dict:
    """Columns of a track."""
    if body is None:
        return dict.fromkeys(("rotmat", "betas", "weak"))
    rotmat = Rotation.from_rotvec(body.pose).as_matrix().astype(np.float32)
    return {"rotmat": rotmat, "betas": body.betas, "weak": np.array(body.camera)}
