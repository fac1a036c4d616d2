"""Which parts of a body a picture shows."""

import numpy as np
import pytest

from utils.detect.visibility import (
    PART_NAMES,
    PARTS,
    guessed_parts,
    hatching,
    is_certain,
    keypoints_of_body,
    summary,
    visible_keypoints,
)
from utils.skeleton import COCO17, COCO17_TO_SMPL, SMPL_JOINTS


def test_every_joint_belongs_to_one_part_and_every_keypoint_is_known():
    joints = [joint for _, members in PARTS.values() for joint in members]
    assert sorted(joints) == sorted(SMPL_JOINTS)
    assert {name for names, _ in PARTS.values() for name in names} == {*COCO17} - {"left_hip", "right_hip"}


def test_a_part_is_guessed_if_its_end_is_not_visible():
    visible = np.ones(17, bool)
    assert guessed_parts(visible) == ()
    for name in ("left_knee", "left_ankle", "right_wrist", "nose"):
        visible[COCO17.index(name)] = False
    assert guessed_parts(visible) == ("right forearm", "left thigh", "left lower leg")  # ears and eyes show the head
    assert guessed_parts(np.zeros(17, bool)) == PART_NAMES


def test_keypoints_outside_the_picture_or_of_low_confidence_are_not_visible():
    keypoints = np.full((17, 3), (50.0, 40.0, 0.9))
    keypoints[0, 2], keypoints[1, 0], keypoints[2, 1], keypoints[3, :2] = 0.05, -3, 80.1, (99.4, 79.4)
    np.testing.assert_array_equal(visible_keypoints(keypoints, 80, 100), [False, False, False, *[True] * 14])


def test_the_keypoints_of_a_body_are_its_joints():
    joints = np.arange(48.0).reshape(24, 2)
    keypoints = keypoints_of_body(joints)
    for coco, smpl in COCO17_TO_SMPL.items():
        np.testing.assert_array_equal(keypoints[coco], (*joints[smpl], 1))
    np.testing.assert_array_equal(keypoints[0, :2], joints[SMPL_JOINTS.index("head")])


def test_near_the_edge_more_confidence_is_needed():
    keypoints = np.full((17, 3), (50.0, 78.0, 0.3))
    assert visible_keypoints(keypoints, 80, 100, side=20).all()
    assert not visible_keypoints(keypoints, 80, 100, side=100).any()
    keypoints[:, 2] = 0.5
    assert visible_keypoints(keypoints, 80, 100, side=100).all()


def test_a_person_is_certain_by_the_detector_and_by_the_best_keypoints():
    keypoints = np.zeros((17, 3))
    keypoints[3:12, 2] = 0.5  # nine of them
    assert is_certain(keypoints, None) and is_certain(keypoints, 0.61) and not is_certain(keypoints, 0.59)
    keypoints[:6, 2] = 0
    assert not is_certain(keypoints, None) and not is_certain(keypoints, 0.9)


def test_hatching_is_the_share_of_the_guessed_joints():
    weights = np.eye(24)
    shares = hatching(weights, ("left thigh", "head"))
    assert {SMPL_JOINTS[j] for j in np.flatnonzero(shares)} == {"L_hip", "head"} and shares.max() == 1
    assert hatching(weights, PART_NAMES).min() == 1 and hatching(weights, ()) is None


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (PART_NAMES, "whole body"),
        (("left thigh", "right thigh", "left lower leg", "right lower leg"), "legs"),
        (("left lower leg", "right lower leg"), "lower legs"),
        (("left upper arm", "left forearm", "right forearm"), "left arm, right forearm"),
        (("head",), "head"),
        ((), ""),
    ],
)
def test_parts_are_summed_up(parts, words):
    assert summary(parts) == words
