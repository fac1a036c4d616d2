"""Errors of the body under other conventions of its pose parameters."""

import numpy as np
from scipy.spatial.transform import Rotation

from datasets.builders.record import PersonRecord
from utils.skeleton import SMPL_FLIP

EXCHANGED, TRANSPOSED = "left and right of the pose are exchanged", "rotations of the pose are transposed"


def other_poses(records: list[PersonRecord]) -> dict[str, np.ndarray]:
    """Name of another convention -> poses (N, 72) in the camera's frame, of records that have a pose."""
    pose = np.stack([record.pose for record in records]).reshape(-1, 24, 3)
    transposed = -pose
    for i, record in enumerate(records):
        if record.extrinsic is not None:  # the root is transposed in its world frame
            camera = Rotation.from_matrix(record.extrinsic[0])
            root = camera.inv() * Rotation.from_rotvec(pose[i, 0])
            transposed[i, 0] = (camera * root.inv()).as_rotvec()
    return {EXCHANGED: pose[:, list(SMPL_FLIP)].reshape(-1, 72), TRANSPOSED: transposed.reshape(-1, 72)}


def pose_error(
    record: PersonRecord, points: np.ndarray, joints: np.ndarray, pixels: np.ndarray | None, limbs: np.ndarray
) -> float | None:
    """Mean distance to the best labels there are: SMPL joints, 3D keypoints (both around their mean), 2D keypoints.

    points (24, 3) and joints (24, 3) of the body, pixels (24, 2); limbs: places in J24 that are compared. None without
    such labels.
    """
    if record.labels_joints is not None:
        return _distance(joints, record.labels_joints)
    if record.labels_3d is not None:
        given = limbs[record.labels_3d[limbs, 3] > 0]
        if len(given) >= 4:
            return _distance(points[given], record.labels_3d[given, :3])
    if record.labels_2d is not None and pixels is not None:
        given = limbs[record.labels_2d[limbs, 2] > 0]
        if len(given) >= 4:
            return float(np.linalg.norm(pixels[given] - record.labels_2d[given, :2], axis=1).mean())
    return None


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm((a - a.mean(0)) - (b - b.mean(0)), axis=1).mean())
