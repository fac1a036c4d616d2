"""Random poses: the library augmented by mirroring, combining, blending, rules and noise.

sampler = PoseSampler()
pose = sampler(np.random.default_rng(7))    # (24, 3) float32 axis-angle, the same on every machine
"""

import zlib

import numpy as np
from scipy.spatial.transform import Rotation

from datasets.poses.kinematics import joint_positions
from datasets.poses.library import PoseLibrary, load_pose_library, mirror, remove_heading
from datasets.poses.rules import ARM, LEG, SPINE, UPPER, J, left_arm, lower_body, spine
from datasets.poses.self_contact import penetration
from utils.skeleton import SMPL_FLIP, SMPL_JOINTS

# Least and greatest axis-angle components (x, y, z) in degrees, left side and middle. 99.6 % of the library's values
# lie inside. Hips and shoulders have wider limits than in the library's clips, knees narrower ones (sideways bending
# comes from broken clips).
_LIMITS = {
    "pelvis": ((-180, 180), (-180, 180), (-180, 180)),
    "?_hip": ((-135, 45), (-50, 85), (-45, 80)),
    "?_knee": ((-8, 155), (-15, 15), (-12, 25)),
    "?_ankle": ((-60, 60), (-50, 40), (-40, 30)),
    "?_foot": ((-35, 45), (-6, 6), (-6, 6)),
    "spine1": ((-35, 45), (-45, 45), (-28, 28)),
    "spine2": ((-30, 50), (-40, 40), (-25, 25)),
    "spine3": ((-22, 50), (-45, 45), (-28, 28)),
    "neck": ((-40, 40), (-45, 45), (-25, 25)),
    "head": ((-50, 30), (-45, 45), (-28, 28)),
    "?_collar": ((-30, 28), (-50, 45), (-20, 45)),
    "?_shoulder": ((-135, 75), (-120, 75), (-110, 85)),
    "?_elbow": ((-75, 60), (-150, 6), (-75, 50)),
    "?_wrist": ((-77, 60), (-85, 90), (-65, 100)),
    "?_hand": ((-20, 20), (-20, 20), (-35, 35)),
}
# Standard deviations of the noise, degrees.
_NOISE = {
    "pelvis": 5, "?_hip": 4, "?_knee": 3, "?_ankle": 5, "?_foot": 4, "spine1": 2, "spine2": 2, "spine3": 2, "neck": 4,
    "head": 5, "?_collar": 2, "?_shoulder": 5, "?_elbow": 5, "?_wrist": 7, "?_hand": 4,
}  # fmt: skip


def _joint_limits() -> np.ndarray:
    """_LIMITS of all joints -> (24, 3, 2) radians."""
    limits = np.zeros((24, 3, 2), np.float32)
    for j, name in enumerate(SMPL_JOINTS):
        rows = np.radians(np.array(_LIMITS[name if name in _LIMITS else f"?{name[1:]}"], np.float32))
        # mirroring negates y and z
        limits[j] = np.stack((rows[0], -rows[1, ::-1], -rows[2, ::-1])) if name.startswith("R_") else rows
    return limits


JOINT_LIMITS = _joint_limits()  # (24, 3, 2) radians: least and greatest axis-angle components
_SIGMA = np.radians([_NOISE.get(name, _NOISE.get(f"?{name[1:]}")) for name in SMPL_JOINTS])[:, None]


def within_limits(poses: np.ndarray) -> np.ndarray:
    """Poses (..., 24, 3) -> the nearest ones inside JOINT_LIMITS."""
    return np.clip(poses, JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1])


