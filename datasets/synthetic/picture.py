"""One photograph-like picture of a person: light, mesh, shading, background, occluders, lens and sensor."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from datasets.synthetic.generator import PeopleGenerator
from datasets.synthetic.person.accessories import seat
from datasets.synthetic.person.body import bounds
from datasets.synthetic.person.look import Look, dress
from datasets.synthetic.person.mesh import Mesh, build_mesh, join
from datasets.synthetic.person.shading import Light, SkinTexture, shade_people
from datasets.synthetic.person.skin import LEVELS
from datasets.synthetic.raster.rasterizer import SUPERSAMPLING, Raster, Shadow, look_along, perspective, rasterize
from datasets.synthetic.scene.background import paint_background
from datasets.synthetic.scene.clutter import paint_occluders
from datasets.synthetic.scene.raytrace import View
from datasets.synthetic.subject import Subject, axis_rotation, draw_bystander
from utils.skeleton import J24, SMPL_JOINTS

SHADOW_SIZE = 160  # texels of the shadow map per side
BYSTANDERS = 0.15  # share of pictures with a second person in them
# depth of a keypoint below the surface of its body part, metres: surfaces nearer to the camera than that hide it
_DEPTH = {
    "Eye": 0.05,
    "Ear": 0.06,
    "Nose": 0.05,
    "Jaw": 0.07,
    "Top": 0.1,
    "Hip": 0.2,
    "Pelvis": 0.22,
    "Shoulder": 0.15,
    "Thorax": 0.18,
    "Spine": 0.2,
    "Neck": 0.14,
    "Head": 0.16,
}
DEPTHS = np.array([next((depth for part, depth in _DEPTH.items() if part in name), 0.11) for name in J24])
_TOUCHING = [
    SMPL_JOINTS.index(name)
    for name in (
        "L_foot", "R_foot", "L_ankle", "R_ankle", "L_hand", "R_hand", "L_knee", "R_knee", "pelvis", "head", "spine2",
    )
]  # fmt: skip


class Picture(NamedTuple):
    """image (n, n, 3) uint8 RGB; keypoints (24, 2): J24 in pixels; inside (24,) bool: within the picture; visible (24,)
    bool: inside and not hidden; mask (n, n) bool: pixels of the person with clothes and things, before flat occluders
    are drawn."""

    image: np.ndarray
    keypoints: np.ndarray
    inside: np.ndarray
    visible: np.ndarray
    mask: np.ndarray


class Sky(NamedTuple):
    """Light of a scene. irradiance (9, 3): of the sky without the sun, in a frame with any heading; sun (3,): unit
    vector towards the sun, world; sun_color (3,): linear RGB; shadow_strength: on the background, 0 to 1."""

    irradiance: np.ndarray
    sun: np.ndarray
    sun_color: np.ndarray
    shadow_strength: float


def draw_light(rng: np.random.Generator, environments: Sequence[np.ndarray]) -> Sky:
    """Draw sky and sun; environments: measured irradiances (9, 3) of mean 1, may be empty."""
    kind = rng.choice(("sunny", "cloudy", "indoor"), p=(0.35, 0.25, 0.4))
    warm = np.array([1.0, 1 + rng.uniform(-0.12, 0.02), 1 + rng.uniform(-0.3, 0.08)])
    sun_shares = {"sunny": rng.uniform(0.45, 0.85), "cloudy": rng.uniform(0, 0.25), "indoor": rng.uniform(0.15, 0.6)}
    sun_share = sun_shares[kind]
    elevation = np.deg2rad(rng.uniform(15, 80) if kind == "sunny" else rng.uniform(5, 85))
    azimuth = rng.uniform(-np.pi, np.pi)
    direction = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    if environments and rng.random() < 0.7:
        sh = environments[rng.integers(len(environments))]
    else:
        sh = np.zeros((9, 3))
        cool = np.array([1.0, 1.0, 1 + rng.uniform(-0.1, 0.35)]) if kind != "indoor" else warm
        sh[0] = cool
        sh[1] = cool * rng.uniform(0.0, 0.5) + rng.normal(0, 0.05, 3)
        sh[2:4] = rng.normal(0, 0.2, (2, 1)) * warm
    return Sky(sh * (1 - sun_share), direction, 1.6 * sun_share * warm, min(0.9 * sun_share, 0.75))


class People(NamedTuple):
    """The people of one picture. mesh: camera frame; own_layers: layers of the labelled person, which come first;
    texture: number of that person's skin texture; contacts (N, 4): with the floor, see `trace`."""

    mesh: Mesh
    own_layers: int
    texture: int
    contacts: np.ndarray


