"""The same people from frame to frame: who is where, and how they move once the jitter is taken out."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from utils.detect.person_finder import DetectedPerson, box_keypoints, find_people, follow_people

PATIENCE = 0.5  # seconds that a person may be out of sight and still be the same one
LOOK_AROUND = 1.0  # seconds between searches for people who were not there before
SAME = 0.3  # overlap (intersection over union) of boxes above which two are of one person
SHORTEST = 0.2  # seconds; tracks that are shorter are mistakes, unless the film is


class Tracker:
    """Follows up to `max_people` through the frames of a film, each of which it is shown once, in order.

    network: as for `find_people`. rate: frames per second. boxes: where the people are in the first frame, each
    x, y, width, height in pixels; by default they are searched for.
    """

    def __init__(
        self,
        network: Callable,
        rate: float,
        max_people: int = 1,
        device: torch.device | str = "cpu",
        boxes: list[tuple[float, float, float, float]] = (),
    ):
        self.network, self.device = network, device
        self.max_people = max(max_people, len(boxes))
        self.patience, self.interval = max(1, round(PATIENCE * rate)), max(1, round(LOOK_AROUND * rate))
        self.frame, self.people = -1, len(boxes)
        self.keypoints = {i: box_keypoints(box) for i, box in enumerate(boxes)}  # of those who are not given up
        self.unseen = dict.fromkeys(self.keypoints, 0)  # frames since they were seen last

    def __call__(self, image: np.ndarray) -> dict[int, DetectedPerson]:
        """The next frame (H, W, 3) uint8 RGB -> who is seen in it, by number."""
        self.frame += 1
        followed = follow_people(image, self.network, list(self.keypoints.values()), self.device)
        seen = {i: person for i, person in zip(self.keypoints, followed, strict=True) if person is not None}
        if self.frame % self.interval == 0 and len(seen) < self.max_people:
            thorough = self.frame == 0
            for person in find_people(image, self.network, self.max_people, self.device, thorough):
                number = self._number(person, seen)
                if number is not None and len(seen) < self.max_people:
                    seen[number] = person
        self.unseen = {i: 0 if i in seen else n + 1 for i, n in (self.unseen | dict.fromkeys(seen, 0)).items()}
        self.unseen = {i: n for i, n in self.unseen.items() if n <= self.patience}
        places = self.keypoints | {i: person.keypoints for i, person in seen.items()}
        self.keypoints = {i: places[i] for i in self.unseen}
        return seen

    def _number(self, person: DetectedPerson, seen: dict[int, DetectedPerson]) -> int | None:
        """The number of a person found anew: an old one where somebody was lost there; None if already seen."""
        if any(overlap(person.bbox, other.bbox) > SAME for other in seen.values()):
            return None
        for number, keypoints in self.keypoints.items():
            low, high = keypoints[:, :2].min(0), keypoints[:, :2].max(0)
            if number not in seen and overlap(person.bbox, np.concatenate((low, high - low))) > SAME:
                return number
        self.people += 1
        return self.people - 1


@dataclass
class Track:
    """What the network said of one person, frame by frame."""

    frames: list[int] = field(default_factory=list)
    rotmat: list[np.ndarray] = field(default_factory=list)  # (24, 3, 3)
    betas: list[np.ndarray] = field(default_factory=list)  # (10,)
    weak: list[np.ndarray] = field(default_factory=list)  # (3,) utils.camera.WeakPerspective of the whole picture

    def smooth(self, rate: float, seconds: float) -> "SmoothTrack":
        """Fill the gaps, take out the jitter: a Gaussian of that standard deviation, one shape for all frames."""
        frames = np.arange(self.frames[0], self.frames[-1] + 1)
        rotmat, weak = np.stack(self.rotmat).astype(np.float64), np.stack(self.weak).astype(np.float64)
        if len(self.frames) > 1:
            turns = [Slerp(self.frames, Rotation.from_matrix(joint))(frames) for joint in rotmat.swapaxes(0, 1)]
            rotmat = np.stack([turn.as_matrix() for turn in turns], axis=1)
            weak = np.stack([np.interp(frames, self.frames, column) for column in weak.T], axis=1)
        return SmoothTrack(
            frames=frames,
            seen=np.isin(frames, self.frames),
            rotmat=smooth_rotations(rotmat, seconds * rate),
            betas=np.median(self.betas, axis=0),
            weak=_gaussian(weak, seconds * rate),
        )


@dataclass(frozen=True)
class SmoothTrack:
    """One person from first to last frame (T of them), without gaps."""

    frames: np.ndarray  # (T,) numbers of consecutive frames
    seen: np.ndarray  # (T,) bool; False where the body is filled in between others
    rotmat: np.ndarray  # (T, 24, 3, 3)
    betas: np.ndarray  # (10,)
    weak: np.ndarray  # (T, 3) scale, cx, cy


def long_enough(tracks: dict[int, Track], rate: float, num_frames: int) -> dict[int, Track]:
    """The tracks that are not mistakes, by the number of frames in which the person was seen."""
    least = min(SHORTEST * rate, num_frames)
    return {i: track for i, track in tracks.items() if len(track.frames) >= least}


def smooth_rotations(rotmat: np.ndarray, sigma: float) -> np.ndarray:
    """rotmat (T, ..., 3, 3) -> the same, each the mean of its neighbours under a Gaussian of `sigma` frames.

    The mean is the rotation nearest to the mean matrix (Moakher, SIAM J. Matrix Anal. 2002).
    """
    left, _, right = np.linalg.svd(_gaussian(rotmat, sigma))
    left[..., -1] *= np.sign(np.linalg.det(left @ right))[..., None]  # a rotation, not a mirror image
    return left @ right


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    inside = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = inside.clip(0).prod()
    return float(shared / max(a[2:].prod() + b[2:].prod() - shared, 1e-9))


def _gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(values, sigma, axis=0, mode="nearest") if sigma > 0 else values
