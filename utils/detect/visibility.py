"""Which parts of a body a picture shows, by the 2D keypoints that were detected; the others are guessed."""

import numpy as np

from utils.skeleton import COCO17, COCO17_TO_SMPL, NUM_KEYPOINTS, SMPL_JOINTS

CERTAIN_SCORE = 0.6  # of a person; below it, all parts count as guessed
SCORED = 9  # the score is the mean confidence of so many best keypoints, as that of utils.detect.person_finder
CONFIDENT = 0.3  # of a keypoint; below it, the part that ends there counts as guessed
# part -> keypoints, one of which must be visible; joints that turn the part
_SIDES = (("left", "L"), ("right", "R"))
_LIMBS = {
    "upper arm": ("elbow", ("shoulder",)),
    "forearm": ("wrist", ("elbow", "wrist", "hand")),
    "thigh": ("knee", ("hip",)),
    "lower leg": ("ankle", ("knee", "ankle", "foot")),
}
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "L_collar", "R_collar")
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "head": (("nose", "left_eye", "right_eye", "left_ear", "right_ear"), ("head",)),
    "trunk": (("left_shoulder", "right_shoulder"), _TRUNK),
} | {
    f"{side} {part}": ((f"{side}_{end}",), tuple(f"{s}_{joint}" for joint in joints))
    for part, (end, joints) in _LIMBS.items()
    for side, s in _SIDES
}
PART_NAMES = tuple(PARTS)
_GROUPS = (
    ("whole body", PART_NAMES),
    ("legs", ("left thigh", "left lower leg", "right thigh", "right lower leg")),
    ("arms", ("left upper arm", "left forearm", "right upper arm", "right forearm")),
    ("left leg", ("left thigh", "left lower leg")),
    ("right leg", ("right thigh", "right lower leg")),
    ("left arm", ("left upper arm", "left forearm")),
    ("right arm", ("right upper arm", "right forearm")),
    ("thighs", ("left thigh", "right thigh")),
    ("lower legs", ("left lower leg", "right lower leg")),
    ("upper arms", ("left upper arm", "right upper arm")),
    ("forearms", ("left forearm", "right forearm")),
)


def person_score(keypoints: np.ndarray) -> float:
    """keypoints (17, 3), COCO order, x, y, confidence -> confidence of the person in [0, 1]."""
    return float(np.sort(keypoints[:, 2])[-SCORED:].mean())


def keypoints_of_body(joints: np.ndarray) -> np.ndarray:
    """SMPL joints (24, 2) -> keypoints (17, 3) with confidence 1, those of the face at the head."""
    head = SMPL_JOINTS.index("head")
    places = joints[[COCO17_TO_SMPL.get(k, head) for k in range(NUM_KEYPOINTS)]]
    return np.column_stack((places, np.ones(len(places), places.dtype)))


def visible_keypoints(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """keypoints (17, 3) in pixels of a picture -> (17,) bool: inside the picture and detected with confidence."""
    inside = ((keypoints[:, :2] >= -0.5) & (keypoints[:, :2] <= (width - 0.5, height - 0.5))).all(1)
    return inside & (keypoints[:, 2] >= CONFIDENT)


def guessed_parts(visible: np.ndarray) -> tuple[str, ...]:
    """visible (17,) bool, COCO order -> the parts of PARTS that have no visible keypoint."""
    shown = {name for name, seen in zip(COCO17, visible, strict=True) if seen}
    return tuple(part for part, (keypoints, _) in PARTS.items() if not shown & {*keypoints})


def hatching(weights: np.ndarray, parts: tuple[str, ...]) -> np.ndarray | None:
    """Skin weights (V, 24) -> the share (V,) of each vertex that belongs to the parts; None without parts."""
    if not parts:
        return None
    joints = [SMPL_JOINTS.index(joint) for part in parts for joint in PARTS[part][1]]
    return weights[:, joints].sum(1).astype(np.float32)


def summary(parts: tuple[str, ...]) -> str:
    """The parts in few words, such as "legs, left forearm"."""
    left, words = [part for part in PART_NAMES if part in parts], []
    for name, members in _GROUPS:
        if {*members} <= {*left}:
            words.append(name)
            left = [part for part in left if part not in members]
    return ", ".join(words + left)