def draw_people(rng: np.random.Generator, generator: PeopleGenerator, subject: Subject, clean: bool) -> People:
    """Dress a Subject, perhaps on a seat and with a bystander; clean: without those two."""
    wardrobe = generator.wardrobe

    def random_look() -> Look:
        return dress(rng, wardrobe, len(generator.assets.fabrics), len(generator.skins))

    def mesh_of(look: Look, betas: np.ndarray, transforms: np.ndarray) -> Mesh:
        return build_mesh(wardrobe, generator.openness, look, betas, transforms, subject.camera)

    joints = (subject.transforms[:, :, :3] @ wardrobe.joints[..., None])[..., 0] + subject.transforms[:, :, 3]
    look = random_look()
    look.props.extend([] if clean else seat(rng, joints, subject.transforms[0, :, :3]))
    mesh = mesh_of(look, subject.betas, subject.transforms)
    if not clean and rng.random() < BYSTANDERS:
        transforms, betas = draw_bystander(rng, generator.body, generator.poses(rng), subject)
        mesh = join((mesh, mesh_of(random_look(), betas, transforms)))
    contacts = np.empty((len(_TOUCHING), 4))
    contacts[:, :3] = joints[_TOUCHING]
    contacts[:, 3] = 0.55 * np.exp(-np.maximum(contacts[:, 1] - 0.05, 0) / 0.1)
    return People(mesh, 1 + len(look.layers), look.texture, contacts)


def render_picture(
    rng: np.random.Generator, generator: PeopleGenerator, subject: Subject, size: int, zoom_out: float = 1.0,
    gain: ArrayLike = (1.0, 1.0, 1.0), clean: bool = False,
) -> Picture:  # fmt: skip
    """Render a Subject -> Picture of (size, size) pixels.

    zoom_out: side of the picture / side of the subject's crop; gain (3,): brightness per channel; clean: without other
    people, things in front of the person and camera faults.
    """
    x, y, half = subject.crop
    focal = 0.5 * size / (half * zoom_out)
    cx, cy = 0.5 * size - 0.5 - focal * x, 0.5 * size - 0.5 - focal * y
    mesh, own_layers, texture, contacts = draw_people(rng, generator, subject, clean)
    screen = perspective(mesh.points, focal, cx, cy)
    key, index = rasterize(screen, mesh.faces, mesh.coverage, mesh.two_sided, size, size, SUPERSAMPLING)

    sky = draw_light(rng, generator.assets.environments)
    rotation = subject.camera[:, :3]
    sun = rotation @ sky.sun
    shadow = cast_shadow(mesh, sun, sky.shadow_strength)
    low, high = bounds(perspective(subject.keypoints_camera.astype(np.float32), focal, cx, cy))
    level = next((k for k, n in enumerate(LEVELS[1:]) if n < 1.5 * (high - low)[:2].max()), len(LEVELS) - 1)
    light = Light(
        sky.irradiance,
        axis_rotation(1, rng.uniform(-np.pi, np.pi)) @ rotation.T,  # the sky may have any heading
        sun,
        sky.sun_color,
        shadow,
        exposure=float(np.exp(rng.normal(0, 0.25))),
    )
    skin = SkinTexture(generator.body.uv, generator.body.uv_faces, generator.skins[texture][level])
    raster = Raster(screen, key, index, SUPERSAMPLING)
    people = shade_people(raster, mesh, skin, generator.assets.fabrics, generator.wardrobe.geometry, light)
    view = View(subject.position, np.ascontiguousarray(rotation.T), focal, cx, cy)
    image = paint_background(
        rng, size, size, view, np.array([0, 0.9, 0.0]), shadow, contacts, generator.assets.photos,
        generator.assets.pictures,
    )  # fmt: skip
    image *= rng.uniform(0.6, 1.1) * (1 - people[..., 3:])
    image += people[..., :3]

    points = subject.keypoints_camera
    keypoints = focal * points[:, :2] / points[:, 2:] + (cx, cy)
    column, row = np.round(keypoints).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < size) & (row < size)
    column, row = column.clip(0, size - 1), row.clip(0, size - 1)
    nearest = 1 / np.maximum(key[SUPERSAMPLING * row, SUPERSAMPLING * column], 1e-6)
    visible = inside & (nearest > points[:, 2] - DEPTHS)
    faces = index[::SUPERSAMPLING, ::SUPERSAMPLING]
    mask = (faces >= 0) & (mesh.layer[faces] < own_layers)
    contrast, offset, noise = np.ones(3), np.zeros(3), np.zeros((size, size), np.float32)
    if not clean:
        if rng.random() < 0.2:
            cover = paint_occluders(rng, image, generator.assets.pictures) > 0.5
            visible &= ~cover[row, column]
        image, contrast, offset, noise = camera_faults(rng, image)
    image = quantize(image, contrast, offset, noise, 255 * np.asarray(gain))
    if not clean:
        if rng.random() < 0.12:
            border = _border(rng, size)
            image[~border] = 0
            visible &= border[row, column]
            inside &= border[row, column]
        image = compress(rng, image)
    return Picture(image, keypoints, inside, visible, mask)


