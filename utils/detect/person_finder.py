"""Detect people in a picture of any size with a keypoint network alone: propose, crop, refine.

The network (models.movenet.MoveNet) gets a square view and returns heatmaps of people's centres and of their keypoints.
The first view is the whole picture. If it does not show enough people, rotated views follow, then tiles, in which
smaller people are large enough. Each candidate is refined in a crop of its own, in which it may be rotated.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.crop import IMAGENET_MEAN, IMAGENET_STD
from utils.detect.movenet_decoder import decode_at, decode_single_person

INPUT_SIZE = 256
BATCH_SIZE = 8

TILES = (0.6, 0.36)  # sides of tiles, in longer sides of the picture
MIN_CENTRE = 0.1  # probability of a person's centre that makes a candidate
CENTRES_PER_VIEW = 6
MIN_PROPOSAL = 0.2  # score of a candidate that is refined; people have 0.35 and more before refinement
MIN_SCORE = 0.43  # of a person; photographs of people give >= 0.48, 95 of 100 without people <= 0.36
MIN_SIDE = 24  # pixels; below, people have too little detail and are often confused with clutter
SCORED_KEYPOINTS = 9  # the score is the mean confidence of so many best keypoints: those of an upper body
CROP_RATIO = 1.45  # side of a crop in longer sides of the box of keypoints
PASSES = 2
TURN_BELOW = 0.75  # candidates with a lower score are tried in rotated crops
TURN_GAIN = 0.08  # minimum gain in score for a rotated crop to be kept
SAME_KEYPOINT = 0.1  # distance below which two keypoints coincide, in longer sides of the box
ON_BODY = 0.06  # distance from a body segment below which a keypoint lies on it, in longer sides of the box
BOX_MARGIN = 0.1  # of the box around the keypoints, for hair, hands and shoes, in longer sides
# pairs of COCO keypoints; the diagonals cover the trunk
SEGMENTS = np.array((
    (5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16),
    (5, 6), (11, 12), (5, 11), (6, 12), (5, 12), (6, 11), (0, 5), (0, 6), (3, 4),
))  # fmt: skip


class DetectedPerson(NamedTuple):
    """A detected person, in pixels of the picture."""

    bbox: np.ndarray  # (4,) x, y, width, height
    keypoints: np.ndarray  # (17, 3) x, y, confidence; COCO order
    score: float  # confidence in [0, 1]
    turn: float = 0.0  # degrees, of the view in which the person was detected


class View(NamedTuple):
    """A square of the picture that becomes an input of the network."""

    centre: np.ndarray  # (2,) pixels
    side: float  # pixels
    turn: float = 0.0  # degrees by which the picture is rotated, counter-clockwise

    def matrix(self) -> np.ndarray:
        """Affine map (2, 3) from pixels of the picture to pixels of the network's input."""
        zoom, angle = INPUT_SIZE / self.side, np.deg2rad(self.turn)
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        linear = np.array([[cos, sin], [-sin, cos]])
        return np.column_stack((linear, (INPUT_SIZE - 1) / 2 - linear @ self.centre))

    def to_picture(self, keypoints: np.ndarray) -> np.ndarray:
        """keypoints (..., 3) in pixels of the network's input -> in pixels of the picture."""
        inverse = cv2.invertAffineTransform(self.matrix())
        return np.concatenate((keypoints[..., :2] @ inverse[:, :2].T + inverse[:, 2], keypoints[..., 2:]), axis=-1)


class Candidate(NamedTuple):
    keypoints: np.ndarray  # (17, 3) pixels of the picture, confidence
    turn: float = 0.0

    @property
    def score(self) -> float:
        return float(np.sort(self.keypoints[:, 2])[-SCORED_KEYPOINTS:].mean())

    @property
    def corners(self) -> np.ndarray:
        """(2, 2) smallest and largest x, y of the visible keypoints."""
        visible = self.keypoints[:, 2] > 0.1
        points = self.keypoints[visible if visible.sum() >= 4 else slice(None), :2]
        return np.stack((points.min(0), points.max(0)))

    @property
    def side(self) -> float:
        """Longer side of the box of keypoints, pixels."""
        return float(max(np.ptp(self.corners, axis=0).max(), 1))


