"""Who stands where, in which pose, seen by which camera, and the labels that follow. No looks in here.

Frames. World: y up, floor at y = 0, the person's heading turned about y. Camera: x right, y down, z along the optical
axis. Label frame: the camera frame turned so that the viewing ray through the crop's centre is the z axis, by the
smallest rotation that does so. A crop has forgotten where in the full picture it was taken, so that a person at the
picture's edge looks like the same person in the middle, turned by that rotation: this is the orientation a network can
see, and what `pose` and `keypoints_3d` state. `keypoints_2d` are the true perspective projection.
"""

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.person.body import bounds, rotmat_to_rotvec, rotvec_to_rotmat
from datasets.synthetic.raster.rasterizer import perspective
from utils.skeleton import J24, J24_PELVIS


@dataclass
class Subject:
    """A posed person before a camera. Lengths in metres, angles in radians.

    pose (24, 3) axis-angle, row 0 in the label frame; betas (10,); transforms (24, 3, 4) rest pose to world; keypoints
    (24, 3) world; camera (3, 4) world to camera; position (3,) of the camera in the world.
    """

    pose: np.ndarray
    betas: np.ndarray
    transforms: np.ndarray
    keypoints: np.ndarray
    camera: np.ndarray
    position: np.ndarray
    to_label: np.ndarray
    crop: tuple  # centre x, y and half side of the crop on the plane z = 1 of the camera frame

    @property
    def keypoints_camera(self):
        """J24 keypoints (24, 3) in the camera frame, metres."""
        return self.keypoints @ self.camera[:, :3].T + self.camera[:, 3]

    def keypoints_3d(self):
        """J24 keypoints (24, 3) in the label frame, J24 pelvis at the origin, metres."""
        points = self.keypoints_camera
        return (points - points[J24_PELVIS]) @ self.to_label.T


def turn(axis, angle):
    """Rotation matrix (3, 3) about coordinate axis 0, 1 or 2 by an angle in radians."""
    vector = np.zeros(3)
    vector[axis] = angle
    return rotvec_to_rotmat(vector)


def ray_to_z(ray):
    """The smallest rotation (3, 3) that takes a ray (3,) to the z axis."""
    x, y, z = ray / np.linalg.norm(ray)
    return np.array(
        [[1 - x * x / (1 + z), -x * y / (1 + z), -x], [-x * y / (1 + z), 1 - y * y / (1 + z), -y], [x, y, z]]
    )


def draw_betas(rng):
    """Shape coefficients (10,): mostly the population, at times anywhere in the shape space."""
    if rng.random() < 0.75:
        return np.clip(rng.normal(0, 1.1, 10), -3, 3)
    return rng.uniform(-2.5, 2.5, 10)


def draw_camera(rng, height, roll):
    """A camera that looks at a person of that height (metres) at the world's origin -> (3, 4) world to camera,
    position."""
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
    # where the person appears in the full picture: off the axis by up to half a wide field of view
    aside, above = np.clip(rng.normal(0, 0.2, 2), -0.5, 0.5) * (1, 0.6)
    rotation = turn(2, roll) @ turn(0, down + above) @ turn(1, aside) @ np.diag([1.0, -1.0, -1.0])
    return np.concatenate((rotation, -(rotation @ position)[:, None]), 1), position


UPPER = [J24.index(name) for name in J24 if not any(part in name for part in ("Knee", "Ankle"))]
BUST = [i for i in UPPER if not any(part in J24[i] for part in ("Hip", "Wrist", "Elbow", "Pelvis", "Spine"))]


def draw_crop(rng, low, high, keypoints, zoom, truncate):
    """A square around the person on the plane z = 1 -> (x, y, half side).

    low, high (2,): bounds of the projected person; keypoints (24, 2) projected.

    zoom multiplies the side. truncate: cut to the upper body or the bust instead.
    """
    if truncate:
        part = keypoints[UPPER if rng.random() < 0.7 else BUST]
        margin = 0.1 * np.ptp(part, 0).max()
        low, high = part.min(0) - margin, part.max(0) + margin
    half = 0.5 * (high - low).max() * rng.uniform(1.08, 1.35) * zoom
    x, y = 0.5 * (low + high) + rng.normal(0, 0.05, 2) * half
    return float(x), float(y), float(half)


def draw_subject(rng, body, pose, roll=0.0, zoom=1.0, truncation=0.15):
    """Draw shape, heading, camera and crop for a pose (24, 3) whose row 0 has no heading.

    roll: extra turn of the camera about its axis, radians; zoom: factor of the crop's side; truncation: share of cut-
    off people.
    """
    betas = draw_betas(rng)
    rotations = rotvec_to_rotmat(pose)
    rotations[0] = turn(1, rng.uniform(-np.pi, np.pi)) @ rotations[0]
    vertices, _, transforms = body.posed(rotations, betas, body.probe)
    lift = rng.uniform(0, 0.5) if rng.random() < 0.06 else 0.0
    low, high = bounds(vertices)
    shift = np.array([-0.5 * (low[0] + high[0]), lift - low[1], -0.5 * (low[2] + high[2])])
    vertices = vertices + shift.astype(np.float32)
    transforms[:, :, 3] += shift
    keypoints = body.keypoints(vertices)
    for _ in range(8):  # rarely a limb reaches the camera: look again
        camera, position = draw_camera(rng, float(high[1] + shift[1]), roll + rng.normal(0, 0.04))
        seen = perspective((vertices @ camera[:, :3].T + camera[:, 3]).astype(np.float32), 1.0, 0.0, 0.0)
        low, high = bounds(seen)
        if low[2] > 0 and high[2] < 1 / 0.35:
            break
    seen_keypoints = keypoints @ camera[:, :3].T + camera[:, 3]
    crop = draw_crop(
        rng, low[:2], high[:2], seen_keypoints[:, :2] / seen_keypoints[:, 2:], zoom, rng.random() < truncation
    )
    to_label = ray_to_z(np.array([crop[0], crop[1], 1.0]))
    pose = np.array(pose, np.float64)
    pose[0] = rotmat_to_rotvec((to_label @ camera[:, :3] @ rotations[0])[None])[0]
    return Subject(pose, betas, transforms, keypoints, camera, position, to_label, crop)


def draw_bystander(rng, body, pose, subject):
    """Somebody else on the same floor, beside or behind a Subject, seldom before it -> transforms (24, 3, 4) to the
    world, betas."""
    betas, rotations = draw_betas(rng), rotvec_to_rotmat(pose)
    rotations[0] = turn(1, rng.uniform(-np.pi, np.pi)) @ rotations[0]
    vertices, _, transforms = body.posed(rotations, betas, body.probe)
    low, high = bounds(vertices)
    aside = subject.camera[0, :3] * (1, 0, 1)
    away = -subject.position * (1, 0, 1)
    place = rng.choice((-1, 1)) * rng.uniform(0.45, 1.7) * aside / np.linalg.norm(aside)
    place += rng.uniform(-0.5, 4) * away / np.linalg.norm(away)
    transforms[:, :, 3] += place - np.array([0.5 * (low[0] + high[0]), low[1], 0.5 * (low[2] + high[2])])
    return transforms, betas
