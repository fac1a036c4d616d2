"""Skin textures: a face painted on any body at its keypoints, over plain skin or a scanned one.

A skin texture is (H, W, 5) float32: linear RGB relative to the skin tone, the share of it that the tone tints (0 for
the white of the eyes), and the share that has the colour of the hair (brows, stubble, beards).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from datasets.synthetic.person.body import Body
from datasets.synthetic.person.wardrobe import Wardrobe
from datasets.synthetic.raster.color import srgb_to_linear
from datasets.synthetic.raster.noise import noise3
from datasets.synthetic.raster.rasterizer import barycentric, rasterize

SIZE = 512
LEVELS = (512, 256, 128, 64)  # resolutions, finest first; the size of the person in the picture decides which is used


def bake_positions(body: Body, size: int = SIZE) -> np.ndarray:
    """Rest-pose position of every texel -> (size, size, 3) float32, metres, NaN outside the charts."""
    points = np.empty((len(body.uv), 3), np.float32)
    points[:, 0] = body.uv[:, 0] * size - 0.5
    points[:, 1] = (1 - body.uv[:, 1]) * size - 0.5
    points[:, 2] = 1
    sides = np.ones(len(body.uv_faces), bool)
    _, index = rasterize(points, body.uv_faces, points[:, 2], sides, size, size, 1)
    return _interpolate(index, points, body.uv_faces, body.faces, body.template)


@njit(cache=True, error_model="numpy")
def _interpolate(
    index: np.ndarray, points: np.ndarray, uv_faces: np.ndarray, faces: np.ndarray, template: np.ndarray
) -> np.ndarray:
    """Positions (H, W, 3) of the texels whose face numbers are index (H, W), NaN where index is -1."""
    positions = np.full((*index.shape, 3), np.nan, np.float32)
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            f = index[y, x]
            if f >= 0:
                a, b, c = barycentric(points, uv_faces, f, x, y)
                for k in range(3):
                    corners = template[faces[f, 0], k], template[faces[f, 1], k], template[faces[f, 2], k]
                    positions[y, x, k] = a * corners[0] + b * corners[1] + c * corners[2]
    return positions


@njit(cache=True, error_model="numpy")
def _blotches(positions: np.ndarray, seed: int) -> np.ndarray:
    """Noise over rest-pose positions (H, W, 3) -> (H, W) float32."""
    out = np.empty(positions.shape[:2], np.float32)
    for y in range(positions.shape[0]):
        for x in range(positions.shape[1]):
            out[y, x] = noise3(25 * positions[y, x, 0], 25 * positions[y, x, 1], 25 * positions[y, x, 2], seed)
    return out


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    """1 up to a width, then falling to 0 at 1.25 times the width."""
    return np.clip((1.25 * width - distance) / (0.25 * width), 0, 1)


def _ellipse(p: np.ndarray, centre: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """Distance of points (..., 3) from a centre (3,) in the frontal plane, in units of the radii (2,)."""
    return np.hypot((p[..., 0] - centre[0]) / radii[0], (p[..., 1] - centre[1]) / radii[1])


def paint_skin(wardrobe: Wardrobe, style: dict, positions: np.ndarray, base: np.ndarray | None = None) -> np.ndarray:
    """Paint face, palms and chest -> skin texture (SIZE, SIZE, 5) float32.

    style: `beard` (0 none to 1 full), `stubble`, `brows`, `lips` (0 to 1), `iris` (sRGB), `seed`. positions: from
    `bake_positions`. base (SIZE, SIZE, 3): scanned skin, linear RGB relative to its mean, or None.
    """
    p = np.nan_to_num(positions, nan=-9.0)
    key = wardrobe.key
    ear = 0.5 * (key["L_Ear"] + key["R_Ear"])
    nose = key["Nose"]
    texture = np.ones((*p.shape[:2], 5), np.float32)
    texture[..., 4] = 0
    if base is not None:
        texture[..., :3] = base
    else:
        blotches = _blotches(p, style["seed"])
        texture[..., :3] *= 0.9 + 0.2 * blotches[..., None]
    front = p[..., 2] > ear[2] + 0.03
    mouth = np.add(nose, (0, -0.034, -0.012))
    near_face = front & (p[..., 1] > mouth[1] - 0.08)

    def tint(where, factor):
        texture[..., :3] *= 1 + where[..., None] * (np.asarray(factor, np.float32) - 1)

    if base is None:
        lips = _bump(_ellipse(p, mouth, (0.025, 0.0095 + 0.004 * style["lips"])), 1.0) * near_face
        tint(lips, (0.85, 0.5, 0.5))
        line = _bump(_ellipse(p, mouth, (0.024, 0.0022)), 1.0) * near_face
        tint(line, (0.35, 0.2, 0.2))
        for side in (-1, 1):
            cheek = np.clip(1 - _ellipse(p, np.add(nose, (0.042 * side, 0.0, 0)), (0.03, 0.025)), 0, 1) * near_face
            tint(cheek, (1.08, 0.85, 0.85))
            nostril = _bump(_ellipse(p, np.add(nose, (0.008 * side, -0.012, 0)), (0.005, 0.003)), 1.0) * near_face
            tint(nostril, (0.35, 0.25, 0.25))
            palm = np.clip((side * p[..., 0] - wardrobe.at["L_wrist"][0]) / 0.02, 0, 1) * (
                p[..., 1] < wardrobe.at["L_wrist"][1]
            )
            tint(palm, (1.1, 0.95, 0.95))
        chest = wardrobe.at["spine3"]
        for side in (-1, 1):
            nipple = _bump(_ellipse(p, (side * 0.1, chest[1], 0), (0.014, 0.014)), 1.0) * (p[..., 2] > 0.05)
            tint(nipple, (0.7, 0.5, 0.45))
    for name, side in (("L_Eye", 1), ("R_Eye", -1)):
        eye = key[name]
        socket = np.clip(1.6 - _ellipse(p, np.add(eye, (0, 0.001, 0)), (0.02, 0.012)), 0, 1) * near_face
        if base is None:
            tint(socket, (0.75, 0.68, 0.68))
        lashes = _bump(_ellipse(p, eye, (0.0165, 0.0085)), 1.0) * near_face
        tint(lashes, (0.18, 0.15, 0.15))
        opened = _bump(_ellipse(p, np.add(eye, (0, -0.0005, 0)), (0.0145, 0.0062)), 1.0) * near_face
        iris, pupil = (_bump(_ellipse(p, np.add(eye, (0, 0.0005, 0)), (r, r)), 1.0) for r in (0.0065, 0.003))
        white = np.array([0.72, 0.7, 0.68], np.float32)
        look = white * (1 - iris[..., None]) + srgb_to_linear(style["iris"]).astype(np.float32) * iris[..., None]
        look = look * (1 - 0.95 * pupil[..., None])
        texture[..., :3] = texture[..., :3] * (1 - opened[..., None]) + look * opened[..., None]
        texture[..., 3] *= 1 - opened
        along = (side * p[..., 0] - 0.012) / 0.036  # a brow rises outwards, then falls
        arch = eye[1] + 0.019 + 0.005 * np.sin(np.pi * np.clip(along, 0, 1) * 0.9)
        brow = _bump(np.abs(p[..., 1] - arch), 0.0035 + 0.002 * style["brows"]) * (along > 0) * (along < 1) * near_face
        texture[..., 4] = np.maximum(texture[..., 4], 0.85 * brow)
    beard = _bump(_ellipse(p, np.add(mouth, (0, -0.02, 0)), (0.062, 0.055)), 1.0) * (p[..., 2] > ear[2] - 0.005)
    beard *= np.clip((mouth[1] + 0.03 - p[..., 1]) / 0.02, 0, 1) * (1 - _bump(_ellipse(p, mouth, (0.027, 0.011)), 1.0))
    beard *= 1 - _bump(_ellipse(p, nose, (0.018, 0.02)), 1.0)
    texture[..., 4] = np.maximum(texture[..., 4], beard * max(0.9 * style["beard"], 0.35 * style["stubble"]))
    return _bleed(texture, np.isnan(positions[..., 0]))


def _bleed(texture: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Extend the colours of the charts over their borders, against seams; empty (H, W): outside of the charts."""
    texture, empty = texture.copy(), empty.copy()
    kernel = np.ones((3, 3), np.float32)
    for _ in range(8):
        known = (~empty).astype(np.float32)
        weight = cv2.filter2D(known, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        ring = empty & (weight > 0)
        for c in range(texture.shape[2]):
            total = cv2.filter2D(texture[..., c] * known, -1, kernel, borderType=cv2.BORDER_CONSTANT)
            texture[..., c][ring] = total[ring] / weight[ring]
        empty &= ~ring
    texture[empty] = texture[~empty].mean(0)
    return texture


def paint_skins(body: Body, wardrobe: Wardrobe, bases: Sequence[np.ndarray] = ()) -> list[list[np.ndarray]]:
    """All skin textures -> for each skin a list of (n, n, 5) float32 with the resolutions n of LEVELS.

    bases: scanned skins (SIZE, SIZE, 3), linear RGB relative to their mean.
    """
    positions = bake_positions(body)
    rng = np.random.default_rng(20)
    irises = np.array([(70, 45, 30), (95, 65, 40), (60, 80, 100), (80, 95, 70), (45, 30, 25)]) / 255
    skins = []
    for number in range(8):
        style = {
            "beard": (0, 0, 0, 0, 0, 0.9, 0.75, 0)[number],
            "stubble": (0, 0, 0, 0.8, 0, 0, 0, 0.5)[number],
            "brows": rng.random(),
            "lips": rng.random(),
            "iris": irises[number % 5],
            "seed": int(rng.integers(1 << 20)),
        }
        base = bases[number % len(bases)] if len(bases) else None
        texture = paint_skin(wardrobe, style, positions, base)
        skins.append(
            [texture if n == SIZE else cv2.resize(texture, (n, n), interpolation=cv2.INTER_AREA) for n in LEVELS]
        )
    return skins
