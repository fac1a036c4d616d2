"""Forward kinematics of the 24 SMPL joints in numpy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from utils.skeleton import SMPL_PARENTS, tree_levels

# joints and their parents by depth in the tree, without the root: a whole level is rotated in one product
_LEVELS = tuple(
    (np.array(level), np.array([SMPL_PARENTS[j] for j in level])) for level in tree_levels(SMPL_PARENTS)[1:]
)


def forward_kinematics(rotmat: np.ndarray, rest_joints: np.ndarray, root: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Parent-relative rotations (..., 24, 3, 3), rest joints (24, 3), position of the root (..., 3) -> joint positions
    (..., 24, 3), global rotations (..., 24, 3, 3); metres."""
    rotations, positions = rotmat.copy(), np.empty(rotmat.shape[:-1])
    positions[..., 0, :] = root
    for joints, parents in _LEVELS:
        offset = rotations[..., parents, :, :] @ (rest_joints[joints] - rest_joints[parents])[..., None]
        positions[..., joints, :] = positions[..., parents, :] + offset[..., 0]
        rotations[..., joints, :, :] = rotations[..., parents, :, :] @ rotations[..., joints, :, :]
    return positions, rotations


def joint_positions(poses: np.ndarray, rest_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """poses (..., 24, 3) axis-angle, rest_joints (24, 3) metres -> joint positions (..., 24, 3), pelvis at the origin,
    and global rotations (..., 24, 3, 3)."""
    rotmat = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(*poses.shape, 3)
    return forward_kinematics(rotmat, rest_joints, 0.0)