def cast_shadow(mesh: Mesh, sun: np.ndarray, strength: float) -> Shadow:
    """Shadow map of a mesh; sun (3,): unit vector towards the sun, camera frame."""
    screen, affine = look_along(mesh.points, -sun, SHADOW_SIZE)
    depth, _ = rasterize(screen, mesh.faces, mesh.coverage, mesh.two_sided, SHADOW_SIZE, SHADOW_SIZE, 1)
    return Shadow(depth, affine, strength)


@njit(cache=True, error_model="numpy")
def quantize(
    image: np.ndarray, contrast: np.ndarray, offset: np.ndarray, noise: np.ndarray, gain: np.ndarray
) -> np.ndarray:
    """round(gain * clip(contrast * image + offset + noise, 0, 1)) -> (H, W, 3) uint8.

    image (H, W, 3) float32; contrast, offset, gain (3,); noise (H, W).
    """
    out = np.empty(image.shape, np.uint8)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for c in range(3):
                value = min(max(image[y, x, c] * contrast[c] + offset[c] + noise[y, x], 0.0), 1.0)
                out[y, x, c] = np.uint8(min(value * gain[c] + 0.5, 255.0))
    return out


def _border(rng: np.random.Generator, size: int) -> np.ndarray:
    """A crop that reaches over one side of the full picture -> (size, size) bool, False outside of the picture."""
    inside = np.ones((size, size), bool)
    width = int(rng.uniform(0.03, 0.25) * size)
    side = rng.integers(4)
    window = [np.s_[:width], np.s_[size - width :], np.s_[:, :width], np.s_[:, size - width :]][side]
    inside[window] = False
    return inside


def camera_faults(rng: np.random.Generator, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Blur, low resolution or motion blur of an image (H, W, 3) float32, and exposure, contrast, colour cast and noise.

    -> image, and for `quantize` contrast (3,), offset (3,), noise (H, W) float32
    """
    size = image.shape[0]
    if rng.random() < 0.1:  # faded or no colour
        grey = image @ np.array([[0.3], [0.59], [0.11]], np.float32)
        image = grey + rng.choice((0.0, 0.4)).astype(np.float32) * (image - grey)
    draw = rng.random()
    if draw < 0.3:
        width = rng.uniform(0.4, 1.6)
        image = cv2.GaussianBlur(image, (2 * round(2 * width) + 1,) * 2, width)
    elif draw < 0.5:
        small = int(size * rng.uniform(0.4, 0.9))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    elif draw < 0.56:
        length = int(rng.integers(3, 9))
        kernel = np.zeros((length, length), np.float32)
        angle, middle = rng.uniform(0, np.pi), (length - 1) / 2
        along = np.linspace(-middle, middle, 4 * length)
        rows, columns = (np.round(middle + along * part).astype(int) for part in (np.sin(angle), np.cos(angle)))
        kernel[rows, columns] = 1
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    exposure = np.clip((0.42 / (image[::4, ::4].mean() + 0.05)) ** 0.5, 0.75, 1.6)  # automatic exposure
    contrast = rng.uniform(0.75, 1.2) * rng.normal(1, 0.05, 3)
    offset = 0.45 * (1 - contrast) + rng.normal(0, 0.05)
    strength = np.float32(rng.uniform(0.003, 0.03) if rng.random() < 0.6 else 0)
    return image, exposure * contrast, offset, strength * rng.standard_normal((size, size), np.float32)


def compress(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Compress image (H, W, 3) uint8 as a JPEG of random quality and decode it, in 75 % of the cases."""
    if rng.random() < 0.25:
        return image
    quality = int(rng.uniform(35, 96))
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