def blend(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Interpolate poses (24, 3) joint by joint on the shortest path (slerp): t = 0 is a, t = 1 is b."""
    start = Rotation.from_rotvec(a)
    return (start * Rotation.from_rotvec(t * (start.inv() * Rotation.from_rotvec(b)).as_rotvec())).as_rotvec()


class PoseSampler:
    """Draws poses: `sampler(rng) -> (24, 3)` float32 axis-angle, radians, the root without heading.

    library: default: all files of the repository. split: "train", "val", "test" or None (all); "val" and "test" each
    have one clip of 20. max_penetration: metres by which limbs may enter the body; a deeper pose is drawn again.
    Probabilities: p_blend: two poses are blended; p_upper: upper and lower body come from different poses; p_legs,
    p_arms, p_spine: legs, arms or spine are made by rules (see rules.py) instead.
    """

    def __init__(
        self,
        library: PoseLibrary | None = None,
        split: str | None = None,
        *,
        max_penetration: float = 0.02,
        p_blend: float = 0.2,
        p_upper: float = 0.3,
        p_legs: float = 0.25,
        p_arms: float = 0.4,
        p_spine: float = 0.15,
    ):
        library = library or load_pose_library()
        # By a hash of the name, so that clips stay in their split when others are added; 159 spreads long clips evenly.
        place = np.array([zlib.crc32(f"159 {name}".encode()) % 20 for name in library.names])
        parts = {"test": place == 0, "val": place == 1, "train": place > 1, None: place >= 0}
        owned = parts[split][library.clip]
        self.poses = library.poses[owned].astype(np.float64)
        # A source is weighted by the square root of its size, so that large collections do not dominate.
        sources = np.array([name.split("/")[0] for name in library.names])[library.clip[owned]]
        _, source, sizes = np.unique(sources, return_inverse=True, return_counts=True)
        odds = np.cumsum(1 / np.sqrt(sizes[source]))
        self.odds = odds / odds[-1]
        self.rest_joints = library.rest_joints
        self.max_penetration = max_penetration
        self.p_blend, self.p_upper, self.p_legs = p_blend, p_upper, p_legs
        self.p_arms, self.p_spine = p_arms, p_spine

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        """A pose (24, 3) float32, a function of rng alone."""
        for _ in range(8):
            pose = self._compose(rng)
            if penetration(*joint_positions(pose, self.rest_joints)) <= self.max_penetration:
                break
        else:
            pose = self._from_library(rng)  # too rare to change the distribution
        return pose.astype(np.float32)

    def _from_library(self, rng: np.random.Generator) -> np.ndarray:
        pose = self.poses[np.searchsorted(self.odds, rng.random(), side="right")]
        return within_limits(mirror(pose) if rng.random() < 0.5 else pose)

    def _compose(self, rng: np.random.Generator) -> np.ndarray:
        pose = self._from_library(rng)
        if rng.random() < self.p_blend:
            pose = blend(pose, self._from_library(rng), rng.uniform(0.2, 0.8))
        if rng.random() < self.p_upper:
            pose[UPPER] = self._from_library(rng)[UPPER]
        if rng.random() < self.p_legs:
            root, legs = lower_body(rng)
            swap = rng.random() < 0.5
            pose[0] = root * ((1, -1, -1) if swap else (1, 1, 1))
            for side, other in ("LR", "RL"):
                pose[LEG[side]] = legs[other] * (1, -1, -1) if swap else legs[side]
        if rng.random() < self.p_spine:
            pose[[*SPINE, J("neck"), J("head")]] = spine(rng)
        if rng.random() < self.p_arms:
            which = rng.integers(5)  # left, right, both alike, both, both hanging
            left, right = left_arm(rng, hanging=which == 4), left_arm(rng, hanging=which == 4)
            if which != 1:
                pose[ARM["L"]] = left
            if which != 0:
                pose[ARM["R"]] = (left if which == 2 else right) * (1, -1, -1)
        noise = rng.standard_normal((24, 3)) * _SIGMA * rng.gamma(2, 0.5)
        pose = (Rotation.from_rotvec(pose) * Rotation.from_rotvec(noise)).as_rotvec()
        pose[0] = Rotation.from_matrix(remove_heading(Rotation.from_rotvec(pose[0]).as_matrix())).as_rotvec()
        return within_limits(pose)


def nearest_distances(poses: np.ndarray, others: np.ndarray, rest_joints: np.ndarray) -> np.ndarray:
    """How different poses (N, 24, 3) are from others (M, 24, 3): root mean square joint distance (N,) in metres to the
    nearest of them or of their mirror images, with pelvis and heading aligned."""
    a, b, c = (joint_positions(p, rest_joints)[0].reshape(len(p), -1) for p in (poses, others, mirror(others)))
    both = np.concatenate((b, c))
    squares = (both**2).sum(1)
    nearest = [((row**2).sum() + squares - 2 * both @ row).min() for row in a]
    return np.sqrt(np.maximum(nearest, 0) / len(SMPL_FLIP))
