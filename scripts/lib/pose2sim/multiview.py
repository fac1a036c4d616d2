"""Calibrated cameras and triangulation from several of them.

Metres and pixels. Camera frames have x to the right, y down and z away from the camera.
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.signal import butter, sosfiltfilt

from utils.errors import UserError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with lens distortion.

    size (2,): width, height in pixels; matrix (3, 3): intrinsics; distortion (4,): k1 k2 p1 p2 of OpenCV; rotation (3,
    3): from the world frame to the camera frame; position (3,): in the world frame, metres.
    """

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
        """Pixels (..., 2) -> x / z and y / z in the camera frame (..., 2), without lens distortion."""
        flat = np.ascontiguousarray(pixels, dtype=float).reshape(-1, 1, 2)
        return cv2.undistortPoints(flat, self.matrix, self.distortion).reshape(pixels.shape)


def read_qualisys(path: str | Path) -> list[Camera]:
    """Cameras of a Qualisys calibration file (.qca.txt), in the order of the file.

    The file has intrinsics in 1/64 pixel, with the principal point relative to the corner of fov_video, and positions
    in millimetres. The rows of its rotations are the axes of the camera, with y up and z towards the camera.
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
    """rays (C, ..., 2), weights (C, ...) -> points (..., 3), by linear least squares."""
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

    Each pair of cameras gives a candidate point. The candidate with the lowest robust cost is refined with all cameras,
    weighted by confidence and by the robust function of Geman and McClure, so that a view with left and right swapped
    has little influence. tolerance: reprojection error in pixels at which a view loses three quarters of its weight.
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
    """Triangulate without each camera in turn -> (C, ..., 3). Arguments as in `triangulate`, C >= 3.

    `spread` computes the uncertainty from the result, or from a function of it.
    """
    keep = [[c for c in range(len(cameras)) if c != left_out] for left_out in range(len(cameras))]
    return np.stack([triangulate(pixels[k], confidence[k], [cameras[c] for c in k])[0] for k in keep])


def spread(estimates: np.ndarray) -> np.ndarray:
    """Standard error (...) of points from C cameras, from estimates (C, ..., 3) that each leave out one camera.

    This is the jackknife (Tukey, 1958) over the three directions together. It does not contain errors that all cameras
    share.
    """
    count = len(estimates)
    apart = np.square(estimates - estimates.mean(0)).sum(-1)
    return np.sqrt((count - 1) / count * apart.sum(0))


def correct_aim(pixels: np.ndarray, confidence: np.ndarray, cameras: list[Camera], rounds: int = 15) -> list[Camera]:
    """Move the principal point of each camera by the common offset of its reprojections.

    A camera that moved after its calibration has the same offset of a few pixels for all keypoints in all frames, while
    the errors of a detector differ from joint to joint. pixels (C, ..., 2), confidence (C, ...) as in `triangulate`.
    """
    for _ in range(rounds):
        points, _ = triangulate(pixels, confidence, cameras)
        corrected = []
        for camera, found in zip(cameras, pixels, strict=True):
            offset = np.median((found - camera.project(points)).reshape(-1, 2), axis=0)
            matrix = camera.matrix.copy()
            matrix[:2, 2] += 0.7 * offset  # damped, because the points move too
            corrected.append(replace(camera, matrix=matrix))
        cameras = corrected
    return cameras


def low_pass(track: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Tracks (T, ...) sampled at `rate` Hz, smoothed forwards and backwards by a Butterworth filter at `cutoff` Hz."""
    return sosfiltfilt(butter(4, cutoff, fs=rate, output="sos"), track, axis=0)
