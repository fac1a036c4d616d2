"""Hair, hats and dark glasses."""

import numpy as np

from datasets.synthetic.person.materials import plain_material
from datasets.synthetic.person.outfit import Outfit
from datasets.synthetic.person.patterns import PLAIN
from datasets.synthetic.person.wardrobe import Layer, fold_noise
from utils.skeleton import SMPL_JOINTS

STYLES = {"bald": 0.07, "short": 0.37, "full": 0.18, "long": 0.17, "bun": 0.07, "tail": 0.09, "afro": 0.05}
# thickness of the hair over the skin, metres
THICKNESS = {"short": (0.004, 0.012), "full": (0.014, 0.03), "long": (0.01, 0.02), "afro": (0.04, 0.09)}
HEAD = SMPL_JOINTS.index("head")


def dress_head(outfit: Outfit) -> None:
    """Add hair, then perhaps a hat and glasses."""
    rng, key = outfit.rng, outfit.key
    ear, top = 0.5 * (key["L_Ear"] + key["R_Ear"]), key["Top_of_Head"]
    style = rng.choice(list(STYLES), p=list(STYLES.values()))
    if style != "bald":
        _hair(outfit, style, ear, top)
    if style == "long":
        _long_hair(outfit, ear)
    elif style == "bun":
        size = rng.uniform(0.03, 0.055)
        height = rng.uniform(ear[1], top[1])
        behind = ear[2] - 0.1 + 0.5 * max(height - ear[1] - 0.05, 0)
        outfit.ball(HEAD, (0, height, behind), (size, size, size), outfit.hair_color)
    elif style == "tail":
        length = rng.uniform(0.08, 0.17)
        outfit.ball(HEAD, (0, ear[1] + 0.02 - length, ear[2] - 0.13), (0.03, length, 0.035), outfit.hair_color)
    if rng.random() < 0.16:
        _hat(outfit, ear)
    if rng.random() < 0.13:
        dark = plain_material(rng, rng.uniform(0.005, 0.05, 3), PLAIN, 0.5)
        for eye in ("L_Eye", "R_Eye"):
            outfit.ball(HEAD, np.add(key[eye], (0, 0, 0.012)), (0.026, 0.02, 0.006), dark)


def _hair(outfit: Outfit, style: str, ear: np.ndarray, top: np.ndarray) -> None:
    """Add hair close to the head, thinner at the hair line; ear, top (3,): positions on the rest pose."""
    rng, rest = outfit.rng, outfit.wardrobe.rest
    covers_ears = style == "long" or (style == "full" and rng.random() < 0.5)
    front = rng.uniform(0.045, 0.075) if rng.random() < 0.85 else rng.uniform(0.02, 0.045)
    back = rng.uniform(-0.1, -0.05)
    coverage = outfit.wardrobe.hair_coverage(front, rng.uniform(-0.03, 0.02), back, covers_ears)
    thick = rng.uniform(*THICKNESS.get(style, (0.005, 0.012)))
    inward = np.clip(coverage / (0.03 if style != "afro" else 0.06), 0, 1)
    crown = np.clip((rest[:, 1] - ear[1]) / (top[1] - ear[1]), 0, 1)
    offset = thick * (0.25 + 0.75 * inward) * (0.7 + 0.5 * crown)
    offset *= 1 + 0.5 * fold_noise(rest, coverage, 0.05, 1.0, rng.integers(1 << 20))
    outfit.layers.append(Layer("tight", coverage, (0.002 + offset).astype(np.float32), outfit.hair_color))


def _long_hair(outfit: Outfit, ear: np.ndarray) -> None:
    """Add a sheet of hair that hangs from the back of the head."""
    rng, sheet = outfit.rng, outfit.wardrobe.sheets["hair"]
    low = rng.uniform(sheet.points[:, 1].min() + 0.02, outfit.at["neck"][1] + 0.03)
    turn = np.abs(np.arctan2(sheet.points[:, 0], ear[2] - sheet.points[:, 2]))
    coverage = np.minimum(sheet.points[:, 1] - low, 0.1 * (rng.uniform(1.6, 2.1) - turn))
    waves = fold_noise(sheet.points, coverage, 0.05, 4.0, rng.integers(1 << 20))
    offset = 0.006 + rng.uniform(0, 0.02) + 0.008 * waves
    outfit.layers.append(
        Layer("hair", coverage.astype(np.float32), offset.astype(np.float32), outfit.hair_color, False)
    )


def _hat(outfit: Outfit, ear: np.ndarray) -> None:
    """Add a cap, sometimes with a peak or a brim."""
    rng, key = outfit.rng, outfit.key
    material = outfit.cloth(0.25)
    line = rng.uniform(0.03, 0.055)
    coverage = outfit.wardrobe.hair_coverage(line, line - rng.uniform(0.01, 0.05), rng.uniform(-0.05, 0.02), True)
    offset = np.full(len(coverage), rng.uniform(0.014, 0.026), np.float32)
    outfit.layers.append(Layer("tight", coverage, offset, material))
    eyes = 0.5 * (key["L_Eye"] + key["R_Eye"])
    if rng.random() < 0.55:  # a peak, sometimes worn backwards
        z = ear[2] - 0.1 if rng.random() < 0.1 else eyes[2] + 0.035
        outfit.ball(HEAD, (0, eyes[1] + line + 0.01, z), (0.075, 0.008, 0.07), material)
    elif rng.random() < 0.4:  # a brim all around
        outfit.ball(HEAD, (0, eyes[1] + line + 0.015, ear[2] + 0.01), (0.16, 0.008, 0.18), material)
