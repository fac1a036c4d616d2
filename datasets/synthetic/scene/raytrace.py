"""Scenes traced pixel by pixel with the camera of the person, so that horizon, floor and cast shadow fit.

World frame: y up, the floor at y = 0, metres. Colours are sRGB in [0, 1].
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from datasets.synthetic.raster.noise import fractal2, hashed
from datasets.synthetic.raster.rasterizer import Shadow, lit
from datasets.synthetic.scene.surfaces import surface_color

ROOM, STREET, FIELD, PHOTO_FLOOR = range(4)

# a rectangle on a wall (picture, window, door, shelf); low and high in metres along the wall
PATCH = np.dtype(
    [("wall", np.int32), ("surface", np.int32), ("low", np.float32, 2), ("high", np.float32, 2)], align=True
)


class View(NamedTuple):
    """A camera in the world: position (3,) metres, to_world (3, 3): rotation from the camera frame; focal, cx, cy:
    focal length and principal point in pixels."""

    position: np.ndarray
    to_world: np.ndarray
    focal: float
    cx: float
    cy: float


class Scene(NamedTuple):
    """What `trace` paints. kind: ROOM, STREET, FIELD or PHOTO_FLOOR; box (6,): low and high x, y, z of a room, metres;
    surfaces (S,) SURFACE: first the walls of a room, or sky, horizon, ground, -, skyline, skyline; patches (P,) PATCH
    on the walls; pictures (N, h, w, 3): for surfaces; photo (rows, columns, 3): what PHOTO_FLOOR darkens."""

    kind: int
    box: np.ndarray
    surfaces: np.ndarray
    patches: np.ndarray
    pictures: np.ndarray
    photo: np.ndarray
    seed: int


@njit(cache=True, error_model="numpy")
def trace(
    scene: Scene, view: View, shadow: Shadow, contacts: np.ndarray, height: int, width: int, step: int
) -> np.ndarray:
    """Paint every `step`-th pixel of a (height, width) picture -> (height // step, width // step, 3) float32.

    contacts (N, 4): points in the world near the floor that darken it, metres, and how much, from 0 to 1.
    """
    kind, box, surfaces, patches, pictures, photo, seed = scene
    position, to_world, focal, cx, cy = view
    shadow_map, shadow_affine, shadow_strength = shadow
    rows, columns = height // step, width // step
    out = np.zeros((rows, columns, 3), np.float32)
    color = np.empty(3)
    for row in range(rows):
        for column in range(columns):
            a = ((column + 0.5) * step - 0.5 - cx) / focal
            b = ((row + 0.5) * step - 0.5 - cy) / focal
            dx = to_world[0, 0] * a + to_world[0, 1] * b + to_world[0, 2]
            dy = to_world[1, 0] * a + to_world[1, 1] * b + to_world[1, 2]
            dz = to_world[2, 0] * a + to_world[2, 1] * b + to_world[2, 2]
            floor, t = False, 1e6
            if kind == ROOM:
                wall = 0
                for k in range(3):
                    d = dx if k == 0 else (dy if k == 1 else dz)
                    if abs(d) > 1e-9:
                        high = 1 if d > 0 else 0
                        hit = (box[2 * k + high] - position[k]) / d
                        if hit < t:
                            t, wall = hit, 2 * k + high
                x, y, z = position[0] + t * dx, position[1] + t * dy, position[2] + t * dz
                u, v = (z, y) if wall < 2 else ((x, z) if wall < 4 else (x, y))
                number = wall
                for k in range(patches.shape[0]):
                    p = patches[k]
                    if p.wall == wall and p.low[0] < u < p.high[0] and p.low[1] < v < p.high[1]:
                        number = p.surface
                surface_color(surfaces[number], u, v, pictures, color)
                # corners of a room are darker
                edge = 1.0
                for k in range(3):
                    if wall // 2 != k:
                        q = x if k == 0 else (y if k == 1 else z)
                        gap = min(abs(q - box[2 * k]), abs(q - box[2 * k + 1]))
                        edge *= 1 - 0.35 * np.exp(-2.5 * gap)
                facing = (0.85, 1.0, 0.8, 1.05, 0.9, 0.95)[wall]
                for c in range(3):
                    color[c] *= edge * facing
                floor = wall == 2
            else:
                ground = dy < -1e-4
                if ground:
                    t = -position[1] / dy
                x, y, z = position[0] + t * dx, 0.0, position[2] + t * dz
                if kind == PHOTO_FLOOR:
                    for c in range(3):
                        color[c] = photo[row, column, c]
                    floor = ground and t < 60
                else:
                    level = dy / np.sqrt(dx * dx + dz * dz + 1e-9)
                    turn = np.arctan2(dx, dz)
                    skyline = 0.0
                    if kind == STREET:
                        block = int(np.floor(turn * 7))
                        skyline = 0.05 + 0.55 * hashed(block, 0, 0, seed) ** 1.5
                    else:
                        skyline = 0.25 * fractal2(turn * 9 + 50, 0.5, 4, seed) - 0.03
                    if ground and t < 25:
                        surface_color(surfaces[2], x, z, pictures, color)
                        floor = True
                        haze = min(t / 25, 1.0) * 0.5
                        for c in range(3):
                            color[c] = color[c] * (1 - haze) + haze * surfaces[1].color[c] * 0.8
                    elif level < skyline:
                        if kind == STREET:
                            shade = 0.5 + 0.6 * hashed(block, 1, 0, seed)
                            fu, fv = turn * 70 - np.floor(turn * 70), level * 22 - np.floor(level * 22)
                            window = 0.3 < fu < 0.75 and 0.25 < fv < 0.75 and level > 0.0
                            tint = 0.35 + 0.5 * hashed(int(turn * 70 + 1000), int(level * 22), 2, seed)
                            for c in range(3):
                                color[c] = shade * (surfaces[4].color[c] if block % 2 else surfaces[5].color[c])
                                if window:
                                    color[c] *= tint
                        else:
                            leaf = fractal2(turn * 60, level * 60, 4, seed + 9)
                            for c in range(3):
                                color[c] = surfaces[4].color[c] * (0.25 + 1.1 * leaf)
                    else:
                        cloud = fractal2(turn * 4 + 9, 3 * level / (0.3 + level), 5, seed + 3)
                        cloud = min(max(2.5 * cloud - 1.0, 0.0), 1.0) * surfaces[0].mottle
                        fade = min(max(level, 0.0), 1.0)
                        for c in range(3):
                            sky = surfaces[0].color[c] * fade + surfaces[1].color[c] * (1 - fade)
                            color[c] = sky * (1 - cloud) + 0.95 * cloud
            if (floor or kind == ROOM) and shadow_strength > 0:
                share = lit(shadow_map, shadow_affine, t * a, t * b, t, 0.0)
                for c in range(3):
                    color[c] *= 1 - shadow_strength * (1 - share)
            if floor:
                for k in range(contacts.shape[0]):
                    gap = (x - contacts[k, 0]) ** 2 + (z - contacts[k, 2]) ** 2
                    width = 0.012 + contacts[k, 1] ** 2
                    if gap < 5 * width:
                        dark = contacts[k, 3] * np.exp(-gap / width)
                        for c in range(3):
                            color[c] *= 1 - dark
            for c in range(3):
                out[row, column, c] = color[c]
    return out
