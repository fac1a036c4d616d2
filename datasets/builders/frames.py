"""World frame to camera frame for parameters of a body."""

import numpy as np
from scipy.spatial.transform import Rotation


def to_camera_frame(
    pose: np.ndarray, translation: np.ndarray, root: np.ndarray, rotation: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World-frame pose (N, 72), translation (N, 3), and camera x_cam = R x + t -> the same in the camera's frame.

    rotation R (N, 3, 3) or (3, 3), shift t (N, 3) or (3,) metres; root (N, 3) or (3,): the root joint J0 in rest pose.
    A body turns about J0, not about the origin, hence t_cam = R (J0 + t_world) + t - J0.
    """
    turned = Rotation.from_matrix(rotation) * Rotation.from_rotvec(pose[:, :3])
    camera_pose = np.concatenate((turned.as_rotvec().reshape(-1, 3), pose[:, 3:]), axis=1)
    moved = np.einsum("...ij,...j->...i", rotation, root + translation) + shift - root
    return camera_pose, moved


def check_rotation(matrix: np.ndarray) -> bool:
    """Is (..., 3, 3) a rotation: orthonormal to 1 %, without reflection?"""
    product = matrix @ np.swapaxes(matrix, -1, -2)
    return bool((np.abs(product - np.eye(3)) < 0.01).all() and (np.linalg.det(matrix) > 0).all())


def other_conventions(rotation: np.ndarray, shift: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """x_cam = R x + t as R (3, 3) and t (3,) -> rigid motions of x_cam that make other conventions of R and t of it.

    Keys: what R and t would be then.
    """
    others = {
        "a transposed rotation": (rotation.T, shift),
        "camera to world": (rotation.T, -rotation.T @ shift),
        "R (x - t)": (rotation, -rotation @ shift),
    }
    motions = {}
    for name, (other_rotation, other_shift) in others.items():
        turn = other_rotation @ rotation.T
        motions[name] = turn, other_shift - turn @ shift
    return motions
