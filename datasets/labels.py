"""Labels of METRO-layout sets: from JSON to arrays and back."""

import functools

import numpy as np
from numpy.typing import ArrayLike

from datasets.locate import REMEDY
from utils.errors import RowError
from utils.skeleton import J24_PELVIS

_SHAPES = {"keypoints_2d": (24, 3), "keypoints_3d": (24, 4), "pose": (72,), "betas": (10,)}
LARGEST = 1e6  # pixels, metres or radians; larger numbers are errors and could overflow later
SCALES = (0.005, 5000.0)  # crop side / 200: crops of 1 to 1,000,000 pixels


def parse_label(label: dict, where: str = "label") -> dict:
    """A METRO label -> float64 arrays under the names of the batch.

    Reads `center`, `scale`, `2d_joints`, `3d_joints` (24 keypoints, any nesting; the pelvis moves to the origin),
    `pose`, `betas`, and the flags `has_2d_joints`, `has_3d_joints`, `has_smpl`, by default True for every label that is
    given. A missing label is zeros, its name is in the set `absent`, and its `has_` flag is False. Values whose flag is
    False are kept if they are usable. RowError names `where` if the crop is missing or a labelled number is unusable.
    """
    read = functools.partial(_read_array, label, where=where)
    center, scale = read("center", 2), read("scale", 1)
    if center is None or scale is None or not SCALES[0] <= scale[0] <= SCALES[1]:
        raise RowError(f"{where}: needs a 'center' and a 'scale' from {SCALES[0]} to {SCALES[1]:.0f}; {REMEDY}")
    has_2d, has_3d, has_smpl = (_flag(label, name, where) for name in ("has_2d_joints", "has_3d_joints", "has_smpl"))
    given = {
        "keypoints_2d": read("2d_joints", 24 * 3, required=has_2d),
        "keypoints_3d": read("3d_joints", 24 * 4, required=has_3d),
        "pose": read("pose", 72, required=has_smpl),
        "betas": read("betas", 10, required=has_smpl),
    }
    parsed = {name: _or_zeros(given[name], shape) for name, shape in _SHAPES.items()}
    parsed["keypoints_3d"][:, :3] -= parsed["keypoints_3d"][J24_PELVIS, :3].copy()
    absent = {name for name, values in given.items() if values is None}
    return parsed | {
        "center": center,
        "scale": scale[0],
        "has_keypoints_2d": has_2d and "keypoints_2d" not in absent,
        "has_keypoints_3d": has_3d and "keypoints_3d" not in absent,
        "has_smpl": has_smpl and not absent & {"pose", "betas"},
        "absent": absent,
    }


def parse_smpl_joints(label: dict, where: str = "label") -> np.ndarray:
    """`smpl_joints` of a label: the 24 SMPL joints of the person's own body, metres, camera frame -> (24, 3)."""
    joints = _read_array(label, "smpl_joints", 24 * 3, where=where)
    if joints is None:
        raise RowError(f"{where}: 'smpl_joints' is missing; {REMEDY}")
    return joints.reshape(24, 3)


def parse_gender(label: dict) -> int:
    """`gender` of a label ("m", "male", "f", "female") -> 1 male, 2 female, 0 anything else."""
    return {"m": 1, "f": 2}.get(str(label.get("gender") or "")[:1].lower(), 0)


def format_label(
    center: ArrayLike,
    scale: float,
    keypoints_2d: ArrayLike | None = None,
    keypoints_3d: ArrayLike | None = None,
    pose: ArrayLike | None = None,
    betas: ArrayLike | None = None,
    **more,
) -> dict:
    """Arrays -> a METRO label, the inverse of `parse_label`.

    center (2,) and keypoints_2d (24, 3) in source pixels, scale: crop side / 200, keypoints_3d (24, 4) in metres, pose
    (72,) axis-angle radians, betas (10,); None: there is no such label. more: further entries, such as gender="m".
    """
    label = {"center": np.asarray(center).tolist(), "scale": float(scale), **more}
    label["has_2d_joints"] = int(keypoints_2d is not None)
    label["has_3d_joints"] = int(keypoints_3d is not None)
    label["has_smpl"] = int(pose is not None and betas is not None)
    label["2d_joints"] = _or_zeros(keypoints_2d, (1, 24, 3)).tolist()
    label["3d_joints"] = _or_zeros(keypoints_3d, (1, 24, 4)).tolist()
    label["pose"] = _or_zeros(pose, (72,)).tolist()
    label["betas"] = _or_zeros(betas, (10,)).tolist()
    return label


def _read_array(label: dict, name: str, size: int, required: bool = True, where: str = "label") -> np.ndarray | None:
    """Entry `name` with any nesting -> (size,) float64, None if absent.

    Unusable numbers are a RowError if required. Otherwise they count as absent, as do zeros, with which METRO's files
    fill missing labels.
    """
    if label.get(name) is None:
        return None
    try:
        array = np.asarray(label[name], dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):  # JSON has integers beyond the range of float64
        array = np.empty(0)
    if array.size == size and (np.abs(array) <= LARGEST).all() and (required or array.any()):
        return array
    if not required:
        return None
    raise RowError(
        f"{where}: '{name}' has {array.size} numbers, {size} finite ones below a million are needed; {REMEDY}"
    )


def _flag(label: dict, name: str, where: str) -> bool:
    """A flag given as bool, number or list with one element; True if not given."""
    try:
        return bool(np.asarray(label.get(name, True), dtype=np.float64).any())
    except (TypeError, ValueError, OverflowError) as error:
        raise RowError(f"{where}: '{name}' is neither 0 nor 1; {REMEDY}") from error


def _or_zeros(values: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray:
    """values, or zeros if None, as a new float64 array of this shape."""
    return np.zeros(shape) if values is None else np.array(values, dtype=np.float64).reshape(shape)
