"""Retarget the motion of a human skeleton to the 24 joints of the body model.

A joint rotates as its source bone rotates from the source's rest pose, after a constant rotation from the T pose of the
body model to this rest pose. The twist of the arms, and collars that a skeleton lacks, follow anatomical rules.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from scripts.lib.pose_library.motion_clips import Clip
from utils.skeleton import SMPL_JOINTS, SMPL_PARENTS

J = SMPL_JOINTS.index

# Bones of each source skeleton for the joints of the body model. A name: the joint rotates with this bone. (a, b, t):
# it rotates with the rotation at the fraction t between bone a and bone b. Other joints rotate with their parent.
BONE_MAPS = {
    "cmu": {
        "pelvis": "Hips", "spine1": "LowerBack", "spine2": "Spine", "spine3": "Spine1",
        "neck": ("Spine1", "Neck1", 0.7), "head": "Head",
        "?_hip": "*UpLeg", "?_knee": "*Leg", "?_ankle": "*Foot", "?_foot": "*ToeBase",
        "?_collar": "*Shoulder", "?_shoulder": "*Arm", "?_elbow": "*ForeArm", "?_wrist": "*Hand",
    },
    "boxing": {
        "pelvis": "Hips", "spine1": ("Hips", "Ab", 0.5), "spine2": "Ab", "spine3": "Chest",
        "neck": "Neck", "head": "Head",
        "?_hip": "*Hip", "?_knee": "*Knee", "?_ankle": "*Ankle", "?_foot": "*Toes",
        "?_collar": "*Collar", "?_shoulder": "*Shoulder", "?_elbow": "*Elbow", "?_wrist": "*Wrist",
    },
    "deepmimic": {
        "pelvis": "root", "spine1": ("root", "chest", 0.33), "spine2": ("root", "chest", 0.67), "spine3": "chest",
        "neck": ("chest", "neck", 0.5), "head": "neck",
        "?_hip": "*_hip", "?_knee": "*_knee", "?_ankle": "*_ankle", "?_shoulder": "*_shoulder", "?_elbow": "*_elbow",
        "?_wrist": "*_wrist",
    },
    "0ad": {
        "pelvis": "hip", "spine1": "spine", "spine2": "spine1", "spine3": "chest",
        "neck": ("chest", "head", 0.5), "head": "head",
        "?_hip": "thigh_*", "?_knee": "leg_*", "?_ankle": "foot_*",
        "?_collar": "shoulder_*", "?_shoulder": "arm_*", "?_elbow": "forearm_*", "?_wrist": "hand_*",
    },
}  # fmt: skip
SIDES = {
    "cmu": ("Left", "Right"), "boxing": ("Left", "Right"), "deepmimic": ("left", "right"), "0ad": ("L", "R"),
}  # fmt: skip


def bone_map(kind: str) -> dict[str, str | tuple]:
    """Joint name -> bone or bones of the source skeleton, for both sides."""
    full = {}
    for joint, bone in BONE_MAPS[kind].items():
        for letter, side in zip("LR", SIDES[kind], strict=True):
            full[joint.replace("?", letter)] = bone.replace("*", side) if isinstance(bone, str) else bone
    return full


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest rotation (3, 3) that maps the direction of a (3,) to that of b (3,)."""
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / max(sine, 1e-12) * np.arctan2(sine, a @ b)).as_matrix()


def rotation_about(axis: str, angle: ArrayLike) -> np.ndarray:
    """Rotations (..., 3, 3) about "x", "y" or "z" by angles (...), radians."""
    return Rotation.from_euler(axis, np.reshape(angle, (-1, 1))).as_matrix().reshape(*np.shape(angle), 3, 3)


