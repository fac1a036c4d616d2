"""Joint angles of bodies that are posed by hand, and of their mirror images."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from utils.joint_angles import ANGLE_NAMES, ANGLES, LIMB_ANGLES, TRUNK_ANGLES, joint_angles
from utils.paths import OPEN_BODY
from utils.skeleton import SMPL_FLIP, SMPL_JOINTS, SMPL_PARENTS

# a stick figure with spread arms, metres, x to its left, y up, z to the front
REST = {
    "pelvis": (0, 0, 0), "spine1": (0, 0.1, 0), "spine2": (0, 0.2, 0), "spine3": (0, 0.3, 0), "neck": (0, 0.5, 0),
    "head": (0, 0.6, 0),
    "hip": (0.1, -0.05, 0), "knee": (0.1, -0.45, 0), "ankle": (0.1, -0.85, 0), "foot": (0.1, -0.9, 0.15),
    "collar": (0.05, 0.45, 0), "shoulder": (0.18, 0.45, 0), "elbow": (0.45, 0.45, 0), "wrist": (0.7, 0.45, 0),
    "hand": (0.8, 0.45, 0),
}  # fmt: skip
UPRIGHT = Rotation.from_rotvec((np.pi, 0, 0))  # a body in the camera frame that faces the viewer
HANGING = {"L_shoulder": (0, 0, -90), "R_shoulder": (0, 0, 90)}
STANDING = dict.fromkeys(ANGLE_NAMES, 0.0)


def rest_joints() -> np.ndarray:
    joints = []
    for name in SMPL_JOINTS:
        side, _, part = name.rpartition("_")
        joints.append(np.array(REST[part]) * (-1 if side == "R" else 1, 1, 1))
    return np.array(joints, np.float64)


def posed(turns: dict[str, tuple], root: Rotation = UPRIGHT, rest: np.ndarray | None = None):
    """turns: joint -> degrees about its own x, y and z, one after the other -> pose (24, 3), joints (24, 3)."""
    rest = rest_joints() if rest is None else rest
    turns = HANGING | turns
    local = [Rotation.from_euler("XYZ", turns.get(name, (0, 0, 0)), degrees=True) for name in SMPL_JOINTS]
    local[0] = root * local[0]
    chain, joints = [local[0]], [rest[0] + (0.3, -0.2, 5)]
    for j, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            chain.append(chain[parent] * local[j])
            joints.append(joints[parent] + chain[parent].apply(rest[j] - rest[parent]))
    return np.array([turn.as_rotvec() for turn in local]), np.array(joints)


def angles(turns: dict[str, tuple], **options) -> dict[str, float]:
    return {name: float(value) for name, value in joint_angles(*posed(turns, **options)).items()}


def assert_angles(found: dict[str, float], **expected: float):
    """The expected ones, and all others as in standing; the plane of a hanging arm is not defined."""
    for name in ANGLE_NAMES:
        if name.endswith("shoulder_plane") and name not in expected:
            assert np.isnan(found[name]), name
        else:
            assert found[name] == pytest.approx(expected.get(name, 0), abs=0.01), name


@pytest.mark.parametrize("heading", [0, 40, 180, -100])
def test_standing_is_zero_wherever_somebody_faces(heading):
    assert_angles(angles({}, root=UPRIGHT * Rotation.from_euler("y", heading, degrees=True)))


MOVES = {
    "a knee": ({"L_knee": (70, 0, 0)}, {"left_knee_flexion": 70}),
    "an overstretched knee": ({"R_knee": (-8, 0, 0)}, {"right_knee_flexion": -8}),
    "a thigh forwards": ({"R_hip": (-80, 0, 0)}, {"right_hip_flexion": 80}),
    "a thigh backwards": ({"L_hip": (20, 0, 0)}, {"left_hip_flexion": -20}),
    "a thigh above the horizontal": ({"L_hip": (-115, 0, 0)}, {"left_hip_flexion": 115}),
    "legs apart": ({"L_hip": (0, 0, 25), "R_hip": (0, 0, -30)}, {"left_hip_abduction": 25, "right_hip_abduction": 30}),
    "toes in": ({"L_hip": (0, -15, 0), "R_hip": (0, 10, 0)}, {"left_hip_rotation": 15, "right_hip_rotation": 10}),
    "toes up": ({"L_ankle": (-12, 0, 0)}, {"left_ankle_dorsiflexion": 12}),
    "tiptoe": ({"R_ankle": (30, 0, 0)}, {"right_ankle_dorsiflexion": -30}),
    "a sitting person": (
        {"L_hip": (-90, 0, 0), "R_hip": (-90, 0, 0), "L_knee": (90, 0, 0), "R_knee": (90, 0, 0)},
        {"left_hip_flexion": 90, "right_hip_flexion": 90, "left_knee_flexion": 90, "right_knee_flexion": 90},
    ),
    "an arm sideways": ({"L_shoulder": (0, 0, 0)}, {"left_shoulder_elevation": 90, "left_shoulder_plane": 0}),
    "the other arm sideways": ({"R_shoulder": (0, 0, 0)}, {"right_shoulder_elevation": 90, "right_shoulder_plane": 0}),
    "an arm forwards": ({"L_shoulder": (0, -90, 0)}, {"left_shoulder_elevation": 90, "left_shoulder_plane": 90}),
    "an arm backwards": ({"R_shoulder": (0, -90, 45)}, {"right_shoulder_elevation": 45, "right_shoulder_plane": -90}),
    "an arm overhead": ({"R_shoulder": (0, 0, -90)}, {"right_shoulder_elevation": 180}),
    "an elbow": ({"L_elbow": (0, -75, 0)}, {"left_elbow_flexion": 75}),
    "the other elbow": ({"R_elbow": (0, 75, 0)}, {"right_elbow_flexion": 75}),
    "a bow": ({"spine2": (30, 0, 0)}, {"trunk_flexion": 30}),
    "a side bend": ({"spine3": (0, 0, 20)}, {"trunk_side_bend": 20}),
    "a turned chest": ({"spine1": (0, 35, 0)}, {"trunk_rotation": 35}),
}


@pytest.mark.parametrize(("turns", "expected"), MOVES.values(), ids=MOVES.keys())
def test_one_joint_at_a_time(turns, expected):
    found = angles(turns)
    if any(name.startswith("spine") for name in turns):
        expected = expected | {"trunk_lean": found["trunk_lean"]}
    assert_angles(found, **expected)


def test_the_lean_is_of_the_whole_trunk_against_the_vertical():
    for heading in (0, 70, -130):
        root = UPRIGHT * Rotation.from_euler("y", heading, degrees=True) * Rotation.from_euler("x", 25, degrees=True)
        assert_angles(angles({}, root=root), trunk_lean=25)
    assert_angles(angles({}, root=UPRIGHT * Rotation.from_euler("z", -90, degrees=True)), trunk_lean=90)
    assert 10 < angles({"spine2": (30, 0, 0)})["trunk_lean"] < 30  # the hips stay


def test_angles_of_one_limb_do_not_depend_on_the_others():
    turns = {"L_knee": (50, 0, 0), "R_elbow": (0, 40, 0), "R_ankle": (-10, 0, 0)}
    root = Rotation.from_euler("xyz", (150, 33, -20), degrees=True)
    moved = {"L_hip": (-40, 12, 20), "R_hip": (10, -5, -8), "spine2": (20, 15, -5), "R_shoulder": (10, 60, 30)}
    found = angles(turns | moved, root=root)
    assert found["left_knee_flexion"] == pytest.approx(50) and found["right_elbow_flexion"] == pytest.approx(40)
    assert found["right_ankle_dorsiflexion"] == pytest.approx(10)
    assert found["right_knee_flexion"] == pytest.approx(0, abs=1e-6)


def test_hips_combine_as_grood_and_suntay_define():
    """Flexion about the axis of the pelvis, then abduction, then rotation about the thigh."""
    for sign, side in ((1, "left"), (-1, "right")):
        turn = Rotation.from_euler("XZY", (-35, sign * 20, -sign * 10), degrees=True).as_euler("XYZ", degrees=True)
        found = angles({f"{side[0].upper()}_hip": tuple(turn)})
        for name, expected in (("hip_flexion", 35), ("hip_abduction", 20), ("hip_rotation", 10)):
            assert found[f"{side}_{name}"] == pytest.approx(expected, abs=1e-6)


def test_bones_count_not_the_rest_pose():
    """A body whose rest pose has spread legs and bent knees: angles are those of its bones."""
    rest = rest_joints()
    for side, sign in (("L", 1), ("R", -1)):
        rest[SMPL_JOINTS.index(f"{side}_knee")] += (sign * 0.06, 0, 0.03)
        rest[SMPL_JOINTS.index(f"{side}_ankle")] += (sign * 0.12, 0, 0)
        rest[SMPL_JOINTS.index(f"{side}_foot")] += (sign * 0.12, 0, 0)
    found = angles({}, rest=rest)
    for side, s in (("left", "L"), ("right", "R")):
        hip, knee, ankle = (rest[SMPL_JOINTS.index(f"{s}_{name}")] for name in ("hip", "knee", "ankle"))
        assert found[f"{side}_hip_abduction"] == pytest.approx(np.degrees(np.arctan(0.06 / np.hypot(0.4, 0.03))))
        bend = np.degrees(np.arccos((hip - knee) @ (knee - ankle) / np.linalg.norm(hip - knee) ** 2))
        assert found[f"{side}_knee_flexion"] == pytest.approx(bend, abs=0.2)


def test_the_mirror_image_has_the_other_sides_angles():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pose, joints = posed({name: tuple(rng.normal(0, 25, 3)) for name in SMPL_JOINTS})
        mirrored_pose = (pose * (1, -1, -1))[list(SMPL_FLIP)]
        mirrored = joint_angles(mirrored_pose, (joints * (-1, 1, 1))[list(SMPL_FLIP)])
        found = joint_angles(pose, joints)
        for name in LIMB_ANGLES:
            np.testing.assert_allclose(mirrored[f"left_{name}"], found[f"right_{name}"], atol=1e-6, err_msg=name)
            np.testing.assert_allclose(mirrored[f"right_{name}"], found[f"left_{name}"], atol=1e-6, err_msg=name)
        for name in TRUNK_ANGLES:
            sign = -1 if name in ("trunk_side_bend", "trunk_rotation") else 1
            np.testing.assert_allclose(mirrored[name], sign * found[name], atol=1e-6, err_msg=name)


def test_several_bodies_at_once():
    some = [posed(turns) for turns, _ in MOVES.values()]
    together = joint_angles(*(np.stack(part)[:, None] for part in zip(*some, strict=True)))
    assert tuple(together) == ANGLE_NAMES == tuple(ANGLES)
    for i, (pose, joints) in enumerate(some):
        for name, value in joint_angles(pose, joints).items():
            assert together[name].shape == (len(some), 1)
            np.testing.assert_allclose(together[name][i, 0], value, err_msg=name)


def test_the_open_body_stands_near_zero():
    """Its rest pose with hanging arms: what its bones differ from a stick figure."""
    with np.load(OPEN_BODY) as data:
        rest = data["J_regressor"] @ data["v_template"]
    found = angles({}, rest=rest)
    assert all(abs(value) < 4 for value in found.values() if np.isfinite(value)), found
