"""The people of a photograph or film as one scene: everybody before the camera, the photograph behind them.

The .glb holds a camera with the photograph's field of view, a plane that fills this view with the photograph, and one
node per person: "person 1", "person 2", ... Seen through the camera, everybody falls on the photograph.

A glTF camera has its principal point in the middle of the picture. So has the camera of this project
(`utils.camera.pinhole`): the middle of W pixels whose centres are 0 to W - 1 is (W - 1) / 2.
"""

import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from utils.camera import UPRIGHT, Perspective
from utils.errors import UserError
from utils.export.gltf import Gltf
from utils.export.rig import Channel, Motion, RestBody, add_animation, add_rig, motion_channels
from utils.placement.frame import CAMERA, Frame

BEHIND = 1.1  # distance of the photograph, in distances of the farthest point of all people
REACH = 1.5  # metres: no part of a moving body is farther from its root
NEAR = 0.05  # metres, where the camera's view begins
LARGEST_SIDE = 4096  # pixels of the photograph: more than that, many programs refuse or shrink


class StillPerson(NamedTuple):
    """A person of a photograph."""

    vertices: np.ndarray  # (V, 3) metres, camera frame

    @property
    def depth(self) -> float:
        """Metres from the camera to the farthest point."""
        return float(self.vertices[:, 2].max())


class MovingPerson(NamedTuple):
    """A person of a film."""

    body: RestBody
    motion: Motion
    visible: list[tuple[float, float]]  # seconds at which each stay in view begins and ends; inf: with the film

    @property
    def depth(self) -> float:
        return float((self.motion.translation + self.body.joints[0])[:, 2].max()) + REACH


def save_scene(
    path: str | Path,
    picture: np.ndarray,
    camera: Perspective,
    people: list[StillPerson] | list[MovingPerson],
    faces: np.ndarray,
    colors: np.ndarray,
    frame: Frame = CAMERA,
):
    """Write a scene atomically as .glb.

    picture (H, W, 3) uint8; camera: principal point in its middle; faces (F, 3), colors (V, 3) uint8 sRGB of everybody;
    frame: of the file.
    """
    if not people:
        raise UserError(f"{path}: a scene without people: leave out --save scene")
    gltf = Gltf()
    height, width = picture.shape[:2]
    distance = BEHIND * max(max(person.depth for person in people), 2 * NEAR)
    _add_camera(gltf, camera, height, width, 2 * distance, frame)
    _add_picture(gltf, picture, camera, distance, frame)
    channels = []
    for number, person in enumerate(people, 1):
        if isinstance(person, StillPerson):
            mesh = gltf.add_mesh(frame.apply(person.vertices.astype(np.float64)), faces, colors)
            gltf.add_to_scene(gltf.add("nodes", {"name": f"person {number}", "mesh": mesh}))
        else:
            joints, mesh = add_rig(gltf, person.body, colors, f"person {number} body")
            gltf.add_to_scene(gltf.add("nodes", {"name": f"person {number}", "children": [joints[0], mesh]}))
            channels += motion_channels(joints, person.body, person.motion, frame)
            channels += _hide(joints[0], person.visible)
    if channels:
        add_animation(gltf, channels)
    gltf.save(path)


def _add_camera(gltf: Gltf, camera: Perspective, height: int, width: int, far: float, frame: Frame):
    if camera.fx != camera.fy or abs(camera.cx - (width - 1) / 2) + abs(camera.cy - (height - 1) / 2) > 1e-6:
        raise ValueError(f"{camera}: glTF wants square pixels and the principal point in the middle of the picture")
    view = {
        "yfov": 2 * math.atan(height / 2 / camera.fy),
        "aspectRatio": width / height,
        "znear": NEAR,
        "zfar": far,
    }
    lens = gltf.add("cameras", {"name": "camera", "type": "perspective", "perspective": view})
    # glTF's cameras have y up and view along -z, as the upright camera frame
    turn = Rotation.from_matrix(frame.rotation * UPRIGHT).as_quat()
    node = {"name": "camera", "camera": lens, "translation": frame.shift.tolist(), "rotation": turn.tolist()}
    gltf.add_to_scene(gltf.add("nodes", node))


def _add_picture(gltf: Gltf, picture: np.ndarray, camera: Perspective, distance: float, frame: Frame):
    """A plane at this distance from the camera, as large as the view."""
    height, width = picture.shape[:2]
    low, high = (-0.5, -0.5), (width - 0.5, height - 0.5)  # outer edges of the pixels
    pixels = np.array((low, (high[0], low[1]), high, (low[0], high[1])))
    corners = (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    corners = distance * np.column_stack((corners, np.ones(4)))
    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    image.save(file, "JPEG", quality=92)
    material = gltf.add_picture(file.getvalue(), "jpeg")
    places = np.array(((0, 0), (1, 0), (1, 1), (0, 1)), np.float32)
    faces = np.array(((0, 3, 2), (0, 2, 1)))  # towards the camera
    mesh = gltf.add_mesh(frame.apply(corners), faces, material=material, TEXCOORD_0=places)
    gltf.add_to_scene(gltf.add("nodes", {"name": "photograph", "mesh": mesh}))


def _hide(root: int, visible: list[tuple[float, float]]) -> list[Channel]:
    """Shrink a skeleton to a point while its person is out of view: all programs read that, unlike other ways."""
    keys = {0.0: 0.0}
    for start, end in visible:
        keys[start] = 1.0
        keys[end] = 0.0
    keys.pop(math.inf, None)
    if set(keys.values()) == {1.0}:
        return []
    scales = np.array(list(keys.values()))[:, None].repeat(3, axis=1)
    return [Channel(root, "scale", np.array(list(keys)), scales, "STEP")]
