"""BlazePose (Bazarevsky et al., 2020; GHUM Holistic of MediaPipe): 33 landmarks of one person in 2D and 3D.

The landmark network of MediaPipe Pose, "heavy", Apache-2.0, by Google. Its weights are not part of this repository.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from scripts.lib.tfjs import read_members, read_weights, run_graph
from utils.camera import Crop
from utils.crop import crop_image, crop_matrix
from utils.skeleton import J14

MEMBERS = {  # member of the package -> sha256
    "package/models/blazepose-heavy.json": "b0aa28f0710b0159851250ba3db184054abce6132825a598c102aa049d336588",
    "package/models/blazepose-heavy.bin": "a83494537a0d4229f7f09597b3cded0b90d04629d60a31f865b4ddea8de0adf8",
}
INPUT_SIZE = 256  # pixels
NUM_OUTPUTS = 39  # 33 landmarks, two points that give the region, four unused ones
CENTER, TOP = 33, 34  # centre of the region, and a point on the circle around the person, above the head
REGION = 1.25  # side of MediaPipe's region in diameters of this circle
KERNEL = 7  # cells of the heatmap around a landmark that refine it
LEAST_HEAT = 0.5  # highest value of these cells below which a landmark is not refined

_FIRST = {"Shoulder": 11, "Elbow": 13, "Wrist": 15, "Hip": 23, "Knee": 25, "Ankle": 27}  # of the left side
# the limb joints of J14 -> index of the landmark
LIMBS = {name: _FIRST[name[2:]] + (name[0] == "R") for name in J14 if name[2:] in _FIRST}


class Region(NamedTuple):
    """A crop that is cut out of the picture turned counter-clockwise by `rotation_deg` about its centre."""

    crop: Crop
    rotation_deg: float = 0.0

    def matrix(self) -> np.ndarray:
        """Affine map (2, 3) from picture pixels to pixels of the network's input."""
        return crop_matrix(self.crop.center, self.crop.scale, self.rotation_deg, size=INPUT_SIZE)


class Landmarks(NamedTuple):
    """points (39, 2): pixels of the picture; world (33, 3): metres, camera frame, origin between the hips."""

    points: np.ndarray
    world: np.ndarray

    def region(self) -> Region:
        """The region in which MediaPipe evaluates the network in the next frame: upright, around the whole person."""
        x, y = self.points[TOP] - self.points[CENTER]
        side = 2 * REGION * float(np.hypot(x, y))
        return Region(Crop(tuple(self.points[CENTER]), side / 200), float(np.degrees(np.arctan2(x, -y))))


class BlazePose:
    """The network of the package's archive: picture and region -> landmarks. Takes 0.4 s on one core."""

    def __init__(self, archive: Path):
        self.graph, data = read_members(archive, MEMBERS)
        self.weights = read_weights(self.graph, data)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, region: Region) -> Landmarks:
        """image (H, W, 3) uint8 RGB."""
        crop = crop_image(image, *region.crop, region.rotation_deg, size=INPUT_SIZE, antialias=True)
        values = run_graph(self.graph, self.weights, torch.from_numpy(crop)[None] / 255)
        points, heatmaps, world = (values[name][0] for name in ("Identity_2", "Identity", "Identity_4"))
        points = refine(points.view(NUM_OUTPUTS, 5)[:, :2] / INPUT_SIZE, heatmaps.permute(2, 0, 1))
        return Landmarks(
            to_picture(points.numpy(), region), turn_back(world.view(NUM_OUTPUTS, 3)[:33].numpy(), region.rotation_deg)
        )


def refine(points: Tensor, heatmaps: Tensor) -> Tensor:
    """Points (N, 2) in sides of the input, heatmaps (N, H, W) -> the means of the heat around the points, as MediaPipe.

    A point stays if it lies outside of its map or the map is below LEAST_HEAT around it.
    """
    size = torch.tensor(heatmaps.shape[:0:-1])
    refined = points.clone()
    for i, (point, heat) in enumerate(zip(points, heatmaps, strict=True)):
        x, y = (point * size).long().tolist()
        if not (0 <= x < size[0] and 0 <= y < size[1]):
            continue
        left, top = max(x - KERNEL // 2, 0), max(y - KERNEL // 2, 0)
        window = heat[top : y + KERNEL // 2 + 1, left : x + KERNEL // 2 + 1]
        if window.max() >= LEAST_HEAT:
            columns, rows = torch.arange(window.shape[1]) + left, torch.arange(window.shape[0]) + top
            mean = torch.stack(((window.sum(0) * columns).sum(), (window.sum(1) * rows).sum())) / window.sum()
            refined[i] = mean / size
    return refined


def to_picture(points: np.ndarray, region: Region) -> np.ndarray:
    """Points (N, 2) in sides of the region, 0 and 1 at its outer edges -> pixels of the picture."""
    pixels = INPUT_SIZE * points - 0.5  # whole numbers are pixel centres
    back = cv2.invertAffineTransform(region.matrix())
    return pixels @ back[:, :2].T + back[:, 2]


def turn_back(world: np.ndarray, rotation_deg: float) -> np.ndarray:
    """Points (N, 3) of a picture that was turned counter-clockwise by rotation_deg -> those of the picture before."""
    cos, sin = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    return world @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T
