"""Frames of exported coordinates: a rigid motion from the camera frame of a photograph."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from utils.camera import UPRIGHT
from utils.joint_angles import joint_angles


class Frame(NamedTuple):
    """Rigid motion from the camera frame (x right, y down, z away) to the frame of a file (y up), metres."""

    rotation: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,) metres: the camera in the file

    def apply(self, points: np.ndarray) -> np.ndarray:
        """points (..., 3), camera frame -> (..., 3), of the same type."""
        return points @ self.rotation.T.astype(points.dtype) + self.shift.astype(points.dtype)

    @property
    def to_camera(self) -> np.ndarray:
        """(4, 4) from the frame of the file into the camera frame."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation.T, -self.rotation.T @ self.shift
        return matrix

    @property
    def up(self) -> np.ndarray:
        """(3,) the file's y axis in the camera frame."""
        return self.rotation[1]


CAMERA = Frame(np.diag(UPRIGHT), np.zeros(3))  # y up, z towards the viewer, the camera at the origin


class Place(NamedTuple):
    """Where exported coordinates lie. kind: default, camera, origin or ground; frame: of files, unless the kind puts
    every body at its own origin."""

    kind: str = "default"
    frame: Frame = CAMERA


def move_record(record: dict, place: Place) -> dict:
    """The record of a person, made in the camera frame, where `place` has it; see utils.export.records.FIELDS."""
    if place.kind not in ("camera", "ground"):
        return record
    moved = {"mesh_to_camera": place.frame.to_camera} if "mesh_to_camera" in record else {}
    if place.kind == "ground":
        points = ("joints_3d", "keypoints_3d", "vertices")
        moved |= {name: place.frame.apply(record[name]) for name in points if name in record}
        pelvis = record["joints_3d"][..., 0, :] - record["translation"]  # about which the body turns
        moved["translation"] = place.frame.apply(pelvis + record["translation"]) - pelvis
        moved["pose"] = _turn_pose(record["pose"], place.frame.rotation)
        if "angles" in record:  # one of them is against the vertical
            level = UPRIGHT[:, None] * place.frame.rotation  # of a camera that looks along the floor
            pose = _turn_pose(record["pose"], level)
            moved["angles"] = joint_angles(pose, moved["joints_3d"] * UPRIGHT)
    return record | moved


def _turn_pose(pose: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """pose (..., 24, 3) axis-angle, radians, whose first row is turned by rotation (3, 3)."""
    pose = np.array(pose)
    pose[..., 0, :] = (Rotation.from_matrix(rotation) * Rotation.from_rotvec(pose[..., 0, :])).as_rotvec()
    return pose


def ground_frame(up: np.ndarray, height: float, above: np.ndarray) -> Frame:
    """y up from a floor, z towards the camera, the origin on the floor below a point.

    up (3,): unit normal of the floor, camera frame. height: of the camera above the floor, metres. above (3,): the
    point, camera frame.
    """
    towards = np.array((0.0, 0.0, -1.0))
    towards = towards - (towards @ up) * up
    if np.linalg.norm(towards) < 0.1:  # looks straight down: the lower edge of the picture is near
        towards = np.array((0.0, 1.0, 0.0))
        towards = towards - (towards @ up) * up
    towards /= np.linalg.norm(towards)
    rotation = np.stack((np.cross(up, towards), up, towards))
    shift = -rotation @ above
    shift[1] = height
    return Frame(rotation, shift)
