"""Bodies for the builders: models/body_model.py behind the interface of datasets/builders/bodies.py."""

from pathlib import Path

import numpy as np
import scipy.sparse
import torch

from datasets.builders import Bodies
from datasets.builders.keypoint_orders import J17_TO_J24, SMPL_TO_J24
from models.body_model import BodyModel, load_body_model
from models.build import DEFAULT_LICENSED_REGRESSOR, find_body
from models.gendered import beside
from utils.errors import UserError
from utils.files import find_file
from utils.geometry import rotvec_to_rotmat
from utils.safe_load.limits import check_arrays
from utils.safe_load.unpickler import load_restricted_pickle
from utils.skeleton import J24, SMPL_JOINTS

EXTRA = "J_regressor_extra.npy"
# rows of J_regressor_extra.npy: GraphCMR's has nose, eyes and ears before the nine of SPIN's
NINE = ("R_Hip", "L_Hip", "Neck", "Top_of_Head", "Pelvis", "Thorax", "Spine", "Jaw", "Head")
FOURTEEN = ("Nose", "R_Eye", "L_Eye", "R_Ear", "L_Ear", *NINE)


class PosedBody:
    """One body; see datasets/builders/bodies.py. Keypoints take only the vertices that their regressor touches."""

    def __init__(self, model: BodyModel, regressor: np.ndarray, confidence: np.ndarray):
        """regressor (24, V) J24 from vertices, rows of zeros where confidence (24,) is 0."""
        self.model, self.confidence = model.eval(), confidence
        self.name, self.faces = model.name, model.faces
        used = np.flatnonzero((regressor != 0).any(0))
        self.regressor = torch.from_numpy(regressor[:, used].astype(np.float32))
        self.subsampled = model.at_vertices(torch.from_numpy(used))

    @torch.inference_mode()
    def keypoints(self, pose: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        vertices, joints = self.subsampled(*_tensors(pose, betas))
        return (self.regressor @ vertices).numpy().astype(np.float64), joints.numpy().astype(np.float64)

    @torch.inference_mode()
    def vertices(self, pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
        return self.model(*_tensors(pose, betas))[0].numpy().astype(np.float64)

    @torch.inference_mode()
    def root(self, betas: np.ndarray) -> np.ndarray:
        pose = np.zeros((len(betas), 72))
        return self.model.joints(*_tensors(pose, betas))[:, 0].numpy().astype(np.float64)


def _tensors(pose: np.ndarray, betas: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    pose, betas = (torch.from_numpy(np.asarray(value, np.float32)) for value in (pose, betas))
    return rotvec_to_rotmat(pose.unflatten(-1, (24, 3))), betas


def load_bodies(smpl_path: Path | None, keypoint_regressor: Path | None, need: tuple[str, ...] = ()) -> Bodies:
    """The body of --smpl_path (else the licensed one in meta_data/, else the open one), and those of men and women
    beside it, if `need` names them and their files are there."""
    neutral = find_body(smpl_path)
    found = {gender: beside(neutral, gender) for gender in need}
    return Bodies(
        neutral=_load(neutral, keypoint_regressor),
        missing=tuple(gender for gender, path in found.items() if path is None),
        **{gender: _load(path, keypoint_regressor) for gender, path in found.items() if path is not None},
    )


def _load(path: Path, keypoint_regressor: Path | None) -> PosedBody:
    model = load_body_model(path)
    if keypoint_regressor is None and "j24" in model.keypoint_regressors:
        return PosedBody(model, model.keypoint_regressors["j24"], np.ones(len(J24)))
    if keypoint_regressor is None:
        keypoint_regressor = find_file(path.parent, [EXTRA, DEFAULT_LICENSED_REGRESSOR])
    # as METRO: limbs by SMPL's own regressor of joints, applied to the posed mesh
    regressor, confidence = np.zeros((len(J24), model.num_vertices)), np.zeros(len(J24))
    joint_regressor = _joint_regressor(path)
    for place, joint in SMPL_TO_J24.items():
        regressor[place], confidence[place] = joint_regressor[joint], 1
    if keypoint_regressor is not None:
        for place, row in _read_regressor(keypoint_regressor, model):
            regressor[place], confidence[place] = row, 1
    return PosedBody(model, regressor, confidence)


def _joint_regressor(path: Path) -> np.ndarray:
    """(24, V) of a body file that `load_body_model` has read."""
    if path.suffix.lower() == ".pkl":
        matrix = load_restricted_pickle(path)["J_regressor"]
        return np.asarray(matrix.toarray() if scipy.sparse.issparse(matrix) else matrix, np.float64)
    with np.load(path, allow_pickle=False) as file:
        return file["J_regressor"].astype(np.float64)


def _read_regressor(path: Path, model: BodyModel) -> list[tuple[int, np.ndarray]]:
    """Rows of a keypoint regressor and their places in J24: 24 (J24), 17 (Human3.6M), 14 or 9 (J_regressor_extra), or
    38 and 33 (those after SMPL's 24)."""
    try:
        check_arrays(path)
        matrix = np.load(path, allow_pickle=False)
        if not isinstance(matrix, np.ndarray):
            raise ValueError("it is an archive, not one array")
        matrix = matrix.astype(np.float64)
    except (OSError, ValueError) as error:
        raise UserError(
            f"keypoint regressor {path} cannot be read ({error}); give another --keypoint_regressor"
        ) from error
    if matrix.ndim != 2 or matrix.shape[1] != model.num_vertices:
        raise UserError(
            f"keypoint regressor {path} has shape {matrix.shape}, the body {model.name} has {model.num_vertices} "
            "vertices; a regressor belongs to one body: choose its own with --keypoint_regressor"
        )
    if len(matrix) in (len(SMPL_JOINTS) + 14, len(SMPL_JOINTS) + 9):
        matrix = matrix[len(SMPL_JOINTS) :]
    places = {
        24: range(24),
        17: J17_TO_J24,
        14: [J24.index(name) for name in FOURTEEN],
        9: [J24.index(name) for name in NINE],
    }
    if len(matrix) not in places:
        raise UserError(f"keypoint regressor {path} has {len(matrix)} rows; 24, 17, 14 or 9 are known")
    return list(zip(places[len(matrix)], matrix, strict=True))
