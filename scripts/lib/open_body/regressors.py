"""Regressors of the open body: sparse rows that map vertices to joints and keypoints."""

import numpy as np
import scipy.sparse
from scipy.optimize import nnls

from scripts.lib.open_body.source import JOINT
from utils.skeleton import J17, J24, SMPL_FLIP, SMPL_JOINTS, SMPL_PARENTS

# MakeHuman's knee, about which its leg bends, lies at 0.300 of the height; the knee of people lies at 0.285 (Drillis
# and Contini 1966). So the keypoint is 22 mm lower: this share of the way to the ankle.
KNEE_SHIFT = 0.05


def fit_row(vertices: np.ndarray, target: np.ndarray, importance: np.ndarray, signed: bool) -> np.ndarray:
    """Weights (C,) with sum 1 that map vertices (n, C, 3) to target (n, 3), by least squares.

    importance (n,): weights of the samples. A ridge term spreads the row over many vertices. Non-negative rows give
    points inside the body on any mesh. Signed rows can also follow joint centres that move relative to the skin around
    them; MakeHuman's move by centimetres.
    """
    a = (vertices - target[:, None]) * np.sqrt(importance / importance.sum())[:, None, None]
    a = a.transpose(0, 2, 1).reshape(-1, vertices.shape[1])
    gram = a.T @ a + (5e-7 if signed else 1e-5) * np.eye(a.shape[1])
    ones = np.ones(len(gram))
    if signed:
        row = np.linalg.solve(gram, ones)
    else:
        # Coordinates are relative to the target, so without the condition on the sum the solution would be zero.
        lower = np.linalg.cholesky(gram + 1.0)
        row, _ = nnls(lower.T, np.linalg.solve(lower, ones))
        row[row < 1e-3 * row.max()] = 0
    return row / row.sum()


class RegressorFitter:
    """Fits sparse rows that map vertices to points inside the body.

    rest, posed (n, V, 3): vertices of random shapes in T pose and in random poses; joints, posed_joints (n, 24, 3);
    weights (V, 24); flip (V,): mirror image of each vertex; template (V, 3).
    """

    def __init__(
        self,
        rest: np.ndarray,
        posed: np.ndarray,
        joints: np.ndarray,
        posed_joints: np.ndarray,
        weights: np.ndarray,
        flip: np.ndarray,
        template: np.ndarray,
    ):
        self.rest, self.posed, self.weights, self.flip, self.template = rest, posed, weights, flip, template
        self.rest_joints, self.posed_joints = joints, posed_joints

    def row(
        self, mix: dict[str, float], carried_by: tuple[str, ...], centred: bool = False, signed: bool = False
    ) -> np.ndarray:
        """A row (V,) for a weighted mean of joints, on the nearest vertices that mostly move with `carried_by`.

        centred: the row is symmetric; signed: negative weights are allowed.
        """
        weight = np.zeros(24)
        for name, w in mix.items():
            weight[JOINT[name]] = w
        target, posed_target = weight @ self.rest_joints, weight @ self.posed_joints
        moved = self.weights[:, [JOINT[name] for name in carried_by]].sum(1)
        distance = np.linalg.norm(self.template - target.mean(0), axis=1) + np.where(moved > 0.6, 0, 10)
        near = np.argsort(distance, kind="stable")[: 1000 if signed else 400]
        importance = np.concatenate((np.ones(len(target)), np.full(len(posed_target), 0.3 if signed else 1.0)))
        points = np.concatenate((self.rest[:, near], self.posed[:, near])).astype(np.float64)
        row = np.zeros(len(self.template))
        row[near] = fit_row(points, np.concatenate((target, posed_target)), importance, signed)
        return (row + row[self.flip]) / 2 if centred else row


def kinematic_regressor(fitter: RegressorFitter) -> np.ndarray:
    """(24, V): SMPL joints from vertices in T pose."""
    rows = np.zeros((24, len(fitter.template)))
    for j, name in enumerate(SMPL_JOINTS):
        if name.startswith("R_"):
            continue
        relatives = {j, SMPL_PARENTS[j], *(c for c in range(24) if SMPL_PARENTS[c] == j)} - {-1}
        carried_by = tuple(SMPL_JOINTS[r] for r in relatives)
        rows[j] = fitter.row({name: 1.0}, carried_by, centred=not name.startswith("L_"), signed=True)
        if name.startswith("L_"):
            rows[SMPL_FLIP[j]] = rows[j][fitter.flip]
    return rows


