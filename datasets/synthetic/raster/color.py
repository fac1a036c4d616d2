"""The sRGB transfer curve, both ways."""

import numpy as np
from numpy.typing import ArrayLike

# linear [0, 1] -> sRGB by table: a power per pixel and channel would cost more than the rest of the shading
_LINEAR = np.arange(4096) / 4095
SRGB_TABLE = np.where(_LINEAR <= 0.0031308, 12.92 * _LINEAR, 1.055 * _LINEAR ** (1 / 2.4) - 0.055).astype(np.float32)


def srgb_to_linear(color: ArrayLike) -> np.ndarray:
    """sRGB in [0, 1] -> linear RGB in [0, 1], float64."""
    color = np.asarray(color, np.float64)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
