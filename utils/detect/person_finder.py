"""People in a picture of any size, found with a keypoint network alone: look, crop, look again.

The network (models.movenet.MoveNet) sees a square, and says where people are centred in it and where their keypoints
are. It looks at the whole picture first, then, if that is not enough, at tiles in which smaller people come into reach.
Every candidate is cropped and read again until the crop is its own, turned if it stands on its head.
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
MIN_CENTRE = 0.1  # probability of a centre worth a second look
CENTRES_PER_VIEW = 6
MIN_GLIMPSE = 0.2  # score worth a second look; people have 0.35 and more at the first
MIN_SCORE = 0.43  # photographs of people have 0.48 and more, 95 of 100 without people 0.36 and less
MIN_SIDE = 24  # pixels; smaller people are not worth reconstructing, and clutter often looks like them
PLAIN_TO_SEE = 9  # keypoints that must be seen well: as many as an upper body has
CROP_RATIO = 1.45  # side of a crop in longer sides of the box of keypoints
PASSES = 2
TURN_BELOW, TURN_GAIN = 0.75, 0.08  # who scores less is looked at from other sides; by how much that has to be better
SAME_KEYPOINT, ON_BODY = 0.1, 0.06  # distances, in longer sides, below which keypoints coincide, or lie on a body
BOX_MARGIN = 0.1  # what flesh, hair and shoes add around the keypoints, in longer sides
# pairs of COCO keypoints; the diagonals stand for the trunk
SEGMENTS = np.array((
    (5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16),
    (5, 6), (11, 12), (5, 11), (6, 12), (5, 12), (6, 11), (0, 5), (0, 6), (3, 4),
))  # fmt: skip


class DetectedPerson(NamedTuple):
    """A person in a picture, in its pixels."""

    bbox: np.ndarray  # (4,) x, y, width, height
    keypoints: np.ndarray  # (17, 3) x, y, confidence; COCO order
    score: float  # confidence in [0, 1]


class View(NamedTuple):
    """A square of the picture, as the network sees it."""

    centre: np.ndarray  # (2,) pixels
    side: float  # pixels
    turn: float = 0.0  # degrees by which the picture is turned, counter-clockwise

    def matrix(self) -> np.ndarray:
        """Affine map (2, 3), pixels of the picture -> pixels of the network's input."""
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
        return float(np.sort(self.keypoints[:, 2])[-PLAIN_TO_SEE:].mean())

    @property
    def corners(self) -> np.ndarray:
        """(2, 2) smallest and largest x, y of the keypoints that are to be seen."""
        seen = self.keypoints[:, 2] > 0.1
        points = self.keypoints[seen if seen.sum() >= 4 else slice(None), :2]
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
    """The people in an image (H, W, 3) uint8 RGB, the most prominent first, at most `max_people`; [] if there are none.

    network: (B, 3, 256, 256) ImageNet-normalised RGB on `device` -> models.movenet.PoseMaps. A person who is plain to
    see takes it three looks; an empty picture, or asking for more people than there are, thirty to sixty, unless
    `thorough` is off: then small people, and those on their heads, are not looked for.
    """
    detector = _Detector(image, network, device)
    people = []
    for views in islice(_searches(*image.shape[:2]), None if thorough else 1):
        if people and views[0].turn:
            continue  # where somebody stands upright, the picture does not lie on its side
        candidates = _without_doubles(_propose(detector, views), known=people)
        found = _refine(detector, candidates[: 2 * max_people + 4], turn=thorough and not people)
        # people found earlier keep their place: the wider view knows better where a body ends
        people += _without_doubles([c for c in found if c.score >= MIN_SCORE and c.side >= MIN_SIDE], known=people)
        if len(people) >= max_people:
            break
    people.sort(key=lambda p: p.score * np.sqrt(p.side), reverse=True)
    return [_person(p, image.shape) for p in people[:max_people]]


def follow_people(
    image: np.ndarray,
    network: Callable[[Tensor], tuple[Tensor, ...]],
    keypoints: list[np.ndarray],
    device: torch.device | str = "cpu",
) -> list[DetectedPerson | None]:
    """People of an earlier frame, by their keypoints (17, 3) in it, in this one, with one look each; None where one is
    lost, or has become somebody earlier in the list."""
    candidates = _look_again(_Detector(image, network, device), [Candidate(points) for points in keypoints])
    kept = []
    for candidate in candidates:
        good = candidate.score >= MIN_SCORE and candidate.side >= MIN_SIDE
        double = any(other is not None and _is_part_of(candidate, other) for other in kept)
        kept.append(candidate if good and not double else None)
    return [candidate and _person(candidate, image.shape) for candidate in kept]


