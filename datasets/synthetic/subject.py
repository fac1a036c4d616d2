"""Shape, pose, place and camera of a synthetic person, and the labels that follow. Appearance is in picture.py.

Frames. World: y up, floor at y = 0, the person's heading is a rotation about y. Camera: x right, y down, z along the
optical axis. Label frame: the camera frame after the smallest rotation that moves the viewing ray through the centre of
the crop to the z axis. A crop does not show where in the full picture it lies: a person near the edge of the picture
looks like the same person in the middle, rotated by that rotation. This is the orientation that can be estimated from a
crop, and `pose` and `keypoints_3d` are labelled in it. `keypoints_2d` are the true perspective projection.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from datasets.synthetic.person.body import Body, bounds, rotmat_to_rotvec, rotvec_to_rotmat
from datasets.synthetic.raster.rasterizer import perspective
from utils.skeleton import J24, J24_PELVIS


class CropWindow(NamedTuple):
    """A square on the plane z = 1 of the camera frame: centre and half side."""

    x: float
    y: float
    half: float


@dataclass
class Subject:
    """A posed person in front of a camera. Lengths in metres, angles in radians.

    pose (24, 3): axis-angle, row 0 in the label frame; betas (10,); transforms (24, 3, 4): rest pose to world;
    keypoints (24, 3): J24 in the world; camera (3, 4): world to camera; position (3,): of the camera in the world;
    to_label (3, 3): rotation from the camera frame to the label frame.
    """

    pose: np.ndarray
    betas: np.ndarray
    transforms: np.ndarray
    keypoints: np.ndarray
    camera: np.ndarray
    position: np.ndarray
    to_label: np.ndarray
    crop: CropWindow

    @property
    def keypoints_camera(self) -> np.ndarray:
        """J24 keypoints (24, 3) in the camera frame, metres."""
        return self.keypoints @ self.camera[:, :3].T + self.camera[:, 3]

    def keypoints_3d(self) -> np.ndarray:
        """J24 keypoints (24, 3) in the label frame, J24 pelvis at the origin, metres."""
        points = self.keypoints_camera
        return (points - points[J24_PELVIS]) @ self.to_label.T


def axis_rotation(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about coordinate axis 0, 1 or 2 by an angle in radians."""
    vector = np.zeros(3)
    vector[axis] = angle
    return rotvec_to_rotmat(vector)


