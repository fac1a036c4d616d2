"""Calibrated cameras, and points in space from what several of them see. Metres, pixels; camera frames have x to the
right, y down, z away from the viewer."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.signal import butter, sosfiltfilt

from utils.errors import UserError


@dataclass(frozen=True)
class Camera:
    """name; size (2,) width, height; matrix (3, 3); distortion (4,) k1 k2 p1 p2 (OpenCV); rotation (3, 3) from the
    world's frame to the camera's; position (3,) in the world."""

    name: str
    size: np.ndarray
    matrix: np.ndarray
    distortion: np.ndarray
    rotation: np.ndarray
    position: np.ndarray

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) -> camera frame (..., 3)."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) -> pixels (..., 2), lens distortion included."""
        flat = self.to_camera(points).reshape(-1, 1, 3)
        return cv2.projectPoints(flat, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0].reshape(
            *points.shape[:-1], 2
        )

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) -> x / z and y / z in the camera frame (..., 2), lens distortion taken out."""
        flat = np.ascontiguousarray(pixels, dtype=float).reshape(-1, 1, 2)
        return cv2.undistortPoints(flat, self.matrix, self.distortion).reshape(pixels.shape)


def read_qualisys(path: str | Path) -> list[Camera]:
    """Cameras of a Qualisys calibration file (.qca.txt), by order in the file.

    Its intrinsics are in 1/64 pixel with the principal point relative to the corner of fov_video, its positions in
    millimetres; the rows of its rotation are the camera's axes with y up and z towards the viewer.
    """
    try:
        cameras = []
        for node in ElementTree.parse(path).getroot().iter("camera"):
            view, pose, lens = (
                {key: float(value) for key, value in node.find(tag).attrib.items()}
                for tag in ("fov_video", "transform", "intrinsic")
            )
            matrix = np.array(
                [
                    [lens["focalLengthU"] / 64, 0, lens["centerPointU"] / 64 - view["left"]],
                    [0, lens["focalLengthV"] / 64, lens["centerPointV"] / 64 - view["top"]],
                    [0, 0, 1],
                ]
            )
            rows = np.array([[pose[f"r{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
            terms = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
            cameras.append(
                Camera(
                    node.attrib["serial"],
                    np.array((view["right"] - view["left"] + 1, view["bottom"] - view["top"] + 1)),
                    matrix,
                    np.array([lens[term] for term in terms]),
                    np.diag((1.0, -1, -1)) @ rows,
                    np.array([pose[axis] for axis in "xyz"]) / 1000,
                )
            )
        if len(cameras) < 2:
            raise ValueError(f"{len(cameras)} cameras")
    except (OSError, ElementTree.ParseError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a readable Qualisys calibration ({error}); fetch it again") from error
    return cameras


def _solve(rays: np.ndarray, weights: np.ndarray, cameras: list[Camera]) -> np.ndarray:
    """rays (C, ..., 2), weights (C, ...) -> the points (..., 3) that fit them best, linearly."""
    normal, right = np.zeros((*rays.shape[1:-1], 3, 3)), np.zeros((*rays.shape[1:-1], 3))
    for ray, weight, camera in zip(rays, weights, cameras, strict=True):
        for k in (0, 1):
            row = ray[..., k, None] * camera.rotation[2] - camera.rotation[k]
            normal += weight[..., None, None] * row[..., :, None] * row[..., None, :]
            right += (weight * (row @ camera.position))[..., None] * row
    return np.linalg.solve(normal + 1e-9 * np.eye(3), right[..., None])[..., 0]


def triangulate(
    pixels: np.ndarray, confidence: np.ndarray, cameras: list[Camera], tolerance: float = 15.0
) -> tuple[np.ndarray, np.ndarray]:
    """pixels (C, ..., 2) and confidence (C, ...) of the same points in C >= 2 cameras -> points (..., 3) and
    reprojection errors (C, ...) in pixels.

    Every pair of cameras proposes a point, the one that most cameras agree with is refined with all of them, each
    weighted by its confidence and by how well it fits (Geman-McClure): a view that took left for right does no harm.
    tolerance: pixels at which a view loses three quarters of its weight.
    """
    rays = np.stack([camera.rays(points) for camera, points in zip(cameras, pixels, strict=True)])

    def errors(points):
        return np.stack([np.linalg.norm(c.project(points) - p, axis=-1) for c, p in zip(cameras, pixels, strict=True)])

    best, lowest = None, None
    for a in range(len(cameras)):
        for b in range(a):
            pair = [a, b]
            points = _solve(rays[pair], np.ones((2, *rays.shape[1:-1])), [cameras[c] for c in pair])
            squares = (errors(points) / tolerance) ** 2
            cost = (confidence * squares / (1 + squares)).sum(0)
            if best is None:
                best, lowest = points, cost
            best = np.where((cost < lowest)[..., None], points, best)
            lowest = np.minimum(cost, lowest)
    for _ in range(10):
        depth = np.stack([camera.to_camera(best)[..., 2] for camera in cameras])
        weight = confidence / (1 + (errors(best) / tolerance) ** 2) ** 2 / depth**2
        best = _solve(rays, weight, cameras)
    return best, errors(best)


def jackknife(pixels: np.ndarray, confidence: np.ndarray, cameras: list[Camera]) -> np.ndarray:
    """Triangulated without each camera in turn -> (C, ..., 3). Arguments as in `triangulate`, C >= 3.

    `spread` of what is made of them tells how uncertain it is.
    """
    keep = [[c for c in range(len(cameras)) if c != left_out] for left_out in range(len(cameras))]
    return np.stack([triangulate(pixels[k], confidence[k], [cameras[c] for c in k])[0] for k in keep])


def spread(estimates: np.ndarray) -> np.ndarray:
    """Points (C, ..., 3), each made without one of C observers -> standard error (...) of the one made with all: the
    jackknife's (Tukey, 1958), over the three directions together. Says nothing of errors that all observers share."""
    count = len(estimates)
    apart = np.square(estimates - estimates.mean(0)).sum(-1)
    return np.sqrt((count - 1) / count * apart.sum(0))


def settle_aim(pixels: np.ndarray, confidence: np.ndarray, cameras: list[Camera], rounds: int = 15) -> list[Camera]:
    """Cameras whose principal points are moved by the offset that all their reprojections share.

    A camera that was knocked after its calibration points elsewhere by the same few pixels for every keypoint in
    every frame; a detector's own errors differ from joint to joint. pixels (C, ..., 2), confidence (C, ...) as in
    `triangulate`.
    """
    for _ in range(rounds):
        points, _ = triangulate(pixels, confidence, cameras)
        settled = []
        for camera, found in zip(cameras, pixels, strict=True):
            offset = np.median((found - camera.project(points)).reshape(-1, 2), axis=0)
            matrix = camera.matrix.copy()
            matrix[:2, 2] += 0.7 * offset  # less than the whole way: the points follow
            settled.append(replace(camera, matrix=matrix))
        cameras = settled
    return cameras


def low_pass(track: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Tracks (T, ...) sampled at `rate` Hz, smoothed forwards and backwards by a Butterworth filter at `cutoff` Hz."""
    return sosfiltfilt(butter(4, cutoff, fs=rate, output="sos"), track, axis=0)
