"""What a posed body tells about the direction of gravity and about the floor.

Somebody who stands is in balance: the centre of mass is above the feet, in nearly every pose. The share of each body
segment in the mass, and where its own centre lies, are those of Winter, Biomechanics and Motor Control of Human
Movement (2009), table 4.1.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from utils.skeleton import NUM_JOINTS, SMPL_JOINTS

_SIDES = [
    ("{}_wrist", "{}_hand", 0.006, 0.506),
    ("{}_elbow", "{}_wrist", 0.016, 0.430),
    ("{}_shoulder", "{}_elbow", 0.028, 0.436),
    ("{}_ankle", "{}_foot", 0.0145, 0.5),
    ("{}_knee", "{}_ankle", 0.0465, 0.433),
    ("{}_hip", "{}_knee", 0.1, 0.433),
]
# first joint, second joint, share of the mass, place of the centre between them
_SEGMENTS = [(a.format(side), b.format(side), *rest) for side in "LR" for a, b, *rest in _SIDES]
_SEGMENTS += [("neck", "head", 0.081, 1.0), ("pelvis", "neck", 0.497, 0.5)]


def _mass_of_joints() -> np.ndarray:
    mass = np.zeros(NUM_JOINTS)
    for first, second, share, place in _SEGMENTS:
        mass[SMPL_JOINTS.index(first)] += share * (1 - place)
        mass[SMPL_JOINTS.index(second)] += share * place
    return mass


STRAIGHT = 1.05  # distance of the centre of mass from the feet of somebody who stands straight, in lengths of a leg
FOOT_BLEND = 0.2  # metres: a foot that much higher than the other one carries a third as much
MASS = _mass_of_joints()  # (24,) sums to 1: MASS @ joints is the centre of mass


class Stance(NamedTuple):
    """A body in one picture; all in the camera frame, metres."""

    outline: np.ndarray  # (N, 3) points of its convex hull: the lowest one is among them in every direction
    centre: np.ndarray  # (3,) of mass
    feet: np.ndarray  # (2, 3) middle of each foot
    trunk: np.ndarray  # (3,) unit vector from the pelvis to the neck
    legs: float  # length of a straight leg from hip to ankle

    def scaled(self, factor: float) -> "Stance":
        """The body scaled about the centre of the camera."""
        sizes = {name: factor * getattr(self, name) for name in ("outline", "centre", "feet", "legs")}
        return self._replace(**sizes)

    @property
    def uncertainty(self) -> float:
        """How much less than for a straight body the balance says: 1, growing with bent knees and hips."""
        stretch = np.linalg.norm(self.centre - self.feet.mean(0)) / self.legs
        return 1 + max(0.0, STRAIGHT - float(stretch)) / 0.1


def balance(centres: np.ndarray, feet: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 3) from the foot that carries the body, or from between both, to the centre of mass.

    centres (N, 3) and feet (N, 2, 3): of N stances; up (3,): unit vector.
    """
    heights = feet @ up
    shares = np.exp((heights.min(1, keepdims=True) - heights) / FOOT_BLEND)
    vectors = centres - (shares[..., None] * feet).sum(1) / shares.sum(1, keepdims=True)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def stance(vertices: np.ndarray, joints: np.ndarray) -> Stance:
    """vertices (V, 3) and SMPL joints (24, 3), camera frame, metres."""
    vertices, joints = vertices.astype(np.float64), joints.astype(np.float64)
    try:
        outline = vertices[ConvexHull(vertices).vertices]
    except QhullError:  # flat: no body
        outline = vertices
    at = {name: joints[i] for i, name in enumerate(SMPL_JOINTS)}
    feet = np.stack([(at[f"{side}_ankle"] + at[f"{side}_foot"]) / 2 for side in "LR"])
    chains = [[at[f"{side}_{part}"] for part in ("hip", "knee", "ankle")] for side in "LR"]
    legs = np.mean([np.linalg.norm(np.diff(chain, axis=0), axis=1).sum() for chain in chains])
    trunk = at["neck"] - at["pelvis"]
    return Stance(outline, MASS @ joints, feet, trunk / np.linalg.norm(trunk), float(legs))
