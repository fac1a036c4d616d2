"""Linear blend skinning and its inverse in numpy, to build the open body."""

import numpy as np
import scipy.sparse
from scipy.spatial.transform import Rotation

from scripts.lib.open_body.source import JOINT
from utils.skeleton import SMPL_FLIP, SMPL_JOINTS, SMPL_PARENTS

MIRROR = np.array([-1.0, 1.0, 1.0])


def frame(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rotation (3, 3): the first column is along x (3,), the second along the part of y (3,) perpendicular to x."""
    x = x / np.linalg.norm(x)
    y = y - (y @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack((x, y, np.cross(x, y)), 1)


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes the direction a (3,) to the direction b (3,)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.arccos(a @ b)).as_matrix()


def resting_pose(joints: np.ndarray, knuckles: np.ndarray) -> np.ndarray:
    """Rotations from SMPL's T pose to MakeHuman's rest pose.

    joints (24, 3) and knuckles (2, 3; left index and little finger) of the mean shape in the rest pose -> global
    rotations (24, 3, 3).
    """

    def along(a, b):
        return joints[JOINT[b]] - joints[JOINT[a]]

    upper, fore, hand = along("L_shoulder", "L_elbow"), along("L_elbow", "L_wrist"), along("L_wrist", "L_hand")
    # In T pose the left elbow bends forwards, about -y, and the palm is down: the index finger lies in front of the
    # little one. This defines the roll of arm and hand about their length.
    hinge = -np.cross(upper, fore)
    rotation = np.tile(np.eye(3), (24, 1, 1))
    rotation[JOINT["L_collar"]] = Rotation.from_euler("z", -8, degrees=True).as_matrix()
    rotation[JOINT["L_shoulder"]] = frame(upper, hinge)
    rotation[JOINT["L_elbow"]] = frame(fore, hinge)
    rotation[[JOINT["L_wrist"], JOINT["L_hand"]]] = frame(hand, np.cross(knuckles[0] - knuckles[1], hand))
    rotation[JOINT["L_hip"]] = rotation_between(np.array([0.05, -1, 0]), along("L_hip", "L_knee"))
    rotation[JOINT["L_knee"]] = rotation_between(np.array([0, -1, -0.03]), along("L_knee", "L_ankle"))
    for i, name in enumerate(SMPL_JOINTS):
        if name.startswith("L_"):
            rotation[SMPL_FLIP[i]] = MIRROR[:, None] * rotation[i] * MIRROR
    return rotation


def smooth_weights(weights: np.ndarray, quads: np.ndarray, rounds: int = 16) -> np.ndarray:
    """Average weights (V, 24) with those of neighbouring vertices, `rounds` times.

    MakeHuman's weights change abruptly at elbows and groin, because it has more bones there than SMPL.
    """
    edges = np.concatenate([np.stack((quads[:, i], quads[:, i - 1]), 1) for i in range(4)])
    n = len(weights)
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(n, n)).tocsr()
    graph = ((graph + graph.T) > 0).astype(float)
    mean = scipy.sparse.diags(1 / graph.sum(1).A1) @ graph
    for _ in range(rounds):
        weights = (weights + mean @ weights) / 2
    return weights


def unpose(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Undo linear blend skinning: vertices (n, V, 3) and joints (n, 24, 3) in the rest pose -> the same in T pose.

    Skinning the result with rotation (24, 3, 3) gives the modelled rest pose exactly, so that arms that hang down have
    their modelled shape.
    """
    posed = np.empty_like(joints)
    posed[:, 0] = joints[:, 0]
    for j in range(1, 24):
        p = SMPL_PARENTS[j]
        posed[:, j] = posed[:, p] + (joints[:, j] - joints[:, p]) @ rotation[p]
    shift = joints - np.einsum("jab,njb->nja", rotation, posed)
    inverse = np.linalg.inv(np.einsum("vj,jab->vab", weights, rotation))
    rest = vertices - np.einsum("vj,nja->nva", weights, shift)
    return np.einsum("vab,nvb->nva", inverse, rest, optimize=True), posed


def skin(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, local: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pose vertices (n, V, 3) and joints (n, 24, 3) by parent-relative rotations (n, 24, 3, 3)."""
    turn, posed = local.copy(), joints.copy()
    for j in range(1, 24):
        p = SMPL_PARENTS[j]
        turn[:, j] = turn[:, p] @ local[:, j]
        posed[:, j] = posed[:, p] + np.einsum("nab,nb->na", turn[:, p], joints[:, j] - joints[:, p])
    shift = posed - np.einsum("njab,njb->nja", turn, joints)
    out = np.einsum("vj,nja->nva", weights, shift, optimize=True)
    for j in range(24):
        move = weights[:, j] > 0
        out[:, move] += weights[move, j, None] * np.einsum("nab,nvb->nva", turn[:, j], vertices[:, move], optimize=True)
    return out, posed


def random_poses(n: int, rng: np.random.Generator) -> np.ndarray:
    """Random poses (n, 24, 3, 3): limbs far from the T pose, knees and elbows bent only as joints allow."""
    pose = rng.normal(0, 0.12, (n, 24, 3))
    for side, sign in (("L", 1), ("R", -1)):
        pose[:, JOINT[f"{side}_shoulder"]] = rng.normal(0, 0.4, (n, 3)) + rng.uniform(-1.3, 0.6, (n, 1)) * [0, 0, sign]
        pose[:, JOINT[f"{side}_elbow"], 1] = -sign * rng.uniform(0, 2.2, n)
        pose[:, JOINT[f"{side}_hip"]] = rng.normal(0, 0.2, (n, 3)) + rng.uniform(-1.6, 0.3, (n, 1)) * [1, 0, 0]
        pose[:, JOINT[f"{side}_knee"], 0] = rng.uniform(0, 2.0, n)
    return Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(n, 24, 3, 3)


def mean_parameters(template: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """A relaxed upright person in front of the camera: 6D pose (144,), betas (10,), camera (3,) that fits the crop."""
    pose = np.zeros((24, 3))
    pose[JOINT["pelvis"]] = [np.pi, 0, 0]
    for side, sign in (("L", 1), ("R", -1)):
        pose[JOINT[f"{side}_collar"]] = [0, 0, -0.1 * sign]
        pose[JOINT[f"{side}_shoulder"]] = [0, -0.1 * sign, -1.05 * sign]
        pose[JOINT[f"{side}_elbow"]] = [0, -0.35 * sign, 0]
        pose[JOINT[f"{side}_hip"]] = [-0.08, 0, 0.03 * sign]
        pose[JOINT[f"{side}_knee"]] = [0.12, 0, 0]
    rotmat = Rotation.from_rotvec(pose).as_matrix()
    vertices, _ = skin(template[None], joints[None], weights, rotmat[None])
    low, high = vertices[0].min(0), vertices[0].max(0)
    # crops are 1.2 times as high as the person
    cam = np.array([2 / 1.2 / (high - low)[1], 0, -(high + low)[1] / 2])
    return {"mean_pose6d": rotmat[:, :, :2].reshape(-1), "mean_betas": np.zeros(10), "mean_cam": cam}
