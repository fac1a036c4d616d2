"""The floor under the people of a photograph: its direction, its distance, and everybody's size.

One photograph gives no sizes: somebody twice as tall and twice as far away looks the same. A common floor ties the
sizes together: whoever is made smaller about the camera by a factor comes nearer, and the feet come up to the floor.

`fit_floor` finds the most probable camera. Its priors: people stand in balance; most of them have about the size
that the network estimates (some, such as children, do not); cameras have a usual height and tilt.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from utils.placement.stance import Stance, balance

USUAL_TILT, TILT_SPREAD, ROLL_SPREAD = np.deg2rad((5.0, 30.0, 7.0))
USUAL_HEIGHT, HEIGHT_SPREAD = 1.5, 0.8  # of the camera above the floor, metres; standard deviation of its logarithm
BALANCE, TRUNK = np.deg2rad((5.0, 15.0))  # standard deviations from the vertical, of straight bodies in captured poses
SIZE_SPREAD = 0.08  # standard deviation of the logarithm of the network's sizes
GIVEN_SPREAD = 0.01  # the same for given heights
INDEPENDENT = 4  # errors of a film's frames are alike: more frames than that count no more
FACTORS, SIZES = (0.4, 1.6), (0.5, 2.4)  # of sizes that a floor may change, and what may come out, metres
NEAREST = 0.05  # metres: lowest points nearer to the camera's height do not determine a size
TOUCHING = 0.05  # metres


class Floor(NamedTuple):
    """A floor, camera frame."""

    up: np.ndarray  # (3,) unit normal
    height: float  # metres: of the camera above it
    scales: np.ndarray  # (P,) by which every person grows about the camera
    touching: np.ndarray  # (P,) bool: whether the person's lowest point is then on the floor

    @property
    def tilt(self) -> float:
        """Degrees by which the camera looks down."""
        return math.degrees(math.asin(np.clip(-self.up[2], -1, 1)))

    @property
    def roll(self) -> float:
        """Degrees by which the vertical leans to the right in the picture."""
        return math.degrees(math.atan2(self.up[0], -self.up[1]))


def fit_floor(
    people: list[list[Stance]],
    sizes: np.ndarray,
    heights: tuple[float, ...] = (),
    tilt: float | None = None,
    same_floor: bool = True,
) -> Floor:
    """The floor under P people, each with one or more pictures by the same camera.

    sizes (P,): standing heights of the people's bodies, metres. heights: known ones, of everybody, or of the first
    person, who then gives the scale of all. tilt: degrees by which the camera looks down, estimated by default.
    same_floor: choose the sizes that are not known so that everybody touches the floor; else all keep their sizes.
    """
    scales = np.ones(len(people))
    known = len(heights) == len(people)
    if known:
        scales = np.array(heights) / sizes
        people = [[one.scaled(k) for one in person] for person, k in zip(people, scales, strict=True)]
    fixed = None if tilt is None else math.radians(tilt)
    together = same_floor and len(people) > 1
    crowd = _Crowd(people)
    up, height = _most_probable(crowd, fixed, together, GIVEN_SPREAD if known else SIZE_SPREAD)
    below = crowd.below(up)
    if together and not known:
        factors = height / np.where(below == 0, np.nan, below)
        fits = (factors > FACTORS[0]) & (factors < FACTORS[1])
        fits &= (sizes * factors > SIZES[0]) & (sizes * factors < SIZES[1])
        scales = np.where(fits, factors, 1.0)
        below = below * scales
    if heights and not known:
        zoom = heights[0] / (sizes[0] * scales[0])
        scales, below, height = zoom * scales, zoom * below, zoom * height
    return Floor(up, height, scales, np.abs(below - height) < TOUCHING)


class _Crowd:
    """Stances of several people as arrays."""

    def __init__(self, people: list[list[Stance]]):
        stances = [one for person in people for one in person]
        self.first = np.cumsum([0, *map(len, people)])  # of every person's stances
        self.centres, self.feet, self.trunks = (
            np.stack([getattr(one, name) for one in stances]) for name in ("centre", "feet", "trunk")
        )
        self.balance_spreads = BALANCE * np.array([one.uncertainty for one in stances])
        self.weights = np.concatenate([np.full(n, math.sqrt(min(n, INDEPENDENT) / n)) for n in map(len, people)])
        self.outline = np.concatenate([one.outline for one in stances])
        self.outlines = np.cumsum([0, *(len(one.outline) for one in stances[:-1])])  # first points

    def below(self, up: np.ndarray) -> np.ndarray:
        """(P,) metres by which the lowest points are below the camera, in the median over the pictures."""
        lowest = np.minimum.reduceat(self.outline @ up, self.outlines)
        return np.array([np.median(-lowest[a:b]) for a, b in itertools.pairwise(self.first)])

    def leaning(self, up: np.ndarray) -> np.ndarray:
        """How far bodies are from upright, in standard deviations."""
        directions = (balance(self.centres, self.feet, up), self.balance_spreads), (self.trunks, TRUNK)
        parts = [_soften((found - up) / np.reshape(spread, (-1, 1)), 4) for found, spread in directions]
        return np.concatenate([self.weights[:, None] * part for part in parts]).ravel()


def _most_probable(crowd: _Crowd, tilt: float | None, together: bool, spread: float) -> tuple[np.ndarray, float]:
    """-> up (3,), height of the camera above the floor. tilt: radians, if it is known. together: the people are on one
    floor, and `spread` is the standard deviation of the logarithms of their sizes."""

    def errors(parameters: np.ndarray) -> np.ndarray:
        pitch, roll = parameters[:2] if tilt is None else (tilt, parameters[0])
        up = _up(pitch, roll)
        parts = [(roll / ROLL_SPREAD, (pitch - USUAL_TILT) / TILT_SPREAD), crowd.leaning(up)]
        if together:
            sizes = parameters[-1] - np.log(np.maximum(crowd.below(up), NEAREST))
            parts.append(_soften(sizes[:, None] / spread, 1)[:, 0])
            parts.append([(parameters[-1] - math.log(USUAL_HEIGHT)) / HEIGHT_SPREAD])
        return np.concatenate(parts)

    fits = []
    for start in (0.0, 0.3, 0.8) if tilt is None else (tilt,):
        below = crowd.below(_up(start, 0.0))
        # the floor of most people, or that of some if the others have another size
        heights = np.quantile(np.maximum(below, NEAREST), (0.1, 0.5, 0.9)) if together else (1.0,)
        for height in heights:
            first = ([start] if tilt is None else []) + [0.0] + ([math.log(height)] if together else [])
            fits.append(least_squares(errors, first, x_scale=0.1))
    best = min(fits, key=lambda fit: fit.cost).x
    up = _up(*(best[:2] if tilt is None else (tilt, best[0])))
    return up, float(math.exp(best[-1]) if together else np.median(crowd.below(up)))


def _up(tilt: float, roll: float) -> np.ndarray:
    """(3,) the vertical in the frame of a camera that looks down by tilt and is turned by roll, radians."""
    return np.array((math.sin(roll) * math.cos(tilt), -math.cos(roll) * math.cos(tilt), -math.sin(tilt)))


def _soften(errors: np.ndarray, freedom: float) -> np.ndarray:
    """Error vectors (N, D) in standard deviations -> ones with Student's t as squares: outliers cost less."""
    squares = np.maximum((errors**2).sum(1, keepdims=True), 1e-12)
    return errors * np.sqrt(freedom * np.log1p(squares / freedom) / squares)
