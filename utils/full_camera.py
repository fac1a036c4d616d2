"""From the weak-perspective camera of a crop to one pinhole for the whole photograph.

The network sees each person straight on, in a crop of its own, through a camera without perspective. In the photograph
the person stands on the ray through the middle of that crop. So the body is turned from the optical axis onto the ray
and put at the distance from which its image fits that of the network best.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from utils.camera import Perspective, WeakPerspective

DIAGONAL_35MM = 43.267  # millimetres, of the frame that "35 mm equivalent" speaks of
PLAUSIBLE = (0.3, 30)  # focal lengths in diagonals of the picture; EXIF that says otherwise is wrong
NEAR = 0.1  # metres: no part of a body is nearer to the camera
MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0}  # FocalPlaneResolutionUnit


class Focal(NamedTuple):
    """A focal length in pixels, and where it comes from: "given", "exif" or "default"."""

    pixels: float
    source: str


class Placement(NamedTuple):
    """Where a body is: from the frame that the network answers in to the camera frame of the photograph."""

    rotation: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,) metres

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """points (..., 3), metres -> (..., 3)."""
        return points @ self.rotation.T.astype(points.dtype) + self.shift.astype(points.dtype)


def default_focal(height: int, width: int) -> Focal:
    """Twice the picture's diagonal: a lens of 87 mm on a full-frame camera, 28 degrees from corner to corner.

    Pictures without EXIF are often cut out of larger ones, and a longer lens does less harm where it is wrong: on
    samples/im03.png joints move by 1.6 % of the body from where the network sees them, and by 3.3 % at half the length.
    """
    return Focal(2 * math.hypot(height, width), "default")


def read_focal(path: str | Path, height: int, width: int) -> Focal:
    """The focal length that a photograph's EXIF tells, for its size in pixels; the default where it tells none."""
    try:
        with Image.open(path) as picture:
            exif = picture.getexif()
            tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
        pixels = _focal_from_exif(tags, height, width)
    except Exception:  # damaged metadata fails in a dozen ways, and says as much as none
        pixels = None
    if pixels is None or not PLAUSIBLE[0] <= pixels / math.hypot(height, width) <= PLAUSIBLE[1]:
        return default_focal(height, width)
    return Focal(pixels, "exif")


def pinhole(focal: float, height: int, width: int) -> Perspective:
    """The camera with that focal length, in pixels, that looks through the middle of the picture."""
    return Perspective(focal, focal, (width - 1) / 2, (height - 1) / 2)


def place(vertices: np.ndarray, weak: WeakPerspective, camera: Perspective) -> Placement:
    """Where the pinhole sees vertices (V, 3) nearest to where `weak` does, in the least-squares sense.

    A body that would reach behind the camera is moved away from it.
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
    """Focal length in pixels of the picture as it is, or None."""
    stored = [float(tags.get(tag, 0)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if all(stored):
        # a picture cut to another shape has lost the part of its frame that its tags speak of
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