def ray_to_z(ray: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that moves a ray (3,) to the z axis."""
    x, y, z = ray / np.linalg.norm(ray)
    return np.array(
        [[1 - x * x / (1 + z), -x * y / (1 + z), -x], [-x * y / (1 + z), 1 - y * y / (1 + z), -y], [x, y, z]]
    )


def draw_betas(rng: np.random.Generator) -> np.ndarray:
    """Shape coefficients (10,): normally distributed in 75 % of the cases, else uniform."""
    if rng.random() < 0.75:
        return np.clip(rng.normal(0, 1.1, 10), -3, 3)
    return rng.uniform(-2.5, 2.5, 10)


def draw_camera(rng: np.random.Generator, height: float, roll: float) -> tuple[np.ndarray, np.ndarray]:
    """A camera that looks at a person at the world's origin -> camera (3, 4) world to camera, its position (3,).

    height: of the person, metres; roll: rotation of the camera about the optical axis, radians.
    """
    distance = np.exp(rng.uniform(np.log(1.8), np.log(9)))
    kind = rng.random()
    if kind < 0.8:
        level = rng.uniform(0.6, 1.9)
    elif kind < 0.92:
        level = rng.uniform(1.9, 1.9 + 0.8 * distance)
    else:
        level = rng.uniform(0.1, 0.6)
    position = np.array([0, level, distance])
    target = np.array([0, 0.5 * height, 0])
    down = np.arctan2(level - target[1], distance)
    # angle between the person and the optical axis: up to half a wide field of view
    aside, above = np.clip(rng.normal(0, 0.2, 2), -0.5, 0.5) * (1, 0.6)
    rotation = (
        axis_rotation(2, roll) @ axis_rotation(0, down + above) @ axis_rotation(1, aside) @ np.diag([1.0, -1.0, -1.0])
    )
    return np.concatenate((rotation, -(rotation @ position)[:, None]), 1), position


UPPER = [J24.index(name) for name in J24 if not any(part in name for part in ("Knee", "Ankle"))]
BUST = [i for i in UPPER if not any(part in J24[i] for part in ("Hip", "Wrist", "Elbow", "Pelvis", "Spine"))]


def draw_crop(
    rng: np.random.Generator, low: np.ndarray, high: np.ndarray, keypoints: np.ndarray, zoom: float, truncate: bool
) -> CropWindow:
    """A square around the person on the plane z = 1.

    low, high (2,): bounds of the projected person; keypoints (24, 2): projected; zoom: factor of the side; truncate:
    show the upper body or the bust only.
    """
    if truncate:
        part = keypoints[UPPER if rng.random() < 0.7 else BUST]
        margin = 0.1 * np.ptp(part, 0).max()
        low, high = part.min(0) - margin, part.max(0) + margin
    half = 0.5 * (high - low).max() * rng.uniform(1.08, 1.35) * zoom
    x, y = 0.5 * (low + high) + rng.normal(0, 0.05, 2) * half
    return CropWindow(float(x), float(y), float(half))


def draw_subject(
    rng: np.random.Generator, body: Body, pose: np.ndarray, roll: float = 0.0, zoom: float = 1.0,
    truncation: float = 0.15,
) -> Subject:  # fmt: skip
    """Draw shape, heading, camera and crop for a pose (24, 3), axis-angle, whose row 0 has no heading.

    roll: additional rotation of the camera about its optical axis, radians; zoom: factor of the side of the crop;
    truncation: share of people whose legs are cut off.
    """
    betas = draw_betas(rng)
    rotations = rotvec_to_rotmat(pose)
    rotations[0] = axis_rotation(1, rng.uniform(-np.pi, np.pi)) @ rotations[0]
    vertices, _, transforms = body.posed(rotations, betas, body.probe)
    lift = rng.uniform(0, 0.5) if rng.random() < 0.06 else 0.0
    low, high = bounds(vertices)
    shift = np.array([-0.5 * (low[0] + high[0]), lift - low[1], -0.5 * (low[2] + high[2])])
    vertices = vertices + shift.astype(np.float32)
    transforms[:, :, 3] += shift
    keypoints = body.keypoints(vertices)
    for _ in range(8):  # rarely a limb reaches the camera: draw again
        camera, position = draw_camera(rng, float(high[1] + shift[1]), roll + rng.normal(0, 0.04))
        projected = perspective((vertices @ camera[:, :3].T + camera[:, 3]).astype(np.float32), 1.0, 0.0, 0.0)
        low, high = bounds(projected)
        if low[2] > 0 and high[2] < 1 / 0.35:
            break
    in_camera = keypoints @ camera[:, :3].T + camera[:, 3]
    crop = draw_crop(rng, low[:2], high[:2], in_camera[:, :2] / in_camera[:, 2:], zoom, rng.random() < truncation)
    to_label = ray_to_z(np.array([crop[0], crop[1], 1.0]))
    pose = np.array(pose, np.float64)
    pose[0] = rotmat_to_rotvec((to_label @ camera[:, :3] @ rotations[0])[None])[0]
    return Subject(pose, betas, transforms, keypoints, camera, position, to_label, crop)


def draw_bystander(
    rng: np.random.Generator, body: Body, pose: np.ndarray, subject: Subject
) -> tuple[np.ndarray, np.ndarray]:
    """Another person on the same floor, beside or behind a Subject, seldom in front of it.

    pose (24, 3): axis-angle without heading. -> transforms (24, 3, 4) from the rest pose to the world, betas (10,)
    """
    betas, rotations = draw_betas(rng), rotvec_to_rotmat(pose)
    rotations[0] = axis_rotation(1, rng.uniform(-np.pi, np.pi)) @ rotations[0]
    vertices, _, transforms = body.posed(rotations, betas, body.probe)
    low, high = bounds(vertices)
    aside = subject.camera[0, :3] * (1, 0, 1)
    away = -subject.position * (1, 0, 1)
    place = rng.choice((-1, 1)) * rng.uniform(0.45, 1.7) * aside / np.linalg.norm(aside)
    place += rng.uniform(-0.5, 4) * away / np.linalg.norm(away)
    transforms[:, :, 3] += place - np.array([0.5 * (low[0] + high[0]), low[1], 0.5 * (low[2] + high[2])])
    return transforms, betas
