"""Made-up people in front of a camera, and pictures of them: the truth that test releases are written from.

A person is body parameters in a world frame (y up, metres). Nothing here uses the builders.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from models.body_model import BodyModel, load_body_model
from utils.paths import OPEN_BODY

COLOR = (40, 200, 250)  # RGB of a person in the pictures, on grey
BACKGROUND = 110
J24_LIMBS = range(12)


@cache
def open_body() -> BodyModel:
    return load_body_model(OPEN_BODY)


def pose_body(pose, betas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pose (72,), betas (10,) -> vertices (V, 3), SMPL joints (24, 3), J24 keypoints (24, 3), metres."""
    rotmat = Rotation.from_rotvec(np.reshape(pose, (24, 3))).as_matrix()
    with torch.inference_mode():
        vertices, joints = open_body()(
            torch.tensor(rotmat, dtype=torch.float32)[None], torch.tensor(betas, dtype=torch.float32)[None]
        )
    vertices = vertices[0].numpy().astype(np.float64)
    return vertices, joints[0].numpy().astype(np.float64), open_body().keypoint_regressors["j24"] @ vertices


@dataclass
class Camera:
    """x_cam = rotation x_world + shift; pinhole with focal (fx, fy) and principal point, pixels."""

    rotation: np.ndarray
    shift: np.ndarray
    focal: tuple[float, float]
    principal: tuple[float, float]
    size: tuple[int, int]  # height, width

    @property
    def matrix(self) -> np.ndarray:
        (fx, fy), (cx, cy) = self.focal, self.principal
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])

    @property
    def extrinsic(self) -> np.ndarray:
        return np.block([[self.rotation, self.shift[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        return points @ self.rotation.T + self.shift

    def project(self, in_camera: np.ndarray) -> np.ndarray:
        return in_camera[:, :2] / in_camera[:, 2:] * self.focal + self.principal


@dataclass
class Person:
    """World-frame parameters, and what follows from them in the camera."""

    pose: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    gender: str
    vertices: np.ndarray  # camera frame
    joints: np.ndarray  # SMPL's 24, camera frame
    world_joints: np.ndarray
    keypoints: np.ndarray  # J24, camera frame
    world_keypoints: np.ndarray
    pixels: np.ndarray  # J24
    mask: np.ndarray  # (H, W) bool: silhouette of this person alone

    @property
    def box(self) -> np.ndarray:
        """left, top, right, bottom of the mask."""
        ys, xs = np.nonzero(self.mask)
        return np.array([xs.min(), ys.min(), xs.max(), ys.max()], float)


def make_camera(rng, size=(270, 360), distance=4.0, world=True) -> Camera:
    """A camera that looks at the origin from `distance` m, slightly tilted; world False: it stands in its own frame."""
    height, width = size
    focal = (1.3 * width, 1.28 * width)
    principal = (width / 2 + 7.0, height / 2 - 5.0)
    if not world:
        return Camera(np.eye(3), np.zeros(3), focal, principal, size)
    yaw, pitch = rng.uniform(-np.pi, np.pi), rng.uniform(-0.25, 0.25)
    flip = np.diag([1.0, -1.0, -1.0])  # y up to y down
    rotation = flip @ Rotation.from_euler("xy", (pitch, yaw)).as_matrix()
    return Camera(rotation, np.array([0.1, -0.05, distance]), focal, principal, size)


def make_person(rng, camera: Camera, gender="neutral", beside: float = 0.0, distance: float = 4.0) -> Person:
    """A person near the world's origin, or, for a camera in its own frame, `distance` m in front of it."""
    pose = np.zeros((24, 3))
    pose[1:] = rng.normal(0, 0.22, (23, 3))
    pose[[10, 11, 22, 23]] *= 0.3
    pose[0] = Rotation.from_euler("y", rng.uniform(-np.pi, np.pi)).as_rotvec() + rng.normal(0, 0.1, 3)
    betas = rng.normal(0, 0.8, 10)
    own = np.allclose(camera.rotation, np.eye(3))
    if own:
        turned = Rotation.from_euler("x", np.pi) * Rotation.from_rotvec(pose[0])
        pose[0] = turned.as_rotvec()
    vertices = pose_body(pose.reshape(-1), betas)[0]
    wanted = np.array([beside, 0.0, distance]) if own else camera.rotation.T @ np.array([beside, 0, 0])
    translation = wanted - vertices.mean(0) + rng.normal(0, 0.05, 3)
    return place_person(pose.reshape(-1), betas, translation, camera, gender)


def place_person(pose, betas, translation, camera: Camera, gender: str = "neutral") -> Person:
    """World-frame parameters -> the person and its silhouette."""
    vertices, joints, keypoints = (values + translation for values in pose_body(pose, betas))
    in_camera = camera.to_camera(vertices)
    return Person(
        pose=pose,
        betas=betas,
        translation=translation,
        gender=gender,
        vertices=in_camera,
        joints=camera.to_camera(joints),
        world_joints=joints,
        keypoints=camera.to_camera(keypoints),
        world_keypoints=keypoints,
        pixels=camera.project(camera.to_camera(keypoints)),
        mask=silhouette(camera.project(in_camera), camera.size),
    )


def silhouette(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Projected vertices (V, 2) of the open body -> (H, W) bool: every triangle filled."""
    mask = np.zeros(size, np.uint8)
    triangles = np.round(pixels[open_body().faces] * 16).astype(np.int32)
    for triangle in triangles:
        cv2.fillConvexPoly(mask, triangle, 1, shift=4)
    return mask > 0


def draw(people: list[Person], camera: Camera) -> np.ndarray:
    """-> (H, W, 3) uint8 RGB."""
    image = np.full((*camera.size, 3), BACKGROUND, np.uint8)
    for person in people:
        image[person.mask] = COLOR
    return image


def write_picture(path: Path, people: list[Person], camera: Camera) -> bytes:
    """Draw into a JPEG (or PNG, by its name) -> its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    cv2.imwrite(str(path), draw(people, camera)[..., ::-1], flags)
    return path.read_bytes()


def find_mask(image: np.ndarray) -> np.ndarray:
    """Picture (H, W, 3) RGB -> where people are."""
    return np.abs(image.astype(int) - BACKGROUND).max(-1) > 60


def with_confidence(points: np.ndarray, confidence: float = 1.0) -> np.ndarray:
    return np.column_stack((points, np.full(len(points), confidence)))
