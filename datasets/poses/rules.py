"""Poses made by rules: everyday poses that are missing in a small motion library.

Angles are drawn in degrees about SMPL's axes of the left side (right sides are mirrored): hips and spine flex about x
(hips forward for negative x), knees for positive x, legs spread for positive z, arms rise for positive z and reach
forward for negative y, elbows flex for negative y.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from utils.skeleton import SMPL_JOINTS

J = SMPL_JOINTS.index
ARM = {side: [J(f"{side}_{n}") for n in ("collar", "shoulder", "elbow", "wrist", "hand")] for side in "LR"}
LEG = {side: [J(f"{side}_{n}") for n in ("hip", "knee", "ankle", "foot")] for side in "LR"}
SPINE = [J(name) for name in ("spine1", "spine2", "spine3")]
UPPER = SPINE + [J("neck"), J("head")] + ARM["L"] + ARM["R"]

# Odds; ranges in degrees of the elevation (90 is up) and azimuth (0 is sideways, 90 forward, more is across the chest)
# of the upper arm and of the flexion of the elbow.
_ARMS = (
    (2, (-85, -65), (-30, 60), (2, 45)),  # hanging
    (2, (-80, -45), (-30, 100), (30, 120)),  # hands on hips, in pockets, in front of the belly
    (2, (-75, -20), (10, 110), (40, 140)),  # carrying, typing, eating, hand at the head
    (2, (-30, 40), (60, 120), (0, 100)),  # reaching forward and across
    (2, (-40, 40), (-20, 60), (0, 110)),  # reaching sideways
    (2, (30, 88), (0, 110), (0, 120)),  # overhead
    (1, (-75, -35), (-70, -20), (0, 100)),  # behind the back
)
_ARM_ODDS = np.cumsum([odds for odds, *_ in _ARMS]) / sum(odds for odds, *_ in _ARMS)


def left_arm(rng: np.random.Generator, hanging: bool = False) -> np.ndarray:
    """Axis-angles (5, 3), radians, of collar, shoulder, elbow, wrist and hand of a left arm; hanging: a relaxed arm."""
    _, *ranges = _ARMS[0 if hanging else np.searchsorted(_ARM_ODDS, rng.random())]
    elevation, azimuth, flexion = (rng.uniform(*np.radians(r)) for r in ranges)
    lift = (0.25 if elevation > 0 else 0.08) * elevation
    forward = 0.15 * (azimuth if elevation > -0.7 else 0.3 * azimuth) * np.cos(elevation)
    collar = Rotation.from_euler("zy", (lift, -forward))
    arm = np.array((np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)))
    arm = collar.inv().apply(arm)
    # The smallest rotation from the T-pose gives a neutral twist; raised arms twist outwards, hanging ones inwards. The
    # twist is hardly visible with a straight elbow; with a bent one it determines the position of the hand.
    axis = np.cross((1, 0, 0), arm)
    angle = np.arctan2(np.linalg.norm(axis), arm[0])
    swing = Rotation.from_rotvec(axis / max(np.linalg.norm(axis), 1e-9) * angle)
    raised = (np.sin(elevation) + 1) / 2
    behind = 30 * (azimuth < 0) * (1 - raised)
    twist = np.radians(rng.uniform(behind - 40 - 50 * raised, behind + 65 - 40 * raised))
    shoulder = swing * Rotation.from_rotvec((twist, 0, 0))
    pronation = np.radians(rng.normal(0, 25))
    elbow = Rotation.from_rotvec((0, -flexion, 0)) * Rotation.from_rotvec((pronation / 2, 0, 0))
    wrist = np.radians(rng.normal(0, (5, 15, 20)))
    wrist[0] += pronation / 2
    rows = [part.as_rotvec() for part in (collar, shoulder, elbow)]
    return np.stack([*rows, wrist, np.radians(rng.normal(0, (4, 4, 12)))])


def _leg(rng: np.random.Generator, *ranges: tuple[float, float]) -> np.ndarray:
    """A left leg (4, 3), radians, from ranges in degrees: hip flexion, spread, outward rotation, knee flexion."""
    flex, spread, outward, knee = (np.radians(rng.uniform(*limits)) for limits in ranges)
    hip = Rotation.from_euler("XZY", (-flex, spread, outward)).as_rotvec()
    ankle = np.radians((rng.uniform(-15, 30), *rng.normal(0, 6, 2)))
    return np.array((hip, (knee, 0, 0), ankle, (0, 0, 0)))


def _flat_foot(root: np.ndarray, leg: np.ndarray) -> float:
    """Ankle flexion, radians, that puts the sole on the ground, within the range of ankles; root (3,), leg (4, 3)."""
    shin = (Rotation.from_rotvec(root) * Rotation.from_rotvec(leg[0]) * Rotation.from_rotvec(leg[1])).as_matrix()
    return np.clip(np.arctan2(shin[1, 2], shin[1, 1]), np.radians(-30), np.radians(40))


# Odds; forward lean of the pelvis in degrees (None: lying); soles flat on the ground; per leg: see `_leg`.
_LEGS = {
    "stand": (3, (-8, 12), True, ((-12, 15), (-4, 14), (-10, 20), (0, 25)), None),
    "lunge": (2, (-5, 35), True, ((30, 95), (-5, 15), (-5, 20), (20, 100)), ((-25, 5), (-5, 15), (-10, 20), (5, 80))),
    "run": (2, (0, 25), False, ((20, 90), (-4, 8), (-5, 10), (30, 120)), ((-35, 5), (-4, 8), (-5, 10), (5, 100))),
    "kick": (1, (-25, 15), True, ((30, 115), (-5, 35), (-10, 25), (0, 90)), ((-10, 15), (-3, 10), (-10, 15), (0, 25))),
    "side leg": (1, (-10, 15), True, ((-5, 40), (25, 70), (0, 40), (0, 100)), ((-9, 9), (-3, 9), (-9, 15), (0, 20))),
    "straddle": (1, (-5, 30), True, ((-5, 50), (18, 45), (0, 25), (0, 90)), None),
    "bend": (2, (20, 80), True, ((30, 95), (-3, 20), (-5, 20), (0, 40)), None),
    "squat": (2, (5, 45), True, ((85, 130), (0, 35), (-5, 30), (90, 145)), None),
    "sit": (4, (-25, 25), True, ((65, 105), (-5, 30), (-15, 20), (55, 115)), None),
    "crossed": (1, (-20, 15), False, ((75, 99), (-18, -4), (-5, 15), (60, 99)), ((70, 95), (-2, 9), (-5, 9), (70, 99))),
    "long sit": (1, (-25, 15), False, ((70, 100), (-3, 25), (-10, 25), (0, 60)), None),
    "tailor": (1, (-20, 10), False, ((65, 90), (28, 48), (55, 84), (100, 130)), None),
    "kneel": (1, (-10, 30), False, ((-10, 100), (-3, 20), (-10, 15), (85, 145)), None),
    "half kneel": (2, (-9, 25), True, ((70, 110), (-3, 20), (-9, 20), (75, 115)), ((-9, 20), (0, 9), (0, 9), (75, 99))),
    "ride": (1, (15, 60), False, ((45, 90), (-3, 10), (-8, 12), (35, 70)), ((85, 115), (-3, 10), (-8, 12), (90, 120))),
    "lie": (2, None, False, ((-10, 90), (-3, 30), (-15, 30), (0, 110)), None),
}  # fmt: skip
LEG_FAMILIES = tuple(_LEGS)
_LEG_ODDS = np.cumsum([row[0] for row in _LEGS.values()]) / sum(row[0] for row in _LEGS.values())


def lower_body(rng: np.random.Generator, family: str | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Axis-angles of root (3,) and legs {"L": (4, 3), "R": (4, 3)} of one of LEG_FAMILIES; None: of a random one."""
    if family is None:
        family = LEG_FAMILIES[np.searchsorted(_LEG_ODDS, rng.random())]
    _, lean, flat, first, second = _LEGS[family]
    second = second or first
    if lean is None:
        # on the back, the belly or a side
        base = Rotation.from_euler("x", (-90, 90)[rng.integers(2)], degrees=True)
        roll = np.radians(rng.choice((0, 90, -90), p=(0.7, 0.15, 0.15)) + rng.normal(0, 12))
        root = (base * Rotation.from_rotvec((0, roll, 0))).as_rotvec()
    else:
        root = np.radians((rng.uniform(*lean), 0, rng.normal(0, 5)))
    legs = {"L": _leg(rng, *first), "R": _leg(rng, *second) * (1, -1, -1)}
    if flat:
        for leg in legs.values():
            leg[2, 0] = _flat_foot(root, leg)
    return root, legs


def spine(rng: np.random.Generator) -> np.ndarray:
    """Axis-angles (5, 3) of spine1, spine2, spine3, neck and head; one rotation of the back is shared by the first
    three, one of the head by the last two."""
    back = np.radians(rng.normal((12, 0, 0), (16, 16, 8)))
    gaze = np.radians(rng.normal((0, 0, 0), (18, 28, 8)))
    share = rng.dirichlet((6, 6, 6))[:, None]
    return np.concatenate((share * back, np.array([[0.5], [0.5]]) * gaze))