def surface_rows(template: np.ndarray, faces: np.ndarray, flip: np.ndarray, head_y: float) -> dict[str, np.ndarray]:
    """Rows (V,) of the landmarks on the skin: the mean of a few vertices around a point of the template."""
    edges = np.concatenate((faces[:, :2], faces[:, 1:]))
    n = len(template)
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(n, n))
    part = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    skin_part = np.bincount(part).argmax()
    on_head = (template[:, 1] > head_y) & (part == skin_part)
    middle = on_head & (np.abs(template[:, 0]) < 1e-6)
    left_eye = (part != skin_part) & (template[:, 0] > 0.01)
    below_nose = middle & (template[:, 1] < template[np.where(middle, template[:, 2], -9).argmax(), 1] - 0.03)

    def around(candidates, direction, count):
        extreme = np.where(candidates, template @ np.array(direction, float), -np.inf).argmax()
        row = np.zeros(n)
        nearest = np.argsort(np.linalg.norm(template - template[extreme], axis=1) + 10 * ~candidates, kind="stable")[
            :count
        ]
        row[nearest] = 1 / count
        return row

    rows = {
        "Top_of_Head": around(on_head, (0, 1, -0.1), 12),
        "Nose": around(on_head, (0, 0, 1), 6),
        "Jaw": around(below_nose, (0, -0.6, 0.8), 3),
        "L_Eye": around(left_eye, (0, 0, 1), 9),
        "L_Ear": around(on_head, (1, 0, 0), 16),
    }
    for name in ("Top_of_Head", "Nose", "Jaw"):
        rows[name] = (rows[name] + rows[name][flip]) / 2
    for name in ("Eye", "Ear"):
        rows[f"R_{name}"] = rows[f"L_{name}"][flip]
    return rows


def keypoint_regressors(fitter: RegressorFitter, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(17, V) and (24, V): Human3.6M's keypoints and the 24 label keypoints from posed vertices.

    Limb keypoints are joint centres, knees are `KNEE_SHIFT` lower. Pelvis is the middle of the hips, Thorax the middle
    of the collars. Head is inside the skull, between its base and the crown.
    """
    rows = surface_rows(fitter.template, faces, fitter.flip, fitter.rest_joints[:, JOINT["head"], 1].mean() - 0.05)
    for name, carried_by in {
        "Hip": ("hip", "pelvis"), "Knee": ("hip", "knee"), "Ankle": ("knee", "ankle"),
        "Shoulder": ("shoulder", "collar"), "Elbow": ("shoulder", "elbow"), "Wrist": ("elbow", "wrist"),
    }.items():  # fmt: skip
        carried_by = tuple(j if j == "pelvis" else f"L_{j}" for j in carried_by)
        rows[f"L_{name}"] = fitter.row({f"L_{name.lower()}": 1.0}, carried_by)
        rows[f"R_{name}"] = rows[f"L_{name}"][fitter.flip]
    for side in "LR":
        rows[f"{side}_Knee"] = (1 - KNEE_SHIFT) * rows[f"{side}_Knee"] + KNEE_SHIFT * rows[f"{side}_Ankle"]
    rows["Pelvis"] = (rows["L_Hip"] + rows["R_Hip"]) / 2
    rows["Neck"] = fitter.row({"neck": 1.0}, ("neck", "spine3"), centred=True)
    collars = ("L_collar", "R_collar", "spine3", "neck")
    rows["Thorax"] = fitter.row({"L_collar": 0.5, "R_collar": 0.5}, collars, centred=True)
    rows["Spine"] = fitter.row({"spine2": 1.0}, ("spine1", "spine2", "spine3"), centred=True)
    base = fitter.row({"head": 1.0}, ("head", "neck"), centred=True)
    rows["Head"] = 0.4 * base + 0.6 * rows["Top_of_Head"]
    rows["Torso"] = rows["Spine"]
    return np.stack([rows[name] for name in J17]), np.stack([rows[name] for name in J24])
