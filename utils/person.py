"""A person in a picture: detected (`Detection`) and reconstructed (`Person`)."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from utils.camera import UPRIGHT, Crop, Focal, Perspective, Placement, WeakPerspective
from utils.errors import UserError
from utils.joint_angles import joint_angles

Box = tuple[float, float, float, float]  # x, y, width, height in pixels


@dataclass(frozen=True)
class Person:
    """One reconstructed person.

    3D points: metres, x right, y down, z away from the viewer, pelvis near the origin. `to_camera` moves them to the
    frame of the photograph's pinhole camera, `perspective`. 2D points: pixels of the picture, whole numbers at pixel
    centres.
    """

    bbox: np.ndarray  # (4,) x, y, width, height, pixels
    score: float | None  # confidence of the detector in [0, 1]; None if the box was given or nobody was found
    pose: np.ndarray  # (24, 3) axis-angle, radians, parent-relative; joint 0 is the global orientation
    betas: np.ndarray  # (10,) shape
    cam: np.ndarray  # (3,) s, tx, ty: weak-perspective camera of the crop
    crop: Crop  # input square of the network
    camera: WeakPerspective  # `cam` in pixels of the whole picture: camera.project(vertices)
    vertices: np.ndarray  # (V, 3)
    joints: np.ndarray  # (24, 3) kinematic joints, utils.skeleton.SMPL_JOINTS
    joints_2d: np.ndarray  # (24, 2)
    keypoints_3d: np.ndarray  # (14, 3) surface-regressed keypoints, utils.skeleton.J14
    keypoints_2d: np.ndarray  # (14, 2)
    focal: Focal  # pixels, and its source
    perspective: Perspective  # pinhole camera of the photograph, the same for all people in it
    placement: Placement  # rigid motion into the frame of `perspective`
    height: float  # metres, standing, of the body with these betas
    scale: float = 1.0  # size of the body, of which the 3D points are, in sizes of that of pose and betas
    guessed: tuple[str, ...] = ()  # parts that the picture does not show, of utils.detect.visibility.PARTS
    at_rest: str | None = None  # half beyond the picture's edge that has a rest pose, of utils.detect.visibility.HALVES

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of this person -> frame of `perspective` (..., 3)."""
        return self.placement.to_camera(points)

    def scaled(self, factor: float) -> "Person":
        """The same person larger and farther away: the picture stays the same."""
        grown = {name: factor * getattr(self, name) for name in ("vertices", "joints", "keypoints_3d")}
        return replace(
            self,
            **{name: points.astype(getattr(self, name).dtype) for name, points in grown.items()},
            camera=self.camera._replace(scale=self.camera.scale / factor),
            placement=self.placement._replace(shift=factor * self.placement.shift),
            height=factor * self.height,
            scale=factor * self.scale,
        )

    @property
    def orientation(self) -> np.ndarray:
        """(3,) axis-angle, radians: pose[0] in the frame of `perspective`."""
        root = Rotation.from_rotvec(self.pose[0].astype(np.float64))
        return (Rotation.from_matrix(self.placement.rotation) * root).as_rotvec()

    @property
    def translation(self) -> np.ndarray:
        """(3,) metres: scale * body_model(orientation, pose[1:], betas) + translation = to_camera(vertices)."""
        pelvis = self.joints[0].astype(np.float64)  # the body rotates about the pelvis
        return self.to_camera(pelvis) - pelvis

    def record(self) -> dict:
        """Fields of .json and .npz files in the camera frame, see utils.export.records.FIELDS."""
        mesh_to_camera = np.eye(4)
        mesh_to_camera[:3] = np.column_stack((self.placement.rotation * UPRIGHT, self.placement.shift))
        joints, keypoints, vertices = map(self.to_camera, (self.joints, self.keypoints_3d, self.vertices))
        pose = np.vstack((self.orientation, self.pose[1:]))
        return {
            "bbox": self.bbox,
            "score": self.score,
            "guessed": self.guessed,
            "at_rest": self.at_rest,
            "cam": self.cam,
            "crop": np.array((*self.crop.center, 200 * self.crop.scale)),
            "pose": pose,
            "betas": self.betas,
            "height": self.height,
            "scale": self.scale,
            "translation": self.translation,
            "joints_3d": joints,
            "joints_2d": self.perspective.project(joints),
            "keypoints_3d": keypoints,
            "keypoints_2d": self.perspective.project(keypoints),
            "angles": joint_angles(pose, joints),
            "mesh_to_camera": mesh_to_camera,
            "vertices": vertices,
        }


class Detection(NamedTuple):
    """A person's place in a picture, before reconstruction; fields as in Person."""

    bbox: Box
    crop: Crop
    score: float | None


def check_bbox(bbox: Box, rows: int, columns: int):
    """UserError unless the box, in pixels, has an area and overlaps a picture of rows x columns pixels."""
    x, y, width, height = bbox
    if not (np.isfinite(bbox).all() and width > 0 and height > 0):
        raise UserError(f"bbox {bbox} is not a box: give x,y,width,height in pixels, width and height above 0")
    if x >= columns or y >= rows or x + width <= 0 or y + height <= 0:
        raise UserError(f"bbox {bbox} is outside the picture of {columns} x {rows} pixels: give one inside")
