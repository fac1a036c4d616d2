"""The body of synthetic people in numpy: shape, skeleton, skinning and keypoints of any body file in SMPL layout.

Frames: the canonical frame has y up, the body faces +z, its left is at +x, metres (see meta_data/README.md).
"""

import zipfile
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from datasets.poses.kinematics import forward_kinematics
from utils.errors import UserError
from utils.safe_load.limits import check_arrays

REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "j17_regressor", "j24_regressor")


def rotvec_to_rotmat(rotvec: ArrayLike) -> np.ndarray:
    """Axis-angle (..., 3) radians -> rotation matrices (..., 3, 3), by Rodrigues' formula in double precision."""
    # not by scipy, whose last bits differ: cached features belong to exactly these pictures and labels
    rotvec = np.asarray(rotvec, np.float64)
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(rotvec / np.maximum(angle[..., 0], 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def rotmat_to_rotvec(rotmat: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) -> axis-angle (..., 3) radians, angle in [0, pi]."""
    return Rotation.from_matrix(rotmat.reshape(-1, 3, 3)).as_rotvec().reshape(*rotmat.shape[:-1])


@njit(cache=True, error_model="numpy")
def bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest coordinates of points (N, D) -> (D,), (D,); numpy is slow along the first axis."""
    low, high = points[0].copy(), points[0].copy()
    for i in range(1, points.shape[0]):
        for k in range(points.shape[1]):
            low[k] = min(low[k], points[i, k])
            high[k] = max(high[k], points[i, k])
    return low, high


@njit(cache=True, error_model="numpy")
def skin(points: np.ndarray, bones: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Linear blend skinning: points (N, 3), bones and weights (N, K), transforms (24, 3, 4) -> (N, 3) float32."""
    out = np.empty((points.shape[0], 3), np.float32)
    blend = np.empty((3, 4), np.float32)
    for i in range(points.shape[0]):
        blend[:] = 0.0
        for k in range(bones.shape[1]):
            w = weights[i, k]
            if w != 0.0:
                b = bones[i, k]
                for r in range(3):
                    for c in range(4):
                        blend[r, c] += w * transforms[b, r, c]
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for r in range(3):
            out[i, r] = blend[r, 0] * x + blend[r, 1] * y + blend[r, 2] * z + blend[r, 3]
    return out


def sparse_weights(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense weights (N, 24) -> bone numbers (N, K) int32 and weights (N, K) float32; K is the largest number of bones
    that move one vertex."""
    count = max(int((dense != 0).sum(1).max()), 1)
    bones = np.argsort(-dense, axis=1, kind="stable")[:, :count]
    return bones.astype(np.int32), np.take_along_axis(dense, bones, 1).astype(np.float32)


class Body:
    """A body read from a .npz file in SMPL layout with keypoint regressors and texture coordinates, posed by numpy.

    Attributes: template (V, 3) and shapedirs (V, 3, 10), metres; faces (F, 3) int32; bones and weights (V, K); uv
    (T, 2) in [0, 1] and uv_faces (F, 3), or None; joint_template (24, 3) and joint_shapedirs (24, 3, 10), metres; probe
    (P,): numbers of vertices that suffice for bounds and keypoints. UserError if the file is unusable.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        if not path.is_file():
            raise UserError(
                f"body file {path} does not exist: build it with scripts/build_open_body.py or name another"
            )
        try:
            check_arrays(path)
            with np.load(path, allow_pickle=False) as data:
                missing = [key for key in REQUIRED if key not in data]
                if missing:
                    raise UserError(
                        f"body file {path} lacks {', '.join(missing)}: synthetic people need the open body "
                        "(meta_data/open_body.npz)"
                    )
                arrays = {key: data[key] for key in data.files if data[key].dtype.kind in "fiub"}
        except (OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"body file {path} cannot be read ({error}): fetch or build it again") from error
        self.path = path
        self.template = arrays["v_template"].astype(np.float32)
        self.shapedirs = arrays["shapedirs"][..., :10].astype(np.float32)
        self.posedirs = arrays["posedirs"].astype(np.float32) if arrays["posedirs"].any() else None
        self.faces = arrays["f"].astype(np.int32)
        self.dense_weights = arrays["weights"].astype(np.float64)
        self.bones, self.weights = sparse_weights(self.dense_weights)
        self.joint_template = arrays["J_regressor"] @ arrays["v_template"].astype(np.float64)
        self.joint_shapedirs = np.einsum("jv,vcs->jcs", arrays["J_regressor"], arrays["shapedirs"][..., :10])
        self.uv = arrays["uv"].astype(np.float32) if "uv" in arrays else None
        self.uv_faces = arrays["uv_f"].astype(np.int32) if "uv_f" in arrays else None
        regressors = {name: arrays[f"{name}_regressor"].astype(np.float64) for name in ("j17", "j24")}
        # enough vertices for the bounds and all keypoints
        used = sum((regressor != 0).any(0) for regressor in regressors.values()) > 0
        used[::5] = True
        self.probe = np.flatnonzero(used)
        self._regressors = {}
        for name, regressor in regressors.items():
            rows, columns = np.nonzero(regressor)
            self._regressors[name] = rows, columns, regressor[rows, columns], len(regressor)

    def keypoints(self, vertices: np.ndarray, name: str = "j24") -> np.ndarray:
        """vertices (V, 3), or those of `probe` (P, 3) -> keypoints (24, 3), or (17, 3) for "j17", in the same frame."""
        rows, columns, values, count = self._regressors[name]
        if len(vertices) == len(self.probe):
            columns = np.searchsorted(self.probe, columns)
        weighted = values[:, None] * vertices[columns]
        return np.stack([np.bincount(rows, weighted[:, c], count) for c in range(3)], -1)

    def transforms(self, rotmat: np.ndarray, rest_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parent-relative rotations (24, 3, 3), rest joints (24, 3) -> transforms (24, 3, 4) float32 from the rest pose
        to the pose, joints (24, 3); metres."""
        joints, rotations = forward_kinematics(rotmat, rest_joints, rest_joints[0])
        offsets = joints - (rotations @ rest_joints[..., None])[..., 0]
        return np.concatenate((rotations, offsets[..., None]), -1).astype(np.float32), joints

    def posed(
        self, rotmat: np.ndarray, betas: ArrayLike, only: slice | np.ndarray = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pose the body as `models.body_model` does: rotmat (24, 3, 3), betas (10,) -> vertices (V, 3) float32, joints
        (24, 3), metres, and the transforms (24, 3, 4) that moved them. only: numbers of the vertices to return."""
        betas = np.asarray(betas)
        rest = self.template[only] + self.shapedirs[only] @ betas.astype(np.float32)
        if self.posedirs is not None:
            change = (rotmat[1:] - np.eye(3)).reshape(-1).astype(np.float32)
            rest = rest + (self.posedirs.reshape(*self.template.shape, 207)[only] @ change)
        transforms, joints = self.transforms(rotmat, self.joint_template + self.joint_shapedirs @ betas)
        return skin(rest, self.bones[only], self.weights[only], transforms), joints, transforms
