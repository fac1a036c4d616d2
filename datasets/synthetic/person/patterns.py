"""Materials of skin, cloth, hair and things, as rows of MATERIAL, and the colour of cloth: patterns, seams, prints.

Colours are linear RGB.
"""

import numpy as np
from numba import njit

from datasets.synthetic.raster.noise import noise2, noise3

SKIN, CLOTH, HAIR, PLAIN = range(4)  # kinds of material
SHIRT, TROUSERS = 1, 2  # details of cloth
STRIPES, CHECKS, DOTS, CAMOUFLAGE, BLOCK, WEAVE, IMAGE, SOLE = range(1, 9)  # patterns of cloth

MATERIAL = np.dtype(
    [
        ("kind", np.int32),
        ("detail", np.int32),  # SHIRT or TROUSERS: seams, pockets and buttons; 0 is none
        ("detail_y", np.float32),  # height of the waist band, metres
        ("pattern", np.int32),  # 0 is plain
        ("image", np.int32),  # number of the picture for pattern IMAGE
        ("seed", np.int32),
        ("color", np.float32, 3),
        ("second", np.float32, 3),
        ("third", np.float32, 3),
        ("period", np.float32),  # of the pattern, metres
        ("duty", np.float32),  # share of a period in the second colour
        ("angle", np.float32),  # of the pattern, radians
        ("phase", np.float32),  # metres
        ("specular", np.float32),
        ("gloss", np.float32),  # exponent of the highlight
        ("mottle", np.float32),  # strength of slow colour variation
        ("bump", np.float32),  # strength of folds in the normal
        ("bump_period", np.float32),  # metres
        ("print_x", np.float32),  # printed patch on the chest: centre and half sides in the rest pose, metres
        ("print_y", np.float32),
        ("print_width", np.float32),
        ("print_height", np.float32),
    ],
    align=True,
)


@njit(cache=True, error_model="numpy")
def pattern_share(material: np.ndarray, along: float, across: float) -> tuple[float, float]:
    """Weights of the second and the third colour of a pattern at (across, along), metres on the cloth."""
    c, s = np.cos(material.angle), np.sin(material.angle)
    u = (c * across + s * along) / material.period + material.phase
    v = (c * along - s * across) / material.period + material.phase
    u, v = u - np.floor(u), v - np.floor(v)
    if material.pattern == STRIPES:
        return (1.0, 0.0) if v < material.duty else (0.0, 0.0)
    if material.pattern == CHECKS:
        hits = (0.5 if u < material.duty else 0.0) + (0.5 if v < material.duty else 0.0)
        return hits, (0.7 if abs(u - 0.8) < 0.05 or abs(v - 0.8) < 0.05 else 0.0)
    if material.pattern == DOTS:
        radius = 0.6 * material.duty
        return (1.0, 0.0) if (u - 0.5) ** 2 + (v - 0.5) ** 2 < radius * radius else (0.0, 0.0)
    return 0.0, 0.0


@njit(cache=True, error_model="numpy")
def tailoring(material: np.ndarray, px: float, py: float, front: bool) -> float:
    """Brightness of seams, pockets and flies at rest-pose point (px, py), metres; negative: a button or belt."""
    side = abs(px)
    if material.detail == SHIRT:
        if not front or side > 0.02:
            return 1.0
        row = py * 11
        if side < 0.006 and row - np.floor(row) < 0.12:
            return -1.0
        return 0.65 if abs(px - 0.014) < 0.003 else 1.0
    down = material.detail_y - py
    if down < 0.035:
        return -1.0 if material.phase > 0.6 else 0.85
    if front:
        fly = side < 0.0035 and down < 0.2
        pocket = 0.04 < down < 0.16 and abs(side - 0.09 - 0.5 * (down - 0.04)) < 0.004
        return 0.6 if fly or pocket else 1.0
    u, v = abs(side - 0.085), abs(down - 0.14)
    if u < 0.055 and v < 0.065:
        return 0.6 if u > 0.048 or v > 0.058 else 0.9
    return 0.6 if side < 0.0035 and down < 0.25 else 1.0


@njit(cache=True, error_model="numpy")
def cloth_color(
    material: np.ndarray, colors: np.ndarray, layer: int, px: float, py: float, pz: float, geometry: np.ndarray,
    images: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Colour of cloth at rest-pose point (px, py, pz), metres -> out (3,), linear RGB.

    colors (L, 9): first, second and third colour of every layer. geometry (7,), metres: |x| at which the arms begin, y
    and z of the arms, y below which the legs begin, |x| and z of the legs, z of the trunk. images (N, h, w, 3): for
    pattern IMAGE.
    """
    side = abs(px)
    if side > geometry[0]:
        along, across = side, 0.05 * np.arctan2(py - geometry[1], pz - geometry[2])
    elif py < geometry[3]:
        along, across = py, 0.08 * np.arctan2(side - geometry[4], pz - geometry[5])
    else:
        along, across = py, 0.15 * np.arctan2(px, pz - geometry[6])
    second, third = 0.0, 0.0
    if material.pattern == CAMOUFLAGE:
        scale = 2.0 / material.period
        value = noise3(px * scale, py * scale, pz * scale, material.seed)
        value = 0.65 * value + 0.35 * noise3(px * scale * 2.3, py * scale * 2.3, pz * scale * 2.3, material.seed + 1)
        second = 1.0 if value > 0.7 - 0.4 * material.duty else 0.0
        third = 1.0 if value < 0.25 + 0.2 * material.duty else 0.0
    elif material.pattern == BLOCK:
        # raglan sleeves, yokes and side panels
        if material.phase < 0.4:
            second = 1.0 if side > geometry[0] * 0.92 else 0.0
        elif material.phase < 0.8:
            second = 1.0 if py > geometry[1] - material.period else 0.0
        else:
            second = 1.0 if abs(across) > 0.18 else 0.0
    elif material.pattern == WEAVE:
        second = 0.6 * noise2(across * 180, along * 40, material.seed) + 0.4 * noise3(
            px * 9, py * 9, pz * 9, material.seed
        )
    elif material.pattern == SOLE:
        second = 1.0 if py < material.phase else 0.0
    elif material.pattern == STRIPES or material.pattern == CHECKS or material.pattern == DOTS:
        second, third = pattern_share(material, along, across)
    for c in range(3):
        value = colors[layer, c] * (1 - second) + colors[layer, 3 + c] * second
        out[c] = value * (1 - third) + colors[layer, 6 + c] * third
    if material.pattern == IMAGE:
        height, width = images.shape[1], images.shape[2]
        u, v = across / material.period + material.phase, along / material.period
        row, column = int((v - np.floor(v)) * height), int((u - np.floor(u)) * width)
        for c in range(3):
            out[c] *= images[material.image, min(row, height - 1), min(column, width - 1), c]
    if material.detail > 0 and side < geometry[0]:
        brightness = tailoring(material, px, py, pz > geometry[6])
        for c in range(3):
            out[c] = colors[layer, 6 + c] if brightness < 0 else out[c] * brightness
    width, height = material.print_width, material.print_height
    u, v = px - material.print_x, py - material.print_y
    if pz > geometry[6] and abs(u) < width and abs(v) < height:
        ink = noise2(u / width * 2, v / width * 2, material.seed + 7)
        if ink > 0.45:
            for c in range(3):
                out[c] = colors[layer, 6 + c] if ink > 0.6 else colors[layer, 3 + c]
