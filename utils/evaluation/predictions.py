"""The estimates of an evaluation and their errors, one row per sample, and their file."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import atomic_path
from utils.safe_load.limits import check_arrays
from utils.skeleton import J14, SMPL_JOINTS


@dataclass
class Predictions:
    """One row per sample, by index. Lengths in metres, angles in radians; nan where there is no label.

    J joints are compared, J14 or SMPL-24: their names are in joint_names.
    """

    key: np.ndarray  # (N,) str, key of the row
    index: np.ndarray  # (N,) int64, row in the data set
    mpjpe: np.ndarray  # (N,)
    pa_mpjpe: np.ndarray  # (N,)
    mpvpe: np.ndarray  # (N,)
    joint_errors: np.ndarray  # (N, J), with the middle of the hips at the origin
    confidence: np.ndarray  # (N, J) of the 2D labels; nan for joints that have none
    pose: np.ndarray  # (N, 72) axis-angle, estimate
    betas: np.ndarray  # (N, 10), estimate
    camera: np.ndarray  # (N, 3) scale, x, y of the crop, estimate
    joints: np.ndarray  # (N, J, 3) estimate, with the middle of the hips at the origin
    label_joints: np.ndarray  # (N, J, 3) the same of the labels; nan for joints without a label
    joint_names: np.ndarray  # (J,) str

    def __len__(self) -> int:
        return len(self.index)

    def select(self, rows: np.ndarray) -> "Predictions":
        """Some rows, by mask or by position."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Predictions(**{name: part if name == "joint_names" else part[rows] for name, part in parts.items()})

    def save(self, path: Path):
        """Write an .npz file atomically. UserError if it cannot be written."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **{field.name: getattr(self, field.name) for field in fields(self)})


def load_predictions(path: Path) -> Predictions:
    """Read a file of `Predictions.save`. UserError if it is damaged or another file."""
    remedy = "write one by main.py --eval_only --save_predictions FILE.npz"
    names = [field.name for field in fields(Predictions)]
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise UserError(f"{path} lacks {', '.join(missing)}: it holds no predictions; {remedy}")
            found = Predictions(**{name: file[name] for name in names})
    except UserError:
        raise
    except Exception as error:  # damaged archives raise many kinds of exceptions
        raise UserError(f"{path} cannot be read ({error}); {remedy}") from None
    _check(found, path)
    return found


def _check(found: Predictions, path: Path):
    """UserError if a column has another shape or type than in `Predictions`."""
    count, joints = np.size(found.index), np.size(found.joint_names)
    shapes = {"joint_names": (joints,), "joint_errors": (count, joints), "confidence": (count, joints)}
    shapes |= {"pose": (count, 72), "betas": (count, 10), "camera": (count, 3)}
    shapes |= {"joints": (count, joints, 3), "label_joints": (count, joints, 3)}
    for field in fields(found):
        column, shape = getattr(found, field.name), shapes.get(field.name, (count,))
        kind = {"key": "U", "joint_names": "U", "index": "i"}.get(field.name, "f")
        if column.shape != shape or column.dtype.kind != kind:
            raise UserError(
                f"{path}: {field.name} has shape {column.shape} and type {column.dtype}, which is not that of "
                f"{count} predictions of {joints} joints; use an undamaged file"
            )
    if found.joint_names.tolist() not in (list(J14), list(SMPL_JOINTS)):
        raise UserError(f"{path}: joint_names are neither those of J14 nor those of SMPL; use an undamaged file")
