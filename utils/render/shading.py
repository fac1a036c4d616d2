"""Shading of a rendered body: clay under three lights."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CLAY = (0.77, 0.80, 0.85)  # a cool grey, easy to tell from skin
# direction to the light in the camera frame, colour, wrap (0: lights half of the body, 1: all of it)
LIGHTS = (
    ((-0.75, -0.75, -0.60), (1.00, 0.97, 0.92), 0.15),  # key, warm, from the upper left
    ((0.90, 0.10, -0.35), (0.13, 0.17, 0.25), 0.40),  # fill, cool, from the right
    ((0.60, -0.45, 0.80), (0.45, 0.48, 0.52), 0.00),  # rim, from behind, draws the far edge
)
SKY, GROUND = (0.20, 0.22, 0.25), (0.06, 0.055, 0.05)
GLOSS, SHININESS = 0.06, 18.0
GAMMA = 2.2

CAVITY_RADIUS = 0.05  # metres around a nearer part that it darkens
CAVITY_DEPTH = 0.10  # metres behind a nearer part from which the darkening is full
CAVITY_STRENGTH = 0.45


def shade(normals: Tensor, to_viewer: Tensor, color: tuple[float, float, float] = CLAY) -> Tensor:
    """Unit normals and unit vectors to the viewer (N, 3) -> linear RGB (N, 3): wrapped diffuse lights, sky, gloss."""

    def vector(values):
        return torch.tensor(values, device=normals.device)

    up = 0.5 - 0.5 * normals[:, 1:2]
    diffuse = up * vector(SKY) + (1 - up) * vector(GROUND)
    gloss = torch.zeros_like(diffuse)
    for direction, light, wrap in LIGHTS:
        direction, light = F.normalize(vector(direction), dim=0), vector(light)
        diffuse += light * ((normals @ direction + wrap) / (1 + wrap)).clamp_min(0)[:, None]
        half = F.normalize(direction + to_viewer, dim=-1)
        gloss += light * GLOSS * (normals * half).sum(-1, keepdim=True).clamp_min(0) ** SHININESS
    return vector(color) ** GAMMA * diffuse + gloss


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light -> gamma-encoded screen values, both in [0, 1]."""
    return linear.clamp(0, 1) ** (1 / GAMMA)


def darken_cavities(rgb: np.ndarray, depth: np.ndarray, alpha: np.ndarray, pixels_per_metre: float) -> np.ndarray:
    """Darken rgb (H, W, 3) uint8 next to nearer parts, for example the chest behind an arm -> (H, W, 3) uint8.

    depth (H, W) metres, alpha (H, W) coverage. Unsharp masking of the depth buffer (Luft et al., SIGGRAPH 2006).
    """
    size = 2 * (max(1, round(CAVITY_RADIUS * pixels_per_metre)),)
    z = np.where(alpha > 0, depth, 0) * alpha
    for _ in range(2):  # two box filters are close to a Gaussian, and equally fast for any radius
        z, alpha = cv2.blur(z, size), cv2.blur(alpha, size)
    behind = np.where(np.isfinite(depth), depth, 0) - z / np.maximum(alpha, 1e-6)
    light = 1 - CAVITY_STRENGTH * np.clip(behind / CAVITY_DEPTH, 0, 1)
    return (rgb * light[..., None] + 0.5).astype(np.uint8)
