"""Photograph-like pictures of several people of known heights on one floor, before a known camera."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from datasets.synthetic.generator import PeopleGenerator
from datasets.synthetic.person.body import Body, rotvec_to_rotmat
from datasets.synthetic.person.look import dress
from datasets.synthetic.person.mesh import build_mesh, join
from datasets.synthetic.person.shading import Light, SkinTexture, shade_people
from datasets.synthetic.picture import cast_shadow, draw_light, quantize
from datasets.synthetic.raster.rasterizer import SUPERSAMPLING, Raster, perspective, rasterize
from datasets.synthetic.scene.background import paint_background
from datasets.synthetic.scene.raytrace import View
from datasets.synthetic.subject import axis_rotation
from utils.camera import Perspective, pinhole
from utils.skeleton import SMPL_JOINTS

SIZE = (540, 960)  # height and width of a picture, pixels
FOCAL = 900.0  # pixels
STRAIGHT = 0.94  # of the length of the legs: how far hips are above ankles of somebody who stands
LEVEL = 0.08  # metres between the heights of the ankles of somebody who stands on both feet

# motion capture as it is, without poses that are made by rules, whose bodies need not be in balance
CAPTURED = {"p_blend": 0, "p_upper": 0, "p_legs": 0, "p_arms": 0, "p_spine": 0}

Poses = Callable[[np.random.Generator], np.ndarray]  # -> (24, 3) axis-angle, y up


class Member(NamedTuple):
    """One person of a group. Camera frame, metres, unless said otherwise."""

    vertices: np.ndarray  # (V, 3) of the body without clothes
    joints: np.ndarray  # (24, 3)
    height: float  # standing
    betas: np.ndarray  # (10,)
    transforms: np.ndarray  # (24, 3, 4) from the rest pose to the world
    world_feet: np.ndarray  # (2, 3) in the world


class Setting(NamedTuple):
    """A camera above a floor: looks along -z of the world, whose floor is y = 0, and down by `tilt` degrees from
    `level` metres above the origin."""

    tilt: float
    level: float

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) from the world to the camera frame."""
        return axis_rotation(0, np.deg2rad(self.tilt)) @ np.diag([1.0, -1.0, -1.0])

    @property
    def to_camera(self) -> np.ndarray:
        """(3, 4)"""
        return np.column_stack((self.rotation, -self.rotation @ (0, self.level, 0)))

    @property
    def camera(self) -> Perspective:
        return pinhole(FOCAL, *SIZE)


def standing_pose(rng: np.random.Generator, body: Body, poses: Poses) -> np.ndarray:
    """Rotations (24, 3, 3) of somebody who stands on both feet, with any heading."""
    while True:
        rotations = rotvec_to_rotmat(poses(rng))
        rotations[0] = axis_rotation(1, rng.uniform(-np.pi, np.pi)) @ rotations[0]
        _, joints, _ = body.posed(rotations, np.zeros(10), body.probe)
        legs = np.stack([[joints[SMPL_JOINTS.index(f"{side}_{part}")] for part in ("hip", "knee", "ankle")]
                         for side in "LR"])  # fmt: skip
        lengths = np.linalg.norm(np.diff(legs, axis=1), axis=2).sum(1)
        if ((legs[:, 0] - legs[:, 2])[:, 1] > STRAIGHT * lengths).all() and np.ptp(legs[:, 2, 1]) < LEVEL:
            return rotations


def place_member(
    rng: np.random.Generator, body: Body, poses: Poses, place: tuple[float, float], scale: float, setting: Setting
) -> Member:
    """Somebody of a random shape who stands at a place: metres to the right, metres from the camera along the floor.

    scale: size in sizes of the body, below 1 for a child.
    """
    betas = np.clip(rng.normal(size=10), -2, 2)
    vertices, joints, transforms = body.posed(standing_pose(rng, body, poses), betas)
    shift = np.array((place[0], 0, -place[1])) - scale * (joints[0] * (1, 0, 1) + (0, vertices[:, 1].min(), 0))
    transforms = scale * transforms
    transforms[:, :, 3] += shift
    rotation, offset = setting.to_camera[:, :3], setting.to_camera[:, 3]
    world = [scale * points + shift for points in (vertices, joints)]
    placed = [points @ rotation.T + offset for points in world]
    rest = body.posed(np.eye(3)[None].repeat(24, 0), betas)[0]
    feet = world[1][[SMPL_JOINTS.index("L_foot"), SMPL_JOINTS.index("R_foot")]]
    return Member(*placed, scale * float(np.ptp(rest[:, 1])), betas, transforms, feet)


def draw_group(
    rng: np.random.Generator, generator: PeopleGenerator, members: list[Member], setting: Setting
) -> tuple[np.ndarray, list[tuple[float, float, float, float]]]:
    """-> picture (H, W, 3) uint8; box of every dressed person: x, y, width, height, pixels."""
    (height, width), camera, rotation = SIZE, setting.camera, setting.rotation
    looks = [dress(rng, generator.wardrobe, len(generator.assets.fabrics), len(generator.skins)) for _ in members]
    meshes = [
        build_mesh(generator.wardrobe, generator.openness, look, member.betas, member.transforms, setting.to_camera)
        for look, member in zip(looks, members, strict=True)
    ]
    sky = draw_light(rng, generator.assets.environments)
    sun, heading = rotation @ sky.sun, axis_rotation(1, rng.uniform(-np.pi, np.pi)) @ rotation.T
    shadow = cast_shadow(join(meshes), sun, sky.shadow_strength)
    view = View(np.array((0, setting.level, 0)), np.ascontiguousarray(rotation.T), camera.fx, camera.cx, camera.cy)
    feet = np.concatenate([member.world_feet for member in members])
    contacts = np.column_stack((feet, np.full(len(feet), 0.5)))
    photos, pictures = generator.assets.photos, generator.assets.pictures
    middle = np.array([0, 0.9, -4.0])
    image = paint_background(rng, height, width, view, middle, shadow, contacts, photos, pictures)
    light = Light(sky.irradiance, heading, sun, sky.sun_color, shadow, exposure=1.0)
    for number in np.argsort([-mesh.points[:, 2].mean() for mesh in meshes]):  # the farthest first
        mesh = meshes[number]
        screen = perspective(mesh.points, camera.fx, camera.cx, camera.cy)
        key, index = rasterize(screen, mesh.faces, mesh.coverage, mesh.two_sided, height, width, SUPERSAMPLING)
        skin = SkinTexture(generator.body.uv, generator.body.uv_faces, generator.skins[looks[number].texture][0])
        raster = Raster(screen, key, index, SUPERSAMPLING)
        person = shade_people(raster, mesh, skin, generator.assets.fabrics, generator.wardrobe.geometry, light)
        image = image * (1 - person[..., 3:]) + person[..., :3]
    noise = 0.01 * rng.standard_normal((height, width), np.float32)
    image = quantize(image.astype(np.float32), np.ones(3), np.zeros(3), noise, np.full(3, 255.0))
    pixels = [camera.project(mesh.points.astype(np.float64)) for mesh in meshes]
    return image, [(*points.min(0), *np.ptp(points, axis=0)) for points in pixels]
