"""Cameras of a whole picture: where a crop lies in it, its focal length, and where a body stands in front of it.

Pixels: whole numbers are pixel centres, x to the right, y down. Camera frame: metres, x right, y down, z away from the
viewer.

The network estimates each person through a weak-perspective camera whose axis goes through the middle of the crop. In
the photograph, the person stands on the ray through that middle. `place` therefore turns the body from the optical axis
onto this ray, and moves it to the distance at which the pinhole's image fits that of the weak-perspective camera best.
"""

import math
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from utils.crop import CROP_SIZE

MARGIN = 1.25  # side of a crop in longer sides of the box around the person
UPRIGHT = np.array((1.0, -1.0, -1.0))  # factors between the camera frame and that of mesh files (y up, z to the viewer)
DIAGONAL_35MM = 43.267  # millimetres, of the frame that "35 mm equivalent" refers to
PLAUSIBLE = (0.3, 30)  # focal lengths in diagonals of the picture; EXIF values outside are taken to be wrong
NEAR = 0.1  # metres: no part of a body is nearer to the camera
MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0}  # per FocalPlaneResolutionUnit


class WeakPerspective(NamedTuple):
    """Pixel = `scale` (pixels per metre) times x and y, plus (cx, cy); z only decides which part is in front."""

    scale: float
    cx: float
    cy: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """points (..., 3) in the camera frame -> (..., 2) pixels."""
        return self.scale * points[..., :2] + np.array((self.cx, self.cy))

    def window(self, left: float, top: float, zoom: float) -> "WeakPerspective":
        """The same camera on a raster that starts at pixel (left, top), with `zoom` samples per pixel and axis."""
        return WeakPerspective(self.scale * zoom, *_to_raster((self.cx, self.cy), left, top, zoom))


class Perspective(NamedTuple):
    """Pinhole camera: focal lengths (fx, fy) and principal point (cx, cy), pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """points (..., 3) in the camera frame, z > 0 -> (..., 2) pixels."""
        return np.array((self.fx, self.fy)) * points[..., :2] / points[..., 2:] + np.array((self.cx, self.cy))

    def window(self, left: float, top: float, zoom: float) -> "Perspective":
        """The same camera on a raster that starts at pixel (left, top), with `zoom` samples per pixel and axis."""
        return Perspective(self.fx * zoom, self.fy * zoom, *_to_raster((self.cx, self.cy), left, top, zoom))


Camera = WeakPerspective | Perspective


class Crop(NamedTuple):
    """A square of the picture around `center` (x, y), 200 * scale pixels wide, cut by `utils.crop.crop_image`."""

    center: tuple[float, float]
    scale: float

    @classmethod
    def around(cls, bbox: tuple[float, float, float, float], margin: float = MARGIN) -> "Crop":
        """A square around bbox (x, y, width, height), its side `margin` times the longer side of bbox."""
        x, y, width, height = bbox
        # pixel x .. x + width - 1, whose centres are whole numbers
        return cls((x + (width - 1) / 2, y + (height - 1) / 2), margin * max(width, height) / 200)

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """points (..., 2) in label units of the crop (-1 and 1 at its outer edges) -> picture pixels (..., 2)."""
        side = 200 * self.scale
        return np.asarray(self.center) + side * (np.asarray(points) / 2 - 0.5 / CROP_SIZE)

    def from_image(self, points: np.ndarray) -> np.ndarray:
        """points (..., 2) in pixels of the picture -> (..., 2) in label units of the crop; inverse of `to_image`."""
        side = 200 * self.scale
        return 2 * ((np.asarray(points) - self.center) / side + 0.5 / CROP_SIZE)

    def camera(self, cam: np.ndarray) -> WeakPerspective:
        """Weak-perspective camera (s, tx, ty) of the crop -> the same camera in pixels of the whole picture."""
        s, tx, ty = (float(value) for value in cam)
        return WeakPerspective(100 * self.scale * s, *self.to_image((s * tx, s * ty)))


def _to_raster(point: tuple[float, float], left: float, top: float, zoom: float) -> tuple[float, float]:
    """Pixel (x, y) -> sample (x, y), both counted from the centre of the first one."""
    return (point[0] - left + 0.5) * zoom - 0.5, (point[1] - top + 0.5) * zoom - 0.5


class Focal(NamedTuple):
    """A focal length in pixels, and where it comes from: "given", "exif" or "default"."""

    pixels: float
    source: str


class Placement(NamedTuple):
    """Rigid motion of a body from the frame of the network's output to the camera frame of the photograph."""

    rotation: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,) metres

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """points (..., 3), metres -> (..., 3)."""
        return points @ self.rotation.T.astype(points.dtype) + self.shift.astype(points.dtype)


