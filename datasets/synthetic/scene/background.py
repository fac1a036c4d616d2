"""Backgrounds: rooms, streets and fields, studio walls, textures, clutter, photographs.

World frame: y up, the floor at y = 0, metres. Colours are sRGB in [0, 1].
"""

from collections.abc import Sequence

import cv2
import numpy as np

from datasets.synthetic.raster.rasterizer import Shadow
from datasets.synthetic.scene.clutter import clutter
from datasets.synthetic.scene.raytrace import FIELD, PATCH, PHOTO_FLOOR, ROOM, STREET, Scene, View, trace
from datasets.synthetic.scene.surfaces import GROUND, PAINT, SURFACE, random_color, random_surface


def _room(
    rng: np.random.Generator, view: View, person: np.ndarray, pictures: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walls around camera and person, and things on the walls -> box (6,), surfaces (S,), patches (P,) of a Scene."""
    low, high = np.minimum(view.position, person), np.maximum(view.position, person)
    box = np.empty(6, np.float32)
    box[0::2] = low - rng.uniform(0.7, 4, 3)
    box[1::2] = high + rng.uniform(0.7, 4, 3)
    box[2], box[3] = 0, max(rng.uniform(2.3, 4), high[1] + 0.3)
    surfaces = [random_surface(rng, pictures=pictures) for _ in range(6)]
    if rng.random() < 0.7:  # usually one paint on all walls, a pale ceiling
        for k in (1, 4, 5):
            surfaces[k] = surfaces[0]
        surfaces[3] = random_surface(rng, PAINT)
        surfaces[3]["color"] = rng.uniform(0.7, 0.95)
    patches = []
    for _ in range(rng.integers(0, 16)):
        size = np.exp(rng.uniform(np.log(0.1), np.log(2.5), 2))
        wall = rng.choice((0, 1, 4, 5))
        axis = 2 if wall < 2 else 0
        u = rng.uniform(box[2 * axis], box[2 * axis + 1])
        v = rng.uniform(0, box[3]) if rng.random() < 0.5 else 0.5 * size[1]  # hung on the wall or standing on the floor
        surfaces.append(random_surface(rng, pictures=pictures, scale=0.5))
        low, high = np.array((u, v)) - size / 2, np.array((u, v)) + size / 2
        patches.append((wall, len(surfaces) - 1, tuple(low), tuple(high)))
    return box, np.array(surfaces), np.array(patches, PATCH)


def _outdoors(rng: np.random.Generator, kind: int, pictures: int) -> np.ndarray:
    """Surfaces (6,): zenith, horizon, ground, unused, two of the skyline."""
    surfaces = [random_surface(rng, PAINT) for _ in range(6)]
    blue = rng.random()
    grey = (1 - blue) * rng.uniform(0.5, 0.9)
    surfaces[0]["color"] = np.array([0.25, 0.45, 0.8]) * blue + grey + rng.normal(0, 0.04, 3)
    surfaces[1]["color"] = np.clip(rng.uniform(0.65, 0.95) + rng.normal(0, 0.06, 3), 0, 1)
    surfaces[0]["mottle"] = rng.uniform(0, 1)
    surfaces[2] = random_surface(rng, None if kind == STREET or rng.random() < 0.4 else GROUND, pictures)
    green = np.array([0.3, 0.42, 0.18]) * rng.uniform(0.4, 1.3) + rng.normal(0, 0.05, 3)
    if kind == FIELD and rng.random() < 0.7:
        surfaces[2]["color"], surfaces[2]["second"] = np.clip(green * 1.2, 0, 1), np.clip(green * 0.6, 0, 1)
    if kind == FIELD:
        surfaces[4]["color"] = np.clip(green, 0.02, 1)
    return np.array(surfaces)


def paint_background(
    rng: np.random.Generator, height: int, width: int, view: View, person: np.ndarray, shadow: Shadow,
    contacts: np.ndarray, photos: Sequence[np.ndarray], pictures: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """A background for one picture -> (height, width, 3) float32, sRGB.

    view: the person's camera; person (3,): a point in the world; contacts (N, 4): see `trace`; photos: (H, W, 3) uint8
    photographs; pictures (N, h, w, 3): float32 tiles. photos and pictures may be empty.
    """
    kinds = ["room", "street", "field", "studio", "noise", "clutter"]
    weights = np.array([3, 1.2, 1.2, 0.6, 0.2, 0.8])
    if photos:
        kinds, weights = ["photo", *kinds], np.append(weights.sum(), weights)
    kind = rng.choice(kinds, p=weights / weights.sum())
    if kind == "studio":
        a, b = random_color(rng), random_color(rng)
        ramp = np.linspace(0, 1, height)[:, None, None] ** rng.uniform(0.5, 2)
        return np.broadcast_to(a * (1 - ramp) + b * ramp, (height, width, 3)).astype(np.float32)
    if kind == "noise":
        cells = rng.integers(2, 40, 2)
        coarse = rng.random((*cells, 3)).astype(np.float32)
        mix = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.clip(random_color(rng) + (mix - 0.5) * rng.uniform(0.2, 1.2), 0, 1).astype(np.float32)
    if kind == "clutter":
        return clutter(rng, height, width, pictures)

    photo = np.zeros((1, 1, 3), np.float32)
    tiles = pictures if len(pictures) else np.zeros((1, 1, 1, 3), np.float32)
    box, patches = np.zeros(6, np.float32), np.zeros(0, PATCH)
    code = {"room": ROOM, "street": STREET, "field": FIELD, "photo": PHOTO_FLOOR}[kind]
    if kind == "room":
        box, surfaces, patches = _room(rng, view, person, len(pictures))
    elif kind == "photo":
        surfaces = np.zeros(6, SURFACE)
        sharp = _photo_crop(rng, photos[rng.integers(len(photos))], height, width)
        photo = cv2.resize(sharp, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    else:
        surfaces = _outdoors(rng, code, len(pictures))
    scene = Scene(code, box, surfaces, patches, tiles, photo, int(rng.integers(1 << 20)))
    painted = trace(scene, view, shadow, contacts, height, width, 2)
    if kind == "photo":  # only the shadow is painted at half size: keep the photograph's detail
        return sharp * cv2.resize(painted / np.maximum(photo, 1e-3), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(cv2.resize(painted, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


def _photo_crop(rng: np.random.Generator, photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """A random part of a photograph (H, W, 3) uint8, mirrored in half of the cases -> (height, width, 3) float32."""
    h, w = photo.shape[:2]
    share = rng.uniform(0.35, 1)
    scale = share * min(h / height, w / width)
    ch, cw = int(height * scale), int(width * scale)
    y, x = rng.integers(h - ch + 1), rng.integers(w - cw + 1)
    crop = cv2.resize(photo[y : y + ch, x : x + cw], (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return crop * np.float32(1 / 255)
