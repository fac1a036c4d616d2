"""The pose library: its files, mirroring and removal of the heading.

A pose is (24, 3) axis-angle, radians, parent-relative, in SMPL's convention. Row 0 is the orientation of the pelvis
in the canonical frame (y up, the person faces +z, left at +x) without heading, that is, without rotation about y.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from utils.errors import UserError
from utils.files import atomic_path
from utils.paths import META_DATA
from utils.safe_load.limits import check_arrays
from utils.skeleton import SMPL_FLIP

LIBRARY_FILES = ("poses.npz", "poses_0ad_cc_by_sa.npz")

_STEP = np.pi / 32767  # one unit of the int16 axis-angles: 0.0055 degrees
_REMEDY = "restore it from the repository or build it with scripts/build_pose_library.py"
_KEYS = ("poses", "clip", "frame", "clip_names", "rest_joints", "licence", "attribution")


class PoseLibrary(NamedTuple):
    """poses (N, 24, 3) float32; clip (N,) int64: number of the clip of each pose; names: of the clips; rest_joints
    (24, 3) float64, metres: joints of the T-pose that the poses belong to."""

    poses: np.ndarray
    clip: np.ndarray
    names: tuple[str, ...]
    rest_joints: np.ndarray


def load_pose_library(path: str | Path | None = None) -> PoseLibrary:
    """Read one library file, or (None) all files of the repository as one library. UserError if a file is unusable."""
    if path is not None:
        return _read(Path(path))
    parts = [_read(META_DATA / name) for name in LIBRARY_FILES if (META_DATA / name).exists()]
    if not parts:
        raise UserError(f"no pose library in {META_DATA}; {_REMEDY}")
    shift = np.cumsum([0] + [len(part.names) for part in parts[:-1]])
    return PoseLibrary(
        np.concatenate([part.poses for part in parts]),
        np.concatenate([part.clip + offset for part, offset in zip(parts, shift, strict=True)]),
        sum((part.names for part in parts), ()),
        parts[0].rest_joints,
    )


def _read(path: Path) -> PoseLibrary:
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in _KEYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable pose library ({error}); {_REMEDY}") from error
    poses, clip, names, rest = (data[key] for key in ("poses", "clip", "clip_names", "rest_joints"))
    if (
        poses.dtype != np.int16 or poses.shape[1:] != (24, 3) or clip.shape != poses.shape[:1] or rest.shape != (24, 3)
        or not len(poses) or clip.min() < 0 or clip.max() >= len(names) or not np.isfinite(rest).all()
    ):  # fmt: skip
        found = f"poses {poses.dtype}{poses.shape}, clips {clip.shape}, joints {rest.shape}"
        raise UserError(f"{path} holds {found}, which is not a pose library; {_REMEDY}")
    return PoseLibrary(
        (poses * _STEP).astype(np.float32), clip.astype(np.int64), tuple(map(str, names)), rest.astype(np.float64)
    )


def save_pose_library(
    path: str | Path, poses: np.ndarray, clip: ArrayLike, frame: ArrayLike, names: Sequence[str],
    rest_joints: np.ndarray, licence: str, attribution: str,
) -> None:  # fmt: skip
    """Write a library file: poses (N, 24, 3) radians, stored as int16; clip (N,): number of the clip; frame (N,):
    seconds since the start of the clip; names of the clips; rest_joints (24, 3) metres."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            poses=np.round(poses / _STEP).astype(np.int16),
            clip=np.asarray(clip, np.int16),
            frame=np.asarray(frame, np.float16),
            clip_names=np.array(names),
            rest_joints=np.asarray(rest_joints, np.float32),
            licence=np.array(licence),
            attribution=np.array(attribution),
        )


def mirror(poses: np.ndarray) -> np.ndarray:
    """Mirrored poses (..., 24, 3): left and right are swapped, y and z of the axis-angles are negated."""
    return poses[..., SMPL_FLIP, :] * np.array((1, -1, -1), poses.dtype)


def remove_heading(rotation: np.ndarray) -> np.ndarray:
    """Root rotations (..., 3, 3) -> the same without heading, the twist about y of the swing-twist decomposition.
    Unlike the facing direction it is stable for lying people too."""
    full = Rotation.from_matrix(rotation.reshape(-1, 3, 3))
    quaternion = full.as_quat()
    heading = Rotation.from_rotvec(2 * np.arctan2(quaternion[:, 1], quaternion[:, 3])[:, None] * np.array([0, 1, 0]))
    return (heading.inv() * full).as_matrix().reshape(rotation.shape)