def default_focal(height: int, width: int) -> Focal:
    """Twice the picture's diagonal: an 87 mm lens on a full-frame camera, 28 degrees from corner to corner.

    Pictures without EXIF are often cut out of larger ones. If the focal length is wrong, a long one does less harm: on
    samples/im03.png, joints move by 1.6 % of the body's size from the network's projection. Half this length moves them
    by 3.3 %.
    """
    return Focal(2 * math.hypot(height, width), "default")


def read_focal(path: str | Path, height: int, width: int) -> Focal:
    """Focal length from the EXIF of a photograph of height x width pixels; `default_focal` if it has none."""
    try:
        # a large photograph is no reason for a warning, its reader checks the size
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            exif = picture.getexif()
            tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
        pixels = _focal_from_exif(tags, height, width)
    except Exception:  # damaged metadata raises many kinds of errors; treat it as missing
        pixels = None
    if pixels is None or not PLAUSIBLE[0] <= pixels / math.hypot(height, width) <= PLAUSIBLE[1]:
        return default_focal(height, width)
    return Focal(pixels, "exif")


def pinhole(focal: float, height: int, width: int) -> Perspective:
    """Pinhole camera of that focal length (pixels) with its principal point in the middle of the picture."""
    return Perspective(focal, focal, (width - 1) / 2, (height - 1) / 2)


def place(vertices: np.ndarray, weak: WeakPerspective, camera: Perspective) -> Placement:
    """Place vertices (V, 3) so that their image in the pinhole `camera` is closest to their image in `weak`.

    Least squares in pixels. A body that would reach behind the camera is moved away from it.
    """
    vertices = vertices.astype(np.float64)
    ray = np.array(((weak.cx - camera.cx) / camera.fx, (weak.cy - camera.cy) / camera.fy, 1.0))
    rotation = _turn_to(ray / np.linalg.norm(ray))
    points = vertices @ rotation.T
    slopes = (weak.project(vertices) - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    # x + t_x = slope (z + t_z), and so for y: linear in t
    known = slopes * points[:, 2:] - points[:, :2]
    matrix = np.array(
        (
            (len(points), 0, -slopes[:, 0].sum()),
            (0, len(points), -slopes[:, 1].sum()),
            (*-slopes.sum(0), (slopes**2).sum()),
        )
    )
    right = np.array((*known.sum(0), -(slopes * known).sum()))
    shift = np.linalg.lstsq(matrix, right, rcond=None)[0]
    missing = NEAR - (points[:, 2].min() + shift[2])
    if missing > 0:
        shift += missing * np.array((*slopes.mean(0), 1.0))
    return Placement(rotation, shift)


def _turn_to(direction: np.ndarray) -> np.ndarray:
    """The shortest rotation (3, 3) of the optical axis onto a direction (3,) of length 1 in front of the camera."""
    x, y, z = direction
    cross = np.array(((0, 0, x), (0, 0, y), (-x, -y, 0)))
    return np.eye(3) + cross + cross @ cross / (1 + z)


def _focal_from_exif(tags: dict, height: int, width: int) -> float | None:
    """Focal length in pixels of the present picture; None if the tags do not determine it."""
    stored = [float(tags.get(tag, 0)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if all(stored):
        # the tags describe the uncropped frame; another aspect ratio means that the picture was cut
        proportions = max(stored) / min(stored) / (max(height, width) / min(height, width))
        if abs(math.log(proportions)) > 0.02:
            return None
    equivalent = float(tags.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
    if equivalent:
        return equivalent / DIAGONAL_35MM * math.hypot(height, width)
    millimetres = float(tags.get(ExifTags.Base.FocalLength, 0))
    per_unit = float(tags.get(ExifTags.Base.FocalPlaneXResolution, 0))
    unit = MILLIMETRES.get(int(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2)))
    if not (millimetres and per_unit and unit and all(stored)):
        return None
    return millimetres / unit * per_unit * max(height, width) / max(stored)
