"""Cameras of a whole picture, and how a crop lies in it.

Pixels: whole numbers are pixel centres, x to the right, y down. Camera frame: metres, x right, y down, z away from the
viewer.
"""

from typing import NamedTuple

import numpy as np

from utils.crop import CROP_SIZE

MARGIN = 1.25  # side of a crop in longer sides of the box around the person


class WeakPerspective(NamedTuple):
    """x and y of a point times `scale` (pixels per metre), plus (cx, cy) pixels; its z only orders what is in front."""

    scale: float
    cx: float
    cy: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """points (..., 3) in the camera frame -> (..., 2) pixels."""
        return self.scale * points[..., :2] + np.array((self.cx, self.cy))

    def window(self, left: float, top: float, zoom: float) -> "WeakPerspective":
        """The same camera on a raster that begins at pixel (left, top) and has `zoom` samples per pixel and axis."""
        return WeakPerspective(self.scale * zoom, *_to_raster((self.cx, self.cy), left, top, zoom))


class Perspective(NamedTuple):
    """A pinhole: focal lengths (fx, fy) and principal point (cx, cy), pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """points (..., 3) in the camera frame, z > 0 -> (..., 2) pixels."""
        return np.array((self.fx, self.fy)) * points[..., :2] / points[..., 2:] + np.array((self.cx, self.cy))

    def window(self, left: float, top: float, zoom: float) -> "Perspective":
        """The same camera on a raster that begins at pixel (left, top) and has `zoom` samples per pixel and axis."""
        return Perspective(self.fx * zoom, self.fy * zoom, *_to_raster((self.cx, self.cy), left, top, zoom))


Camera = WeakPerspective | Perspective


class Crop(NamedTuple):
    """A square of the picture around `center` (x, y), 200 * scale pixels wide, cut by `utils.crop.crop_image`."""

    center: tuple[float, float]
    scale: float

    @classmethod
    def around(cls, bbox: tuple[float, float, float, float], margin: float = MARGIN) -> "Crop":
        """A square whose side is `margin` longer sides of bbox (x, y, width, height): nothing is squashed."""
        x, y, width, height = bbox
        # pixel x .. x + width - 1, whose centres are whole numbers
        return cls((x + (width - 1) / 2, y + (height - 1) / 2), margin * max(width, height) / 200)

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """points (..., 2) in label units of the crop, -1 and 1 its outer edges -> pixels of the picture."""
        side = 200 * self.scale
        return np.asarray(self.center) + side * (np.asarray(points) / 2 - 0.5 / CROP_SIZE)

    def from_image(self, points: np.ndarray) -> np.ndarray:
        """points (..., 2) in pixels of the picture -> label units of the crop, the inverse of `to_image`."""
        side = 200 * self.scale
        return 2 * ((np.asarray(points) - self.center) / side + 0.5 / CROP_SIZE)

    def camera(self, cam: np.ndarray) -> WeakPerspective:
        """The network's camera (s, tx, ty) of the crop -> the same camera of the whole picture."""
        s, tx, ty = (float(value) for value in cam)
        return WeakPerspective(100 * self.scale * s, *self.to_image((s * tx, s * ty)))


def _to_raster(point: tuple[float, float], left: float, top: float, zoom: float) -> tuple[float, float]:
    """Pixel -> sample, both counted from the centre of the first one."""
    return (point[0] - left + 0.5) * zoom - 0.5, (point[1] - top + 0.5) * zoom - 0.5
