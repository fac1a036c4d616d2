"""Value noise from integer hashes (numba): the same on every machine, without tables."""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", inline="always")
def hashed(i: int, j: int, k: int, seed: int) -> float:
    """Lattice point (i, j, k) and seed -> uniform number in [0, 1)."""
    h = (i * 374761393 + j * 668265263 + k * 1103515245 + seed * 1442695041) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1103515245) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) * (1.0 / 16777216.0)


@njit(cache=True, error_model="numpy")
def noise3(x: float, y: float, z: float, seed: int) -> float:
    """Smooth noise with lattice step 1 at (x, y, z) -> [0, 1)."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    x, y, z = x - fx, y - fy, z - fz
    x, y, z = x * x * (3 - 2 * x), y * y * (3 - 2 * y), z * z * (3 - 2 * z)
    a = hashed(i, j, k, seed) * (1 - x) + hashed(i + 1, j, k, seed) * x
    b = hashed(i, j + 1, k, seed) * (1 - x) + hashed(i + 1, j + 1, k, seed) * x
    c = hashed(i, j, k + 1, seed) * (1 - x) + hashed(i + 1, j, k + 1, seed) * x
    d = hashed(i, j + 1, k + 1, seed) * (1 - x) + hashed(i + 1, j + 1, k + 1, seed) * x
    return (a * (1 - y) + b * y) * (1 - z) + (c * (1 - y) + d * y) * z


@njit(cache=True, error_model="numpy")
def noise2(x: float, y: float, seed: int) -> float:
    """Smooth noise with lattice step 1 at (x, y) -> [0, 1)."""
    fx, fy = np.floor(x), np.floor(y)
    i, j = int(fx), int(fy)
    x, y = x - fx, y - fy
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    a = hashed(i, j, 0, seed) * (1 - x) + hashed(i + 1, j, 0, seed) * x
    b = hashed(i, j + 1, 0, seed) * (1 - x) + hashed(i + 1, j + 1, 0, seed) * x
    return a * (1 - y) + b * y


@njit(cache=True, error_model="numpy")
def fractal2(x: float, y: float, octaves: int, seed: int) -> float:
    """Weighted mean of octaves of `noise2`; each has about half the period and weight of the previous one -> [0, 1)."""
    total, weight, strength = 0.0, 0.0, 1.0
    for octave in range(octaves):
        total += strength * noise2(x, y, seed + octave)
        weight += strength
        strength *= 0.5
        x *= 2.03
        y *= 2.03
    return total / weight
