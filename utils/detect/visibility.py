"""Which parts of a body a picture shows, by the 2D keypoints that were detected; the others are guessed.

On 53 annotated people, 7 of 16 limb keypoints that nobody could label are not visible by these limits, and 14 of the
620 others. The detector's score is below CERTAIN_SCORE for 9 of them, whose mean error is 0.039 of the box, else 0.033.
"""

import numpy as np

from utils.camera import Crop
from utils.skeleton import COCO17, COCO17_TO_SMPL, NUM_KEYPOINTS, SMPL_JOINTS

CERTAIN_SCORE = 0.6  # of the detector; below it, all parts count as guessed
CERTAIN_KEYPOINTS = 0.4  # the same of the mean of the SCORED best keypoints in the network's crop
SCORED = 9  # as in utils.detect.person_finder
CONFIDENT = 0.2  # of a keypoint; below it, the part that ends there counts as guessed
CONFIDENT_AT_EDGE, EDGE = 0.4, 0.05  # the same within this share of the crop's side from the picture's edge
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
# half of a body that the picture's edge may cut off -> joints that a rest pose sets
HALVES: dict[str, tuple[str, ...]] = {
    "upper body": (
        *("spine1", "spine2", "spine3", "neck", "head", "L_collar", "R_collar"),
        *(f"{s}_{joint}" for _, s in _SIDES for joint in ("shoulder", "elbow", "wrist", "hand")),
    ),
    "legs": tuple(f"{s}_{joint}" for _, s in _SIDES for joint in ("hip", "knee", "ankle", "foot")),
}
CHEST, THIGH = 0.4, 0.4  # metres, lengths of a small adult, the first from the hips to the shoulders
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


def is_certain(keypoints: np.ndarray, score: float | None) -> bool:
    """Whether a person is found with confidence.

    keypoints (17, 3), COCO order, x, y, confidence; score: of the detector, None if the box was given or nobody found.
    """
    return np.sort(keypoints[:, 2])[-SCORED:].mean() >= CERTAIN_KEYPOINTS and (score is None or score >= CERTAIN_SCORE)


def to_pixels(keypoints: np.ndarray, crop: Crop) -> np.ndarray:
    """keypoints (..., 3) in label units of the crop -> in pixels of the picture."""
    return np.concatenate((crop.to_image(keypoints[..., :2]), keypoints[..., 2:]), axis=-1)


def keypoints_of_body(joints: np.ndarray) -> np.ndarray:
    """SMPL joints (24, 2) -> keypoints (17, 3) with confidence 1, those of the face at the head."""
    head = SMPL_JOINTS.index("head")
    places = joints[[COCO17_TO_SMPL.get(k, head) for k in range(NUM_KEYPOINTS)]]
    return np.column_stack((places, np.ones(len(places), places.dtype)))


def visible_keypoints(keypoints: np.ndarray, height: int, width: int, side: float = 0.0) -> np.ndarray:
    """keypoints (17, 3) in pixels of a picture -> (17,) bool: inside the picture and detected with confidence.

    side: of the person's crop, pixels. Near the edge of the picture more confidence is needed: keypoints beyond it are
    often detected there.
    """
    far = np.minimum(keypoints[:, :2] + 0.5, (width - 0.5, height - 0.5) - keypoints[:, :2]).min(1)  # from the edge
    needed = np.where(far < EDGE * side, CONFIDENT_AT_EDGE, CONFIDENT)
    return (far >= 0) & (keypoints[:, 2] >= needed)


def guessed_parts(visible: np.ndarray) -> tuple[str, ...]:
    """visible (17,) bool, COCO order -> the parts of PARTS that have no visible keypoint."""
    shown = {name for name, seen in zip(COCO17, visible, strict=True) if seen}
    return tuple(part for part, (keypoints, _) in PARTS.items() if not shown & {*keypoints})


def cut_half(visible: np.ndarray, joints: np.ndarray, scale: float, edges: np.ndarray) -> str | None:
    """The half of HALVES that lies beyond the edge of the picture: not visible, and too near to it to be inside.

    visible (17,) bool, COCO order; joints (24, 2): of the estimated body; scale: length of a metre there; edges (2, 2):
    smallest and largest x, y that the picture shows. All lengths in one unit.

    A half that something hides inside the picture is not cut off: its estimate is better than a rest pose.
    """
    upper, lower = visible[:11].any(), visible[13:].any()  # face, shoulders, arms; knees, ankles
    left, right = (joints[SMPL_JOINTS.index(f"{s}_hip")] for _, s in _SIDES)
    hips = (left + right) / 2

    def beyond(start: np.ndarray, direction: np.ndarray, metres: float) -> bool:
        end = start + direction / max(np.linalg.norm(direction), 1e-9) * metres * scale
        return bool((end < edges[0]).any() or (end > edges[1]).any())

    if lower and not upper:  # the estimated trunk says nothing
        knees = sum(joints[SMPL_JOINTS.index(f"{s}_knee")] for _, s in _SIDES) / 2
        ways = (hips - knees, np.array((0.0, -1.0)))
        return "upper body" if any(beyond(hips, way, CHEST) for way in ways) else None
    if upper and not lower and visible[[5, 6]].any():
        down = hips - sum(joints[SMPL_JOINTS.index(f"{s}_shoulder")] for _, s in _SIDES) / 2
        return "legs" if beyond(left, down, THIGH) and beyond(right, down, THIGH) else None
    return None


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
