"""Joint angles of a body in degrees, by name, as clinicians define them: 0 is standing upright with hanging arms.

Hip, ankle and trunk: three rotations of the distal segment in the frame of the proximal one, about the proximal
left-right axis, a floating axis and the distal long axis (Grood and Suntay, J. Biomech. Eng. 1983). The long axis of a
thigh or shank is the line between its two joints, so that a knee is at 0 if hip, knee and ankle lie on a line. Knee:
the first of these rotations. Elbow and shoulder elevation: angles between bones, which have no sign.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from utils.skeleton import SMPL_JOINTS, SMPL_PARENTS

SIDES = {"left": ("L", 1), "right": ("R", -1)}  # prefix of the joints, sign of the body's x axis
LIMB_ANGLES = {
    "hip_flexion": "thigh forwards",
    "hip_abduction": "thigh away from the other one",
    "hip_rotation": "thigh turned inwards",
    "knee_flexion": "0 is straight, heel towards the back of the thigh; below 0 is overstretched",
    "ankle_dorsiflexion": "0 is a right angle of foot and shank, toes towards the shank",
    "shoulder_elevation": "upper arm against the hanging arm: 0 hangs, 90 is horizontal, 180 overhead; never below 0",
    "shoulder_plane": "direction in which the arm is raised: 0 sideways, 90 forwards, -90 backwards; null (nan) if the "
    "arm hangs or is straight overhead, within 10 degrees",
    "elbow_flexion": "0 is straight; never below 0",
}
TRUNK_ANGLES = {
    "trunk_lean": "line from the middle of the hips to the middle of the shoulders against the picture's vertical, as "
    "if the camera were level; never below 0",
    "trunk_flexion": "chest against pelvis, forwards",
    "trunk_side_bend": "chest against pelvis, to the person's right",
    "trunk_rotation": "chest against pelvis, turned to the person's left",
}
ANGLES = {f"{side}_{name}": text for side in SIDES for name, text in LIMB_ANGLES.items()} | TRUNK_ANGLES
ANGLE_NAMES = tuple(ANGLES)
UNDEFINED = 10.0  # degrees from hanging or overhead within which the plane of the arm is not defined


def joint_angles(pose: np.ndarray, joints: np.ndarray) -> dict[str, np.ndarray]:
    """Angles of bodies, ANGLES says in which direction each grows -> name: degrees (...).

    pose (..., 24, 3) axis-angle, parent-relative, joint 0 global; joints (..., 24, 3) of these bodies, metres. Camera
    frame: x right, y down, z away. The body's own axes, in its rest pose: x to its left, y up, z to the front.
    """
    pose, joints = np.asarray(pose, np.float64), np.asarray(joints, np.float64)
    turn = _global_rotations(pose)
    place = {name: joints[..., j, :] for j, name in enumerate(SMPL_JOINTS)}
    pelvis, chest = turn["pelvis"], turn["spine3"]
    limbs = {}
    for side, (s, sign) in SIDES.items():
        thigh = _segment(turn[f"{s}_hip"], place[f"{s}_hip"] - place[f"{s}_knee"])
        shank = _segment(turn[f"{s}_knee"], place[f"{s}_knee"] - place[f"{s}_ankle"])
        flexion, abduction, rotation = _grood_suntay(_between(pelvis, thigh))
        upper_arm = place[f"{s}_elbow"] - place[f"{s}_shoulder"]
        forearm = place[f"{s}_wrist"] - place[f"{s}_elbow"]
        arm = np.einsum("...ji,...j->...i", chest, upper_arm)  # in the frame of the chest
        elevation = _angle(arm, np.array((0.0, -1.0, 0.0)))
        plane = np.degrees(np.arctan2(arm[..., 2], sign * arm[..., 0]))
        values = {
            "hip_flexion": -flexion,
            "hip_abduction": sign * abduction,
            "hip_rotation": -sign * rotation,
            "knee_flexion": _grood_suntay(_between(thigh, shank))[0],
            "ankle_dorsiflexion": -_grood_suntay(_between(shank, turn[f"{s}_ankle"]))[0],
            "shoulder_elevation": elevation,
            "shoulder_plane": np.where(abs(elevation - 90) > 90 - UNDEFINED, np.nan, plane),
            "elbow_flexion": _angle(forearm, upper_arm),
        }
        limbs |= {f"{side}_{name}": value for name, value in values.items()}
    line = sum(place[f"{s}_shoulder"] - place[f"{s}_hip"] for s in "LR")
    lean = _angle(line, np.array((0.0, -1.0, 0.0)))
    return limbs | dict(zip(TRUNK_ANGLES, (lean, *_grood_suntay(_between(pelvis, chest))), strict=True))


def _global_rotations(pose: np.ndarray) -> dict[str, np.ndarray]:
    """pose (..., 24, 3) -> rotation of each joint's segment out of the rest pose, name: (..., 3, 3)."""
    rotmat = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(*pose.shape, 3)
    chain = []
    for j, parent in enumerate(SMPL_PARENTS):
        chain.append(rotmat[..., j, :, :] if parent < 0 else chain[parent] @ rotmat[..., j, :, :])
    return dict(zip(SMPL_JOINTS, chain, strict=True))


def _segment(turn: np.ndarray, upwards: np.ndarray) -> np.ndarray:
    """Axes of a thigh or shank (..., 3, 3) as columns: y along the bone, x the body's own left-right axis.

    turn (..., 3, 3) out of the rest pose; upwards (..., 3): from its lower to its upper joint.
    """
    y = upwards / np.maximum(np.linalg.norm(upwards, axis=-1, keepdims=True), 1e-12)
    x = turn[..., 0]
    x = x - (x * y).sum(-1, keepdims=True) * y
    x /= np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return np.stack((x, y, np.cross(x, y)), axis=-1)


def _between(proximal: np.ndarray, distal: np.ndarray) -> np.ndarray:
    """Rotation (..., 3, 3) of the distal segment in the frame of the proximal one."""
    return proximal.swapaxes(-1, -2) @ distal


def _grood_suntay(rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rotation (..., 3, 3) = Rx(a) Rz(b) Ry(c) -> a, b, c in degrees (...), b in [-90, 90]."""
    a = np.arctan2(rotation[..., 2, 1], rotation[..., 1, 1])
    b = np.arcsin(np.clip(-rotation[..., 0, 1], -1, 1))
    c = np.arctan2(rotation[..., 0, 2], rotation[..., 0, 0])
    return np.degrees(a), np.degrees(b), np.degrees(c)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle of vectors (..., 3) in degrees (...), accurate near 0 and 180 too."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))
