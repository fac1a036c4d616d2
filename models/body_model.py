"""Bodies in SMPL layout: shape and pose in, mesh and joints out (Loper et al., SMPL, SIGGRAPH Asia 2015).

It reads the open body of this repository and the official SMPL files. Frame: metres, y up, the body faces +z, its left
is +x; a global rotation turns it into any other frame.
"""

import copy
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from utils.errors import UserError
from utils.safe_load.limits import check_arrays
from utils.safe_load.unpickler import load_restricted_pickle
from utils.skeleton import NUM_JOINTS, SMPL_PARENTS, tree_levels

NUM_BETAS = 10
NUM_POSE_FEATURES = 207
KEYS = (
    *("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"),
    *("j17_regressor", "j24_regressor", "mean_pose6d", "mean_betas", "mean_cam", "uv", "uv_f", "flip_vertices"),
)
FAMILY = {55: "an SMPL-X", 52: "an SMPL-H", 16: "a MANO", 5: "a FLAME", 35: "a SMAL"}  # by number of joints
STAR_POSE_FEATURES = 93
REMEDY = "give a body in SMPL layout with --smpl_path"


class BodyModel(nn.Module):
    """Linear blend skinning of a body with 24 joints and 10 shape components.

    No buffer is persistent, so that no licensed data enters a checkpoint.

    Attributes: name; num_vertices V; faces (F, 3) int64; parents (24 ints, the root's is -1); uv (T, 2) in [0, 1] and
    uv_faces (F, 3) or None; keypoint_regressors, name -> (K, V) ("j17", "j24"; empty if the file has none);
    mean_params {"pose": (144,), "shape": (10,), "cam": (3,)} or None; flip_vertices (V,), each vertex's mirror image,
    or None.
    """

    def __init__(
        self,
        *,
        v_template: np.ndarray,
        shapedirs: np.ndarray,
        posedirs: np.ndarray,
        J_regressor: np.ndarray,
        weights: np.ndarray,
        faces: np.ndarray,
        name: str = "body",
        uv: np.ndarray | None = None,
        uv_faces: np.ndarray | None = None,
        keypoint_regressors: dict[str, np.ndarray] | None = None,
        mean_params: dict[str, np.ndarray] | None = None,
        flip_vertices: np.ndarray | None = None,
    ):
        """v_template (V, 3), shapedirs (V, 3, 10), posedirs (V, 3, 207), J_regressor (24, V), weights (V, 24).

        faces (F, 3), uv_faces (F, 3) and flip_vertices (V,) are indices. The others are described with the attributes.
        """
        super().__init__()
        self.name = name
        self.num_vertices = len(v_template)
        self.faces = np.asarray(faces, np.int64)
        self.parents = SMPL_PARENTS
        self.uv, self.uv_faces, self.flip_vertices = uv, uv_faces, flip_vertices
        self.keypoint_regressors = keypoint_regressors or {}
        self.mean_params = mean_params
        self.levels = tree_levels(self.parents)

        def buffer(key, value):
            self.register_buffer(key, torch.tensor(np.asarray(value), dtype=torch.float32), persistent=False)

        buffer("v_template", v_template)
        buffer("shapedirs", np.reshape(shapedirs, (-1, NUM_BETAS)).T)
        buffer("weights", weights)
        # The joints of a shape are linear in the betas, so the (24, V) regressor is applied once, here.
        regressor = np.asarray(J_regressor, np.float64)
        buffer("J_template", regressor @ v_template)
        buffer("J_shapedirs", np.einsum("jv,vcb->bjc", regressor, shapedirs).reshape(NUM_BETAS, -1))
        posedirs = np.reshape(posedirs, (-1, NUM_POSE_FEATURES)).T
        self.has_pose_blend_shapes = bool(np.any(posedirs))
        buffer("posedirs", posedirs if self.has_pose_blend_shapes else np.zeros((NUM_POSE_FEATURES, 0)))
        # Joints are processed level by level of the tree. Index tensors: their order by level, its inverse, and the
        # position of each parent in the level above. Lists would be copied to the GPU at every use, which synchronises.
        visited, places = np.concatenate(self.levels), [level.index(j) for level in self.levels for j in level]
        above = [places[list(visited).index(self.parents[j])] if j else 0 for j in visited]
        for key, index in (("visited", visited), ("order", np.argsort(visited)), ("above", above)):
            self.register_buffer(key, torch.tensor(index), persistent=False)

    def at_vertices(self, keep: Tensor) -> "BodyModel":
        """The same body with the K vertices `keep` (K,) alone: the same joints, no faces."""
        reduced = copy.deepcopy(self)
        reduced.num_vertices = len(keep)
        reduced.faces, reduced.uv, reduced.uv_faces, reduced.flip_vertices = (
            np.zeros((0, 3), np.int64),
            None,
            None,
            None,
        )
        reduced.keypoint_regressors = {}
        reduced.v_template, reduced.weights = self.v_template[keep], self.weights[keep]
        reduced.shapedirs = self.shapedirs.unflatten(1, (-1, 3))[:, keep].flatten(1)
        if self.has_pose_blend_shapes:
            reduced.posedirs = self.posedirs.unflatten(1, (-1, 3))[:, keep].flatten(1)
        return reduced

    def forward(self, rotmat: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """rotmat (B, 24, 3, 3) to the parent, betas (B, 10) -> vertices (B, V, 3), joints (B, 24, 3), in metres."""
        with torch.autocast(rotmat.device.type, enabled=False):
            dtype = self.v_template.dtype
            return self._forward(rotmat.to(dtype), betas.to(dtype))

    def joints(self, rotmat: Tensor, betas: Tensor) -> Tensor:
        """The joints of `forward` alone, (B, 24, 3), for a hundredth of its compute."""
        return self.joint_frames(rotmat, betas)[1]

    def standing_height(self, betas: Tensor) -> Tensor:
        """betas (B, 10) -> (B,) metres from the soles to the top of the head at rest, the arms spread."""
        with torch.autocast(betas.device.type, enabled=False):
            up = self.v_template[:, 1] + betas.to(self.v_template.dtype) @ self.shapedirs[:, 1::3]
            return up.amax(1) - up.amin(1)

    def joint_frames(self, rotmat: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Global rotation and position of each joint: (B, 24, 3, 3), (B, 24, 3) metres."""
        with torch.autocast(rotmat.device.type, enabled=False):
            dtype = self.v_template.dtype
            rotmat, betas = rotmat.to(dtype), betas.to(dtype)
            return self._pose_joints(rotmat, self.J_template + (betas @ self.J_shapedirs).unflatten(1, (-1, 3)))

    def _forward(self, rotmat: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        vertices = self.v_template + (betas @ self.shapedirs).unflatten(1, (-1, 3))
        joints = self.J_template + (betas @ self.J_shapedirs).unflatten(1, (-1, 3))
        if self.has_pose_blend_shapes:
            feature = (rotmat[:, 1:] - torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)).flatten(1)
            vertices = vertices + (feature @ self.posedirs).unflatten(1, (-1, 3))
        turn, posed = self._pose_joints(rotmat, joints)
        shift = posed - (turn @ joints[..., None])[..., 0]
        # one matrix product blends the rotations and shifts of all joints, (B, 3, 4, V); vertices are contiguous in
        # memory, which makes the next lines fast
        blended = torch.cat((turn, shift[..., None]), -1).flatten(2).mT @ self.weights.mT
        (x, y, z), blended = vertices.mT.contiguous()[:, None].unbind(2), blended.unflatten(1, (3, 4))
        vertices = blended[:, :, 0] * x + blended[:, :, 1] * y + blended[:, :, 2] * z + blended[:, :, 3]
        return vertices.mT, posed

    def _pose_joints(self, rotmat: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Forward kinematics: global rotations (B, 24, 3, 3) and posed joints (B, 24, 3)."""
        sizes = [len(level) for level in self.levels]
        rotmats, joints = (x.index_select(1, self.visited).split(sizes, 1) for x in (rotmat, joints))
        turns, places = [rotmats[0]], [joints[0]]
        for level, index in enumerate(self.above.split(sizes)[1:], 1):
            turn, place, start = (x[level - 1].index_select(1, index) for x in (turns, places, joints))
            turns.append(turn @ rotmats[level])
            places.append(place + (turn @ (joints[level] - start)[..., None])[..., 0])
        return tuple(torch.cat(parts, 1).index_select(1, self.order) for parts in (turns, places))


def load_body_model(path: str | Path) -> BodyModel:
    """Read a body in SMPL layout: the open body (.npz), official SMPL (.npz or .pkl of any age).

    Its name is "smpl" if the file has one of SMPL's usual names, else the stem of the file. UserError if the file is
    missing, damaged or no such body.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"body model not found at {path}; {REMEDY}")
    data = load_restricted_pickle(path) if path.suffix.lower() == ".pkl" else _read_npz(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a {type(data).__name__}, not a body model; {REMEDY}")
    _check_family(data, path)
    template = _array(data, "v_template", (None, 3), path)
    n = len(template)
    shapedirs = _array(data, "shapedirs", (n, 3, None), path)
    if shapedirs.shape[2] < NUM_BETAS:
        raise UserError(f"{path} has {shapedirs.shape[2]} shape components, {NUM_BETAS} are needed; {REMEDY}")
    _check_tree(_array(data, "kintree_table", (2, NUM_JOINTS), path), path)
    uv, uv_faces, flip_vertices, mean_params = None, None, None, None
    if "uv" in data:
        uv = _array(data, "uv", (None, 2), path)
        uv_faces = _faces(data, "uv_f", len(uv), path)
    if "mean_pose6d" in data:
        sizes = {"pose": ("mean_pose6d", 144), "shape": ("mean_betas", NUM_BETAS), "cam": ("mean_cam", 3)}
        mean_params = {key: _array(data, name, (size,), path) for key, (name, size) in sizes.items()}
    if "flip_vertices" in data:
        flip_vertices = _array(data, "flip_vertices", (n,), path).astype(np.int64)
    return BodyModel(
        v_template=template,
        shapedirs=shapedirs[:, :, :NUM_BETAS],
        posedirs=_array(data, "posedirs", (n, 3, NUM_POSE_FEATURES), path),
        J_regressor=_array(data, "J_regressor", (NUM_JOINTS, n), path),
        weights=_array(data, "weights", (n, NUM_JOINTS), path),
        faces=_faces(data, "f", n, path),
        name="smpl" if path.stem.lower().startswith(("smpl_", "basicmodel_")) else path.stem,
        uv=uv,
        uv_faces=uv_faces,
        keypoint_regressors={
            key: _array(data, f"{key}_regressor", (int(key[1:]), n), path).astype(np.float32)
            for key in ("j17", "j24")
            if f"{key}_regressor" in data
        },
        mean_params=mean_params,
        flip_vertices=flip_vertices,
    )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in KEYS if key in file.files}
    except UserError:
        raise
    except Exception as error:  # damaged archives raise many kinds of exceptions
        raise UserError(f"{path} is damaged or is not the .npz of a body model ({error}); {REMEDY}") from None


def _array(data: dict, key: str, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """data[key] as a dense array of finite numbers with this shape; None is any size above 0."""
    if key not in data:
        raise UserError(f"{path} is not a body model: it lacks '{key}'; {REMEDY}")
    value = data[key]
    found = np.shape(value)
    fits = len(found) == len(shape) and all(n == (want or n) > 0 for n, want in zip(found, shape, strict=True))
    if not fits:
        wanted = tuple("any" if n is None else n for n in shape)
        raise UserError(f"{path}: '{key}' has shape {found}, expected {wanted}; {REMEDY}")
    value = value.toarray() if scipy.sparse.issparse(value) else np.asarray(value)
    if value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        raise UserError(f"{path}: '{key}' has values that are not finite numbers; {REMEDY}")
    return value


def _check_family(data: dict, path: Path):
    """UserError that names another body model of SMPL's family, which has the same keys in other shapes."""
    tree, blend = np.shape(data.get("kintree_table")), np.shape(data.get("posedirs"))
    name = FAMILY.get(tree[1]) if len(tree) == 2 else None
    if tree == (2, NUM_JOINTS) and blend and blend[-1] == STAR_POSE_FEATURES:
        name = "a STAR"
    if name:
        raise UserError(f"{path} is {name} body model ({tree[1]} joints), which is not supported; {REMEDY}")


def _check_tree(table: np.ndarray, path: Path):
    # the root's parent is written as -1, 0 or the largest unsigned number
    if tuple(int(p) for p in table[0, 1:]) != SMPL_PARENTS[1:]:
        raise UserError(f"{path}: 'kintree_table' is not the tree of SMPL's 24 joints; {REMEDY}")


def _faces(data: dict, key: str, n: int, path: Path) -> np.ndarray:
    faces = _array(data, key, (None, 3), path).astype(np.int64)
    if faces.min() < 0 or faces.max() >= n:
        raise UserError(f"{path}: '{key}' has indices outside its {n} vertices; {REMEDY}")
    return faces