def box_keypoints(bbox: tuple[float, float, float, float]) -> np.ndarray:
    """A box (x, y, width, height) as keypoints (17, 3) to follow: all lie on two of its corners."""
    x, y, width, height = bbox
    return np.array([(x, y, 1), (x + width, y + height, 1)])[np.arange(17) % 2]


class _Detector:
    """What the network sees in views of one picture."""

    def __init__(self, image: np.ndarray, network: Callable, device: torch.device | str):
        self.network, self.device = network, device
        self.pyramid = [image]  # each half as large, so that small crops of large pictures do not alias
        while max(self.pyramid[-1].shape[:2]) >= 2 * INPUT_SIZE:
            height, width = (-(-n // 2) for n in self.pyramid[-1].shape[:2])
            self.pyramid.append(cv2.resize(self.pyramid[-1], (width, height), interpolation=cv2.INTER_AREA))

    @torch.inference_mode()
    def look(self, views: list[View]) -> list[Tensor]:
        """-> PoseMaps of the views, on the CPU."""
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
        # the first pixel of a level is centred on pixel (factor - 1) / 2 of the picture
        matrix = np.column_stack((matrix[:, :2] * factor, matrix[:, :2] @ ((factor - 1) / 2) + matrix[:, 2]))
        return cv2.warpAffine(self.pyramid[level], matrix, (INPUT_SIZE, INPUT_SIZE))


def _searches(height: int, width: int) -> Iterator[list[View]]:
    """Views to look at, from the likely to the laborious: the whole picture, turned, in tiles."""
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
    """First and last middle of the tiles that cover `size` pixels."""
    return (min(tile, size) / 2, size - min(tile, size) / 2)


def _propose(detector: _Detector, views: list[View]) -> list[Candidate]:
    """Whoever might be centred somewhere in the views."""
    heatmaps, centre, regression, offsets = detector.look(views)
    is_peak = centre == F.max_pool2d(centre[:, None], 5, 1, 2)[:, 0]
    scores, cells = torch.where(is_peak, centre, 0).flatten(1).topk(CENTRES_PER_VIEW)
    keypoints = decode_at(heatmaps, regression, offsets, cells).numpy()
    candidates = [
        Candidate(view.to_picture(keypoints[v, c]), view.turn)
        for v, view in enumerate(views)
        for c in range(CENTRES_PER_VIEW)
        if scores[v, c] >= MIN_CENTRE
    ]
    return [c for c in candidates if c.score >= MIN_GLIMPSE]


def _refine(detector: _Detector, candidates: list[Candidate], turn: bool) -> list[Candidate]:
    """Look at each candidate in a crop of its own, and, if `turn`, from other sides where it is not plain to see."""
    for _ in range(PASSES):
        candidates = _look_again(detector, candidates)
    doubtful = [c for c in candidates if turn and MIN_GLIMPSE <= c.score < TURN_BELOW]
    turned = [_look_again(detector, [c._replace(turn=c.turn + angle) for c in doubtful]) for angle in (90, 180, 270)]
    for candidate, *others in zip(doubtful, *turned, strict=True):
        best = max(others, key=lambda c: c.score)
        if best.score > candidate.score + TURN_GAIN:
            candidates += _look_again(detector, [best])  # the upright reading scores less and goes as a double
    return candidates


def _look_again(detector: _Detector, candidates: list[Candidate]) -> list[Candidate]:
    if not candidates:
        return []
    views = [View(c.corners.mean(0), CROP_RATIO * c.side, c.turn) for c in candidates]
    keypoints = decode_single_person(*detector.look(views)).numpy()
    return [Candidate(view.to_picture(k), view.turn) for view, k in zip(views, keypoints, strict=True)]


def _without_doubles(candidates: list[Candidate], known: list[Candidate] = ()) -> list[Candidate]:
    """Candidates, best first, less those who are a better or known one, or are made of its limbs."""
    kept = []
    for candidate in sorted(candidates, key=lambda c: c.score, reverse=True):
        if not any(_is_part_of(candidate, other) for other in (*known, *kept)):
            kept.append(candidate)
    return kept


def _is_part_of(a: Candidate, b: Candidate) -> bool:
    """Whether half of a's visible keypoints are b's, or nearly all lie on b's body, whatever they are taken for."""
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
    return DetectedPerson(np.array((x0, y0, x1 - x0, y1 - y0)), candidate.keypoints, candidate.score)
