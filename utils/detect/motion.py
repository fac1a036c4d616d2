"""How one person moves: the estimates of single frames, gaps filled, jitter taken out, all in seconds."""

import warnings
from bisect import bisect_left
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from utils.detect.facing import consistent

FILL = 2.0  # seconds of a gap that is filled; in longer ones the motion is unknown
DEPTH = 3.0  # the scale, whose reciprocal is the depth, is smoothed over so many times the width
REACH = 3.0  # widths of the Gaussian beyond which frames have no weight


@dataclass
class Track:
    """One person, in order of frames. rotmat, betas and weak are None where the body is not estimated yet."""

    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)  # (4,) x, y, width, height, pixels
    keypoints: list[np.ndarray] = field(default_factory=list)  # (17, 3) COCO, pixels and confidence
    colours: list[np.ndarray] = field(default_factory=list)  # (4, 3) utils.detect.appearance
    rotmat: list[np.ndarray] = field(default_factory=list)  # (24, 3, 3)
    betas: list[np.ndarray] = field(default_factory=list)  # (10,)
    weak: list[np.ndarray] = field(default_factory=list)  # (3,) utils.camera.WeakPerspective of the whole picture

    @cached_property
    def clothes(self) -> np.ndarray:
        """(4, 3) colours over all frames; nan for parts that were never visible."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of parts that were never visible
            return np.nanmedian(self.colours, axis=0)

    def joined(self, other: "Track") -> "Track":
        """Both in one; for frames that both have, this one's, unless only the other one has an estimate."""
        result = Track()
        rows = {frame: (other, i) for i, frame in enumerate(other.frames)}
        for i, frame in enumerate(self.frames):
            if frame not in rows or self.rotmat[i] is not None or other.rotmat[rows[frame][1]] is None:
                rows[frame] = (self, i)
        for frame in sorted(rows):
            track, i = rows[frame]
            result.add(**{column.name: getattr(track, column.name)[i] for column in fields(track)})
        return result

    def smooth(self, times: np.ndarray, seconds: float) -> "SmoothTrack":
        """Fill the gaps, take out the jitter, give one shape to all frames. times (N,): of the film's frames, seconds.

        seconds: standard deviation of the Gaussian, see `smooth_values`; 0: estimates stay as they are. Frames in which
        the body faces another way than before and after count as gaps. A one per cent error of the scale is hardly
        visible in the picture, but moves the body by centimetres along the optical axis: it is smoothed more.
        """
        known = times[self.frames]
        frames = self._without_gaps(known)
        rotmat, weak = np.stack(self.rotmat).astype(np.float64), np.stack(self.weak).astype(np.float64)
        weak[:, 0] = np.log(np.maximum(weak[:, 0], 1e-6))
        now = times[frames]
        keep = consistent(rotmat[:, 0], known) if seconds > 0 else np.ones(len(known), bool)
        rotmat = interpolate_rotations(rotmat[keep], known[keep], now)
        weak = np.stack([np.interp(now, known, column) for column in weak.T], axis=1)
        scale = np.exp(smooth_values(weak[:, :1], now, DEPTH * seconds))
        weak = np.concatenate((scale, smooth_values(weak[:, 1:], now, seconds)), axis=1)
        return SmoothTrack(
            frames=frames,
            times=now,
            observed=np.isin(frames, self.frames),
            rotmat=smooth_rotations(rotmat, now, seconds),
            betas=np.median(self.betas, axis=0),
            weak=weak,
        )

    def box_in(self, frame: int) -> np.ndarray | None:
        """The box in a frame, None if the person is not visible there."""
        i = bisect_left(self.frames, frame)
        return self.boxes[i] if i < len(self.frames) and self.frames[i] == frame else None

    def set(self, frame: int, **columns):
        """Replace values of a frame that the track has."""
        i = bisect_left(self.frames, frame)
        for name, value in columns.items():
            getattr(self, name)[i] = value

    def extend(self, other: "Track"):
        """Frames more, all after the last one."""
        for column in fields(self):
            getattr(self, column.name).extend(getattr(other, column.name))

    def add(self, **columns):
        """One frame more: a value for every list."""
        for column in fields(self):
            getattr(self, column.name).append(columns[column.name])

    def _without_gaps(self, known: np.ndarray) -> np.ndarray:
        """Numbers of the frames that the track has or fills; known: times of those that it has."""
        pairs = zip(self.frames[:-1], self.frames[1:], np.diff(known), strict=True)
        filled = [np.arange(a, b if gap <= FILL else a + 1) for a, b, gap in pairs]
        return np.concatenate([*filled, self.frames[-1:]]).astype(int)


