"""Surfaces of scenes: walls, floors, doors and things, with patterns in metres. Colours are sRGB in [0, 1]."""

import numpy as np
from numba import njit

from datasets.synthetic.raster.noise import fractal2, hashed, noise2

PAINT, TILES, BANDS, GROUND, WOOD, PICTURE = range(6)  # patterns

SURFACE = np.dtype(
    [
        ("pattern", np.int32),
        ("seed", np.int32),
        ("picture", np.int32),  # number of the picture for pattern PICTURE
        ("color", np.float32, 3),
        ("second", np.float32, 3),
        ("period", np.float32, 2),  # metres
        ("mottle", np.float32),  # strength of slow colour variation
    ],
    align=True,
)


@njit(cache=True, error_model="numpy")
def surface_color(surface: np.ndarray, u: float, v: float, pictures: np.ndarray, out: np.ndarray) -> None:
    """Colour of a SURFACE at (u, v), metres -> out (3,); pictures (N, h, w, 3): for pattern PICTURE."""
    pu, pv = u / surface.period[0], v / surface.period[1]
    second = 0.0
    if surface.pattern == TILES:
        row = np.floor(pv)
        shifted = pu + 0.5 * (row % 2) * (surface.seed % 2)
        fu, fv = shifted - np.floor(shifted), pv - row
        second = 1.0 if fu < 0.04 or fv < 0.06 else 0.25 * hashed(int(np.floor(shifted)), int(row), 0, surface.seed)
    elif surface.pattern == BANDS:
        second = 1.0 if pu - np.floor(pu) < 0.5 else 0.0
    elif surface.pattern == GROUND:
        second = fractal2(pu * 2, pv * 2, 4, surface.seed)
        second = min(max(2.2 * second - 0.6, 0.0), 1.0)
    elif surface.pattern == WOOD:
        board = np.floor(pu)
        second = 0.5 * noise2(pu * 14, pv * 1.5 + 9 * board, surface.seed)
        second += 0.5 * hashed(int(board), 0, 0, surface.seed)
        if pu - board < 0.03:
            second = 1.3
    stain = 1 + surface.mottle * (fractal2(u * 1.7 + 31, v * 1.7, 2, surface.seed) - 0.5)
    for c in range(3):
        out[c] = (surface.color[c] * (1 - second) + surface.second[c] * second) * stain
    if surface.pattern == PICTURE:
        height, width = pictures.shape[1], pictures.shape[2]
        i = min(int((pv - np.floor(pv)) * height), height - 1)
        j = min(int((pu - np.floor(pu)) * width), width - 1)
        for c in range(3):
            out[c] = pictures[surface.picture, i, j, c] * stain


def random_color(rng: np.random.Generator, saturation: float = 0.35) -> np.ndarray:
    """A random colour (3,) in [0.04, 0.98], mostly muted."""
    grey = rng.uniform(0.08, 0.95)
    return np.clip(grey + saturation * rng.beta(1.2, 3) * rng.uniform(-1, 1, 3), 0.04, 0.98)


def random_surface(
    rng: np.random.Generator, pattern: int | None = None, pictures: int = 0, scale: float = 1.0
) -> np.ndarray:
    """A random SURFACE; pictures: number of pictures for pattern PICTURE; scale: factor of the period."""
    surface = np.zeros((), SURFACE)
    choices = [PAINT, PAINT, TILES, BANDS, GROUND, WOOD] + ([PICTURE] * 4 if pictures else [])
    surface["pattern"] = rng.choice(choices) if pattern is None else pattern
    surface["seed"] = rng.integers(1 << 20)
    surface["picture"] = rng.integers(max(pictures, 1))
    surface["color"] = random_color(rng)
    surface["second"] = np.clip(surface["color"] * rng.uniform(0.5, 1.4) + rng.normal(0, 0.04, 3), 0.02, 1)
    surface["period"] = scale * rng.uniform(0.08, 0.9) * rng.uniform(0.5, 2, 2)
    surface["mottle"] = rng.uniform(0.0, 0.5)
    return surface
