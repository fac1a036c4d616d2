"""Fabrics, skin tones and hair colours of synthetic people, as rows of `patterns.MATERIAL`."""

import numpy as np
from numpy.typing import ArrayLike

from datasets.synthetic.person.patterns import (
    BLOCK,
    CAMOUFLAGE,
    CHECKS,
    CLOTH,
    DOTS,
    HAIR,
    IMAGE,
    MATERIAL,
    PLAIN,
    STRIPES,
    WEAVE,
)
from datasets.synthetic.raster.color import srgb_to_linear

# sRGB, 0 to 255
CLOTH_COLORS = np.array(
    [
        (20, 20, 22), (235, 235, 232), (125, 125, 128), (60, 62, 66), (28, 36, 66), (50, 80, 140), (120, 30, 35),
        (190, 170, 140), (70, 80, 50), (110, 75, 50), (200, 45, 40), (235, 190, 60), (60, 120, 80), (130, 170, 210),
        (220, 150, 170), (100, 60, 120),
    ]
)  # fmt: skip
DENIM_COLORS = np.array([(35, 45, 75), (60, 85, 130), (110, 140, 180), (25, 27, 32), (150, 165, 185)])
HAIR_COLORS = np.array(
    [
        (18, 15, 14), (30, 22, 18), (55, 38, 28), (85, 58, 40), (125, 75, 45), (175, 135, 85), (150, 150, 148),
        (225, 220, 212),
    ]
)  # fmt: skip
# light to dark, after the Monk skin tone scale
SKIN_TONES = np.array(
    [
        (243, 222, 205), (238, 210, 186), (228, 190, 160), (215, 170, 135), (190, 140, 105), (160, 115, 80),
        (130, 90, 66), (98, 66, 50), (72, 48, 38), (50, 35, 30),
    ]
)  # fmt: skip


def cloth_tint(rng: np.random.Generator) -> np.ndarray:
    """A cloth colour (3,), linear RGB: a common one with variation, or any."""
    if rng.random() < 0.82:
        color = CLOTH_COLORS[rng.integers(len(CLOTH_COLORS))] / 255 + rng.normal(0, 0.04, 3)
    else:
        color = rng.uniform(0.03, 0.95, 3)
    return srgb_to_linear(np.clip(color, 0.02, 0.95))


def skin_tint(rng: np.random.Generator) -> np.ndarray:
    """A skin tone (3,), linear RGB, from the whole human range."""
    tones = SKIN_TONES / 255
    place = rng.uniform(0, len(tones) - 1)
    k = min(int(place), len(tones) - 2)
    tone = tones[k] + (place - k) * (tones[k + 1] - tones[k])
    return srgb_to_linear(np.clip(tone * (1 + rng.normal(0, 0.04, 3)), 0.02, 0.97))


def plain_material(rng: np.random.Generator, color: ArrayLike, kind: int = PLAIN, specular: float = 0.05) -> np.ndarray:
    """A MATERIAL without pattern; color (3,): linear RGB."""
    material = np.zeros((), MATERIAL)
    material["kind"], material["color"], material["seed"] = kind, color, rng.integers(1 << 20)
    material["specular"], material["gloss"] = specular, rng.uniform(8, 40)
    material["period"] = 1
    return material


def cloth_material(rng: np.random.Generator, images: int, patterned: float = 0.45) -> np.ndarray:
    """A random fabric, MATERIAL; images: number of pictures for pattern IMAGE; patterned: share with a pattern."""
    material = plain_material(rng, cloth_tint(rng), CLOTH, rng.choice((0.0, 0.02, 0.06)))
    material["second"], material["third"] = cloth_tint(rng), cloth_tint(rng)
    material["mottle"] = rng.uniform(0.05, 0.4)
    material["bump"], material["bump_period"] = rng.uniform(0.3, 1.5), rng.uniform(0.04, 0.12)
    if rng.random() < patterned:
        choices = [STRIPES, STRIPES, CHECKS, CHECKS, DOTS, CAMOUFLAGE, BLOCK, WEAVE] + ([IMAGE] * 3 if images else [])
        material["pattern"] = rng.choice(choices)
        material["image"] = rng.integers(max(images, 1))
        material["period"] = np.exp(rng.uniform(np.log(0.02), np.log(0.16)))
        material["duty"] = rng.uniform(0.2, 0.6)
        material["phase"] = rng.random()
        if material["pattern"] == STRIPES:
            material["angle"] = rng.choice((0, 0, np.pi / 2))
        elif material["pattern"] == IMAGE:
            material["period"] = rng.uniform(0.15, 0.5)
            material["color"] = np.clip(material["color"] * 1.5 + 0.3, 0, 1)
    return material


def denim(rng: np.random.Generator) -> np.ndarray:
    """MATERIAL of jeans."""
    material = cloth_material(rng, 0, 0)
    base = srgb_to_linear(DENIM_COLORS[rng.integers(len(DENIM_COLORS))] / 255)
    material["color"], material["second"] = base * 0.75, np.clip(base * 1.5, 0, 1)
    material["pattern"] = WEAVE
    return material


def hair_material(rng: np.random.Generator) -> np.ndarray:
    """MATERIAL of hair in a natural colour, seldom dyed."""
    if rng.random() < 0.97:
        color = np.clip(HAIR_COLORS[rng.choice(8, p=(0.2, 0.2, 0.18, 0.14, 0.07, 0.1, 0.07, 0.04))] / 255, 0, 1)
        color = color * rng.uniform(0.75, 1.25)
    else:
        color = rng.uniform(0.1, 0.9, 3)
    return plain_material(rng, srgb_to_linear(np.clip(color, 0.01, 0.95)), HAIR, rng.uniform(0.03, 0.15))