@dataclass(frozen=True)
class SmoothTrack:
    """One person in T frames, in which gaps are longer than FILL."""

    frames: np.ndarray  # (T,) numbers of frames, increasing
    times: np.ndarray  # (T,) seconds since the first frame of the film
    observed: np.ndarray  # (T,) bool; False where the body is filled in between others
    rotmat: np.ndarray  # (T, 24, 3, 3)
    betas: np.ndarray  # (10,)
    weak: np.ndarray  # (T, 3) scale, cx, cy


def interpolate_rotations(rotmat: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """rotmat (T, J, 3, 3) at increasing times (T,) -> (N, J, 3, 3) at `wanted` (N,); beyond the ends the nearest."""
    if len(times) == 1:
        return np.repeat(rotmat, len(wanted), axis=0)
    wanted = np.clip(wanted, times[0], times[-1])
    turns = [Slerp(times, Rotation.from_matrix(joint))(wanted) for joint in rotmat.swapaxes(0, 1)]
    return np.stack([turn.as_matrix() for turn in turns], axis=1)


def smooth_rotations(rotmat: np.ndarray, times: np.ndarray, seconds: float) -> np.ndarray:
    """rotmat (T, ..., 3, 3) at `times` (T,) -> the same, smoothed as `smooth_values`.

    A mean is the rotation nearest to the mean matrix (Moakher, SIAM J. Matrix Anal. 2002).
    """
    left, _, right = np.linalg.svd(smooth_values(rotmat, times, seconds))
    left[..., -1] *= np.sign(np.linalg.det(left @ right))[..., None]  # a rotation, not a mirror image
    return left @ right


def smooth_values(values: np.ndarray, times: np.ndarray, seconds: float) -> np.ndarray:
    """values (T, ...) at increasing `times` (T,) -> the same, each on a line fitted to its neighbours in time, weighted
    by a Gaussian with a standard deviation of `seconds` (local linear regression; Cleveland, JASA 1979).

    A line, not a mean: steady motion stays as it is at the ends and between unevenly spaced frames.
    """
    if seconds <= 0 or len(times) < 2:
        return values
    flat = values.reshape(len(times), -1)
    reach = np.searchsorted(times, times + REACH * seconds, side="right") - np.arange(len(times))
    offsets = range(1 - reach.max(), reach.max())
    sums, total, slope_total = np.zeros((3, len(times))), np.zeros_like(flat), np.zeros_like(flat)
    for offset in offsets:
        own = np.arange(max(0, -offset), min(len(times), len(times) - offset))
        apart = (times[own + offset] - times[own]) / seconds
        weight = np.where(np.abs(apart) <= REACH, np.exp(-(apart**2) / 2), 0)
        sums[:, own] += weight, weight * apart, weight * apart**2
        total[own] += weight[:, None] * flat[own + offset]
        slope_total[own] += (weight * apart)[:, None] * flat[own + offset]
    spread = sums[0] * sums[2] - sums[1] ** 2
    line = spread > 1e-6 * sums[0] ** 2  # else all weight is at one time
    spread = np.where(line, spread, 1)
    a = np.where(line, sums[2] / spread, 1 / sums[0])[:, None]
    b = np.where(line, -sums[1] / spread, 0)[:, None]
    return (a * total + b * slope_total).reshape(values.shape)