def find_people(
    image: np.ndarray,
    network: Callable[[Tensor], tuple[Tensor, ...]],
    max_people: int = 1,
    device: torch.device | str = "cpu",
    thorough: bool = True,
) -> list[DetectedPerson]:
    """Detect at most `max_people` people in an image (H, W, 3) uint8 RGB, the most prominent first; [] if none.

    network: (B, 3, 256, 256) ImageNet-normalised RGB on `device` -> models.movenet.PoseMaps. A clearly visible person
    takes three views. An empty picture, or one with fewer people than `max_people`, takes thirty to sixty. With
    `thorough` off, the search stops after the first view: small or upside-down people are missed.
    """
    detector = _Detector(image, network, device)
    people = []
    for views in islice(_searches(*image.shape[:2]), None if thorough else 1):
        if people and views[0].turn:
            continue  # an upright person shows that the picture is not rotated
        candidates = _without_duplicates(_propose(detector, views), known=people)
        found = _refine(detector, candidates[: 2 * max_people + 4], turn=thorough and not people)
        # people found earlier have priority: a wider view is better at the extent of a body
        people += _without_duplicates([c for c in found if c.score >= MIN_SCORE and c.side >= MIN_SIDE], known=people)
        if len(people) >= max_people:
            break
    people.sort(key=lambda p: p.score * np.sqrt(p.side), reverse=True)
    return [_person(p, image.shape) for p in people[:max_people]]


def follow_people(
    image: np.ndarray,
    network: Callable[[Tensor], tuple[Tensor, ...]],
    people: list[DetectedPerson],
    device: torch.device | str = "cpu",
) -> list[DetectedPerson]:
    """Detect the people of an earlier frame in this one, from their keypoints there, with one view each.

    If the person is not in the view, the result has a low score or is of another person: see `is_person`, `is_same`.
    """
    candidates = [Candidate(person.keypoints, person.turn) for person in people]
    return [_person(c, image.shape) for c in _detect_again(_Detector(image, network, device), candidates)]


def is_person(person: DetectedPerson) -> bool:
    """Whether the keypoints score as those of people do."""
    return person.score >= MIN_SCORE and Candidate(person.keypoints).side >= MIN_SIDE


def is_same(a: DetectedPerson, b: DetectedPerson) -> bool:
    """Whether a's keypoints lie on b's body; both in the same picture."""
    return _is_part_of(Candidate(a.keypoints), Candidate(b.keypoints))


def person_in_box(bbox: tuple[float, float, float, float]) -> DetectedPerson:
    """A person to follow of whom only the box (x, y, width, height) is known: all keypoints on two opposite corners."""
    x, y, width, height = bbox
    keypoints = np.array([(x, y, 1), (x + width, y + height, 1)])[np.arange(17) % 2]
    return DetectedPerson(np.asarray(bbox, np.float64), keypoints, 1.0)


