"""Keypoint orders of releases -> J24. `to_j24` fills what a release lacks with confidence 0."""

import numpy as np

from utils.skeleton import COCO17, J17, J24


def _places(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(J24.index(name) if name else -1 for name in names)


# index in the release -> index in J24, -1 where J24 has no such keypoint
COCO17_TO_J24 = tuple(
    J24.index({"nose": "Nose"}.get(name, name.replace("left_", "L_").replace("right_", "R_").title()))
    for name in COCO17
)
# OpenPose COCO-18, in 3DPW
COCO18_TO_J24 = _places(
    (
        "Nose", "", "R_Shoulder", "R_Elbow", "R_Wrist", "L_Shoulder", "L_Elbow", "L_Wrist", "R_Hip", "R_Knee",
        "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "R_Eye", "L_Eye", "R_Ear", "L_Ear",
    )
)  # fmt: skip
# OpenPose BODY_25, first 25 of J49 and of the 44 keypoints of 4D-Humans
BODY25_TO_J24 = _places(
    (
        "Nose", "", "R_Shoulder", "R_Elbow", "R_Wrist", "L_Shoulder", "L_Elbow", "L_Wrist", "", "R_Hip", "R_Knee",
        "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "R_Eye", "L_Eye", "R_Ear", "L_Ear", *[""] * 6,
    )
)  # fmt: skip
J19_TO_J24 = tuple(range(19))  # the extra keypoints of 4D-Humans
MPII16_TO_J24 = _places(
    (
        "R_Ankle", "R_Knee", "R_Hip", "L_Hip", "L_Knee", "L_Ankle", "Pelvis", "Thorax", "Neck", "Top_of_Head",
        "R_Wrist", "R_Elbow", "R_Shoulder", "L_Shoulder", "L_Elbow", "L_Wrist",
    )
)  # fmt: skip
MUCO21_TO_J24 = _places(
    (
        "Top_of_Head", "Thorax", "R_Shoulder", "R_Elbow", "R_Wrist", "L_Shoulder", "L_Elbow", "L_Wrist", "R_Hip",
        "R_Knee", "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Pelvis", "Spine", "Head", "", "", "", "",
    )
)  # fmt: skip
# Human3.6M's 17 (right side first): the torso is the spine of J24, the neck its neck, the nose its jaw
J17_TO_J24 = tuple(
    J24.index({"Torso": "Spine", "Nose": "Jaw"}.get(name, name)) for name in J17
)  # fmt: skip
LSP14_TO_J24 = tuple(range(14))
# SMPL's own joints where a body has no regressor of keypoints
SMPL_TO_J24 = {
    J24.index(name): joint
    for name, joint in {
        "R_Ankle": 8, "R_Knee": 5, "R_Hip": 2, "L_Hip": 1, "L_Knee": 4, "L_Ankle": 7, "R_Wrist": 21, "R_Elbow": 19,
        "R_Shoulder": 17, "L_Shoulder": 16, "L_Elbow": 18, "L_Wrist": 20, "Pelvis": 0,
    }.items()
}  # fmt: skip


def to_j24(keypoints: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """keypoints (K, D), the last column their confidence, and the place of each in J24 -> (24, D)."""
    result = np.zeros((len(J24), keypoints.shape[1]))
    for keypoint, place in zip(keypoints, places, strict=True):
        if place >= 0 and keypoint[-1] > 0:
            result[place] = keypoint
    return result
