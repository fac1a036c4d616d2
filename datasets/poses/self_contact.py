"""A fast test for limbs inside the body: capsules around the bones, distances of the pairs that may collide."""

import numpy as np

from utils.skeleton import SMPL_JOINTS

J = SMPL_JOINTS.index

# Capsules: start joint, end joint, radius in metres (thinner than the body, as flesh is soft).
_CAPSULES = {
    "belly": ("pelvis", "spine2", 0.105), "chest": ("spine2", "neck", 0.105),
    "shoulders": ("L_collar", "R_collar", 0.07), "hips": ("L_hip", "R_hip", 0.085),
    "neck": ("neck", "head", 0.055), "head": ("head", "crown", 0.085),
    "?_arm": ("?_shoulder", "?_elbow", 0.04), "?_forearm": ("?_elbow", "?_wrist", 0.033),
    "?_hand": ("?_wrist", "?_hand", 0.03), "?_thigh": ("?_hip", "?_knee", 0.06),
    "?_shin": ("?_knee", "?_ankle", 0.045), "?_foot": ("?_ankle", "?_foot", 0.035),
}  # fmt: skip
_PAIRS = (
    [(f"{s}_{a}", b) for s in "LR" for a in ("forearm", "hand") for b in ("belly", "chest", "hips", "neck", "head")]
    + [(f"{side}_hand", "shoulders") for side in "LR"]
    + [(f"{side}_{a}", b) for side in "LR" for a in ("shin", "foot") for b in ("belly", "chest", "hips", "head")]
    + [(f"{side}_thigh", b) for side in "LR" for b in ("chest", "head")]
    + [(f"{side}_arm", "head") for side in "LR"]
    + [(f"L_{a}", f"R_{b}") for a in ("forearm", "hand") for b in ("forearm", "hand", "arm")]
    + [("L_arm", "R_forearm"), ("L_arm", "R_hand")]
    + [(f"L_{a}", f"R_{b}") for a in ("shin", "foot") for b in ("shin", "foot")]
    + [("L_thigh", "R_shin"), ("L_shin", "R_thigh"), ("L_thigh", "R_foot"), ("L_foot", "R_thigh")]
    + [
        (f"{s}_{a}", f"{t}_{b}")
        for s in "LR" for t in "LR" for a in ("forearm", "hand") for b in ("thigh", "shin", "foot")
    ]
)  # fmt: skip


def _compile() -> tuple[np.ndarray, np.ndarray]:
    """Joint numbers (P, 2, 2): ends of both capsules of each pair, 24 is the crown; sums of both radii (P,), metres."""
    capsules = {}
    for name, (start, end, radius) in _CAPSULES.items():
        for side in "LR" if "?" in name else "-":
            ends = [24 if e == "crown" else J(e.replace("?", side)) for e in (start, end)]
            capsules[name.replace("?", side)] = (ends, radius)
    ends = np.array([[capsules[name][0] for name in pair] for pair in _PAIRS])
    return ends, np.array([sum(capsules[name][1] for name in pair) for pair in _PAIRS])


_ENDS, _REACH = _compile()


def segment_distances(a0: np.ndarray, a1: np.ndarray, b0: np.ndarray, b1: np.ndarray) -> np.ndarray:
    """Shortest distances (...) between segments a0-a1 and b0-b1, all (..., 3) (Ericson, Real-Time Collision Detection,
    5.1.9)."""
    u, v, w = a1 - a0, b1 - b0, a0 - b0
    uu, vv, uv = ((x * y).sum(-1) for x, y in ((u, u), (v, v), (u, v)))
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    s = np.clip((uv * vw - vv * uw) / np.maximum(uu * vv - uv * uv, 1e-9), 0, 1)
    t = np.clip((uv * s + vw) / vv, 0, 1)
    s = np.clip((uv * t - uw) / uu, 0, 1)
    return np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1)


def penetration(positions: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Joint positions (..., 24, 3) in metres and global rotations (..., 24, 3, 3) -> depth (...) in metres of the pair
    of capsules that overlaps most; negative if none overlap."""
    crown = positions[..., J("head"), :] + rotations[..., J("head"), :, :] @ np.array([0, 0.1, 0.03])
    points = np.concatenate((positions, crown[..., None, :]), axis=-2)[..., _ENDS, :]
    return (_REACH - segment_distances(*(points[..., i, j, :] for i in (0, 1) for j in (0, 1)))).max(-1)