class _Detector:
    """Runs the network on views of one picture."""

    def __init__(self, image: np.ndarray, network: Callable, device: torch.device | str):
        self.network, self.device = network, device
        self.pyramid = [image]  # each half as large as the one before, against aliasing
        while max(self.pyramid[-1].shape[:2]) >= 2 * INPUT_SIZE:
            height, width = (-(-n // 2) for n in self.pyramid[-1].shape[:2])
            self.pyramid.append(cv2.resize(self.pyramid[-1], (width, height), interpolation=cv2.INTER_AREA))

    @torch.inference_mode()
    def predict(self, views: list[View]) -> list[Tensor]:
        """PoseMaps of the views, on the CPU."""
        batches = []
        for start in range(0, len(views), BATCH_SIZE):
            crops = np.stack([self._crop(view) for view in views[start : start + BATCH_SIZE]])
            images = (torch.from_numpy(crops) / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
            batches.append([part.float().cpu() for part in self.network(images.permute(0, 3, 1, 2).to(self.device))])
        return [torch.cat(parts) for parts in zip(*batches, strict=True)]

    def _crop(self, view: View) -> np.ndarray:
        level = int(np.clip(np.log2(view.side / INPUT_SIZE), 0, len(self.pyramid) - 1))
        factor = np.divide(self.pyramid[0].shape[1::-1], self.pyramid[level].shape[1::-1])
        matrix = view.matrix()
        # the centre of a level's first pixel is pixel (factor - 1) / 2 of the picture
        matrix = np.column_stack((matrix[:, :2] * factor, matrix[:, :2] @ ((factor - 1) / 2) + matrix[:, 2]))
        return cv2.warpAffine(self.pyramid[level], matrix, (INPUT_SIZE, INPUT_SIZE))


def _searches(height: int, width: int) -> Iterator[list[View]]:
    """Groups of views, cheap ones first: the whole picture, the picture rotated, tiles."""
    side = max(height, width)
    centre = np.array((width - 1, height - 1)) / 2
    yield [View(centre, side)]
    yield [View(centre, side, turn) for turn in (90, 180, 270)]
    for fraction in TILES:
        tile = fraction * side
        if tile < INPUT_SIZE / 4:
            return
        xs, ys = (np.linspace(*_span(n, tile), 1 + int(np.ceil(2 * max(n / tile - 1, 0)))) for n in (width, height))
        yield [View(np.array((x, y)), tile) for y in ys for x in xs]


def _span(size: int, tile: float) -> tuple[float, float]:
    """First and last centre of the tiles that cover `size` pixels."""
    return (min(tile, size) / 2, size - min(tile, size) / 2)


def _propose(detector: _Detector, views: list[View]) -> list[Candidate]:
    """Candidates at the peaks of the centre heatmaps of the views."""
    heatmaps, centre, regression, offsets = detector.predict(views)
    is_peak = centre == F.max_pool2d(centre[:, None], 5, 1, 2)[:, 0]
    scores, cells = torch.where(is_peak, centre, 0).flatten(1).topk(CENTRES_PER_VIEW)
    keypoints = decode_at(heatmaps, regression, offsets, cells).numpy()
    candidates = [
        Candidate(view.to_picture(keypoints[v, c]), view.turn)
        for v, view in enumerate(views)
        for c in range(CENTRES_PER_VIEW)
        if scores[v, c] >= MIN_CENTRE
    ]
    return [c for c in candidates if c.score >= MIN_PROPOSAL]


def _refine(detector: _Detector, candidates: list[Candidate], turn: bool) -> list[Candidate]:
    """Detect each candidate again in its own crop; if `turn`, also in rotated crops for those with a low score."""
    for _ in range(PASSES):
        candidates = _detect_again(detector, candidates)
    doubtful = [c for c in candidates if turn and MIN_PROPOSAL <= c.score < TURN_BELOW]
    turned = [_detect_again(detector, [c._replace(turn=c.turn + angle) for c in doubtful]) for angle in (90, 180, 270)]
    for candidate, *others in zip(doubtful, *turned, strict=True):
        best = max(others, key=lambda c: c.score)
        if best.score > candidate.score + TURN_GAIN:
            candidates += _detect_again(detector, [best])  # the upright one is removed as a duplicate
    return candidates


def _detect_again(detector: _Detector, candidates: list[Candidate]) -> list[Candidate]:
    if not candidates:
        return []
    views = [View(c.corners.mean(0), CROP_RATIO * c.side, c.turn) for c in candidates]
    keypoints = decode_single_person(*detector.predict(views)).numpy()
    return [Candidate(view.to_picture(k), view.turn) for view, k in zip(views, keypoints, strict=True)]


def _without_duplicates(candidates: list[Candidate], known: list[Candidate] = ()) -> list[Candidate]:
    """Candidates, best first, without duplicates of better or known ones."""
    kept = []
    for candidate in sorted(candidates, key=lambda c: c.score, reverse=True):
        if not any(_is_part_of(candidate, other) for other in (*known, *kept)):
            kept.append(candidate)
    return kept


def _is_part_of(a: Candidate, b: Candidate) -> bool:
    """Whether half of the visible keypoints of a coincide with those of b, or nearly all lie on the body of b."""
    visible = a.keypoints[:, 2] >= min(0.2, np.median(a.keypoints[:, 2]))
    points = a.keypoints[visible, :2]
    apart = np.linalg.norm(points - b.keypoints[visible, :2], axis=1)
    if (apart < SAME_KEYPOINT * min(a.side, b.side)).mean() >= 0.5:
        return True
    start, end = b.keypoints[SEGMENTS, :2].swapaxes(0, 1)
    bone = end - start
    along = ((points[:, None] - start) * bone).sum(-1) / np.maximum((bone**2).sum(-1), 1e-6)
    apart = np.linalg.norm(points[:, None] - start - along.clip(0, 1)[..., None] * bone, axis=-1).min(1)
    return (apart < ON_BODY * b.side).mean() >= 0.8


def _person(candidate: Candidate, shape: tuple[int, ...]) -> DetectedPerson:
    margin = BOX_MARGIN * candidate.side
    x0, y0 = np.clip(candidate.corners[0] - margin, 0, (shape[1] - 1, shape[0] - 1))
    x1, y1 = np.clip(candidate.corners[1] + margin, 0, (shape[1] - 1, shape[0] - 1))
    return DetectedPerson(np.array((x0, y0, x1 - x0, y1 - y0)), candidate.keypoints, candidate.score, candidate.turn)