def rest_alignment(clip: Clip, bones: dict[str, str | tuple], rest_joints: np.ndarray) -> np.ndarray:
    """Rotations (24, 3, 3) from the T pose of the body model to the rest pose of the clip.

    Arms: the bones get equal directions, with the least twist. Legs: the line from hip to ankle gets the same direction
    in the frontal plane, thigh and shin in the sagittal plane. So knees remain hinges about x, although the thighs of
    skeletons slope outwards by different angles. Torso, head and feet: no rotation, because both stand upright.
    """
    align = np.tile(np.eye(3), (24, 1, 1))
    for side in "LR":
        start, middle, end = (J(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        ours = rest_joints[middle] - rest_joints[start], rest_joints[end] - rest_joints[middle]
        a, b, c = (clip.rest[clip.bones.index(bones[f"{side}_{name}"])] for name in ("shoulder", "elbow", "wrist"))
        align[start] = rotation_between(ours[0], b - a)
        align[middle] = rotation_between(align[start] @ ours[1], c - b) @ align[start]
        align[end] = align[middle]

        start, middle, end = (J(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        a, b, c = (clip.rest[clip.bones.index(bones[f"{side}_{name}"])] for name in ("hip", "knee", "ankle"))
        line, theirs = rest_joints[end] - rest_joints[start], c - a
        frontal = rotation_about("z", np.arctan2(theirs[0], -theirs[1]) - np.arctan2(line[0], -line[1]))
        for joint, ours, theirs in (
            (start, rest_joints[middle] - rest_joints[start], b - a),
            (middle, rest_joints[end] - rest_joints[middle], c - b),
        ):
            ours = frontal @ ours
            align[joint] = (
                rotation_about("x", np.arctan2(-theirs[2], -theirs[1]) - np.arctan2(-ours[2], -ours[1])) @ frontal
            )
    return align


def bone_rotations(clip: Clip, bones: dict[str, str | tuple], align: np.ndarray) -> np.ndarray:
    """Global rotations (T, 24, 3, 3) of the joints: each rotates as its source bone does from the rest pose."""
    rotations = np.empty((len(clip.rotations), 24, 3, 3))
    for j, name in enumerate(SMPL_JOINTS):
        bone = bones.get(name)
        if bone is None:
            rotations[:, j] = rotations[:, SMPL_PARENTS[j]]
        elif isinstance(bone, str):
            rotations[:, j] = clip.rotations[:, clip.bones.index(bone)] @ align[j]
        else:
            a, b = (Rotation.from_matrix(clip.rotations[:, clip.bones.index(name)]) for name in bone[:2])
            rotations[:, j] = (a * Rotation.from_rotvec(bone[2] * (a.inv() * b).as_rotvec())).as_matrix()
    return rotations


def to_local(rotations: np.ndarray) -> np.ndarray:
    """Global rotations (T, 24, 3, 3) -> parent-relative ones; the root's stays."""
    local = rotations.copy()
    local[:, 1:] = rotations[:, SMPL_PARENTS[1:]].swapaxes(-1, -2) @ rotations[:, 1:]
    return local


def twist_about_x(rotation: np.ndarray) -> np.ndarray:
    """Angle (...) of the twist of rotations (..., 3, 3) about x, the axis of the arms in the T pose."""
    x, _, _, w = np.moveaxis(Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_quat(), -1, 0)
    return wrap(2 * np.arctan2(x, w)).reshape(rotation.shape[:-2])


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angles in radians -> the same angles in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def settle_arm_twist(rotations: np.ndarray, rest_joints: np.ndarray):
    """Rotate upper arms and forearms about their length, in place, so that elbows and wrists bend as real ones.

    Directions of the bones and orientations of the hands do not change. An elbow is a hinge that moves the forearm to
    +z of the T pose. A bent elbow determines the twist of the upper arm; a straight one gets the usual twist of the
    clip. Half of the remaining twist goes to the forearm and half to the wrist.
    """
    for side in "LR":
        shoulder, elbow, wrist = (J(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        local = rotations[:, shoulder].swapaxes(-1, -2) @ rotations[:, elbow]
        forearm = local @ (rest_joints[wrist] - rest_joints[elbow])
        sideways = np.linalg.norm(forearm[:, 1:], axis=-1) / np.linalg.norm(forearm, axis=-1)  # sine of the flexion
        twist = np.arctan2(-forearm[:, 1], forearm[:, 2])
        usual = np.angle((sideways**2 * np.exp(1j * twist)).sum())
        sure = np.clip((sideways - 0.25) / 0.45, 0, 1)
        rotations[:, shoulder] = rotations[:, shoulder] @ rotation_about("x", usual + sure * wrap(twist - usual))

        local = rotations[:, shoulder].swapaxes(-1, -2) @ rotations[:, elbow]
        hinge = local @ rotation_about("x", -twist_about_x(local))
        total = wrap(twist_about_x(local) + twist_about_x(rotations[:, elbow].swapaxes(-1, -2) @ rotations[:, wrist]))
        rotations[:, elbow] = rotations[:, shoulder] @ hinge @ rotation_about("x", total / 2)


def lift_collars(rotations: np.ndarray):
    """Rotate the collars with the arms, in place, for skeletons without collars.

    A raised arm lifts its collar, an arm that reaches forward moves it forward: a third of the scapulohumeral rhythm.
    The arms keep their directions.
    """
    for side, sign in (("L", 1), ("R", -1)):
        arm = (rotations[:, J("spine3")].swapaxes(-1, -2) @ rotations[:, J(f"{side}_shoulder")])[..., 0] * sign
        raised, forward = np.arcsin(arm[:, 1].clip(-1, 1)), np.arcsin(arm[:, 2].clip(-1, 1))
        lift = np.where(raised > 0, 0.25, 0.08) * raised
        rotations[:, J(f"{side}_collar")] = (
            rotations[:, J("spine3")] @ rotation_about("z", sign * lift) @ rotation_about("y", -sign * 0.15 * forward)
        )


def retarget(clip: Clip, kind: str, rest_joints: np.ndarray) -> np.ndarray:
    """Clip of skeleton `kind`, rest_joints (24, 3) of the T pose -> poses (T, 24, 3), parent-relative axis-angle.

    The root rotates as in the clip.
    """
    bones = bone_map(kind)
    rotations = bone_rotations(clip, bones, rest_alignment(clip, bones, rest_joints))
    settle_arm_twist(rotations, rest_joints)
    if kind in ("cmu", "deepmimic"):
        lift_collars(rotations)
    return Rotation.from_matrix(to_local(rotations).reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3)
