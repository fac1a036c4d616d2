"""Names, order, hierarchy and left-right symmetry of every joint set in the project.

SMPL-24: kinematic joints of the body model. J24: label keypoints of METRO's data sets. J17: output of a keypoint
regressor (Human3.6M order). J14: evaluation keypoints. COCO-17: output of a 2D pose detector.
"""

SMPL_JOINTS = (
    "pelvis", "L_hip", "R_hip", "spine1", "L_knee", "R_knee", "spine2", "L_ankle", "R_ankle", "spine3",
    "L_foot", "R_foot", "neck", "L_collar", "R_collar", "head", "L_shoulder", "R_shoulder", "L_elbow", "R_elbow",
    "L_wrist", "R_wrist", "L_hand", "R_hand",
)  # fmt: skip
NUM_JOINTS = len(SMPL_JOINTS)
SMPL_HIPS = (SMPL_JOINTS.index("R_hip"), SMPL_JOINTS.index("L_hip"))
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

J24 = (
    "R_Ankle", "R_Knee", "R_Hip", "L_Hip", "L_Knee", "L_Ankle", "R_Wrist", "R_Elbow", "R_Shoulder", "L_Shoulder",
    "L_Elbow", "L_Wrist", "Neck", "Top_of_Head", "Pelvis", "Thorax", "Spine", "Jaw", "Head", "Nose",
    "L_Eye", "R_Eye", "L_Ear", "R_Ear",
)  # fmt: skip
J17 = (
    "Pelvis", "R_Hip", "R_Knee", "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Torso", "Neck", "Nose",
    "Head", "L_Shoulder", "L_Elbow", "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist",
)  # fmt: skip
COCO17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
NUM_KEYPOINTS = len(COCO17)  # of a 2D pose detector

J24_TO_J14 = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18)
J17_TO_J14 = (3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10)
J14 = tuple(J24[i] for i in J24_TO_J14)

J24_PELVIS = J24.index("Pelvis")
J24_LIMBS = tuple(range(12))
J17_PELVIS = J17.index("Pelvis")
J14_HIPS = (J14.index("R_Hip"), J14.index("L_Hip"))
J14_BONES = tuple(
    (J14.index(a), J14.index(b))
    for a, b in (
        ("R_Ankle", "R_Knee"), ("R_Knee", "R_Hip"), ("R_Hip", "L_Hip"), ("L_Hip", "L_Knee"), ("L_Knee", "L_Ankle"),
        ("R_Wrist", "R_Elbow"), ("R_Elbow", "R_Shoulder"), ("R_Shoulder", "L_Shoulder"), ("L_Shoulder", "L_Elbow"),
        ("L_Elbow", "L_Wrist"), ("R_Shoulder", "R_Hip"), ("L_Shoulder", "L_Hip"), ("Neck", "Head"),
    )
)  # fmt: skip

# limbs: name -> the two J24 joints at its ends, left and right
J24_LIMB_ENDS = {
    name: tuple((J24.index(f"{side}_{a}"), J24.index(f"{side}_{b}")) for side in "LR")
    for name, (a, b) in {
        "thigh": ("Hip", "Knee"),
        "shin": ("Knee", "Ankle"),
        "upper arm": ("Shoulder", "Elbow"),
        "forearm": ("Elbow", "Wrist"),
    }.items()
}


def tree_levels(parents: tuple[int, ...]) -> list[list[int]]:
    """Joints by their distance from the root; a level's parents all lie in the level above."""
    depth = {0: 0}
    for j, p in enumerate(parents[1:], 1):
        depth[j] = depth[p] + 1
    return [[j for j in depth if depth[j] == d] for d in range(max(depth.values()) + 1)]


def flip_permutation(names: tuple[str, ...]) -> tuple[int, ...]:
    """Index of the mirror image of each joint, from the names (`L_` and `R_`, `left_` and `right_`)."""
    swap = {"L_": "R_", "R_": "L_", "left_": "right_", "right_": "left_"}

    def mirrored(name):
        for prefix, other in swap.items():
            if name.startswith(prefix):
                return other + name[len(prefix) :]
        return name

    return tuple(names.index(mirrored(name)) for name in names)


SMPL_FLIP = flip_permutation(SMPL_JOINTS)
J24_FLIP = flip_permutation(J24)
COCO17_FLIP = flip_permutation(COCO17)

# limb joints that a 2D detector and the body model have in common: index in COCO-17 -> index in SMPL-24
COCO17_TO_SMPL = {
    COCO17.index(f"{side}_{part}"): SMPL_JOINTS.index(f"{side[0].upper()}_{part}")
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
}
# the same joints: index in COCO-17 -> index in J14
COCO17_TO_J14 = {i: J14.index(SMPL_JOINTS[j][:2] + SMPL_JOINTS[j][2:].capitalize()) for i, j in COCO17_TO_SMPL.items()}
