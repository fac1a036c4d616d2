"""Labels of METRO-layout sets: from JSON to arrays and back."""

import functools

import numpy as np

from datasets.decode import REMEDY
from utils.errors import RowError
from utils.skeleton import J24_PELVIS

_SHAPES = {"keypoints_2d": (24, 3), "keypoints_3d": (24, 4), "pose": (72,), "betas": (10,)}
LARGEST = 1e6  # no pixel, metre or radian of a label is beyond; numbers that overflow later are
SCALES = (0.005, 5000.0)  # crops of 1 pixel to a million


def parse_label(label: dict, where: str = "label") -> dict:
    """A METRO label -> float64 arrays by our names; what is absent is zeros, named in `absent`, its `has_` flag False.

    Takes `center`, `scale`, `2d_joints`, `3d_joints` (24 keypoints, any nesting; the pelvis moves to the origin),
    `pose`, `betas`, and `has_2d_joints`, `has_3d_joints`, `has_smpl`, which default to "if given". Usable values whose
    flag denies them are kept. RowError naming `where` if the crop is missing or a number that counts is not usable.
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


def format_label(center, scale: float, keypoints_2d=None, keypoints_3d=None, pose=None, betas=None, **more) -> dict:
    """Arrays -> a METRO label, the inverse of `parse_label`.

    center (2,) and keypoints_2d (24, 3) in source pixels, keypoints_3d (24, 4) in metres, pose (72,), betas (10,);
    leave out what there is none of. `more` (gender="m") is added as it is.
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
    """Entry `name`, however nested -> (size,) float64, None if absent. Unusable numbers are an error where required.

    Where they are not, METRO's files fill in zeros: absent as well.
    """
    if label.get(name) is None:
        return None
    try:
        array = np.asarray(label[name], dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.size == size and (np.abs(array) <= LARGEST).all() and (required or array.any()):
        return array
    if not required:
        return None
    raise RowError(
        f"{where}: '{name}' has {array.size} numbers, {size} finite ones below a million are needed; {REMEDY}"
    )


def _flag(label: dict, name: str, where: str) -> bool:
    """A flag given as bool, number or list of one; True if not given."""
    try:
        return bool(np.asarray(label.get(name, True), dtype=np.float64).any())
    except (TypeError, ValueError) as error:
        raise RowError(f"{where}: '{name}' is neither 0 nor 1; {REMEDY}") from error


def _or_zeros(values, shape: tuple[int, ...]) -> np.ndarray:
    """values as a new float64 array of this shape, zeros if there are none."""
    return np.zeros(shape) if values is None else np.array(values, dtype=np.float64).reshape(shape)
