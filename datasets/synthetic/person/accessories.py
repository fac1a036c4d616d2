"""Things that people carry, and seats for people who sit."""

import numpy as np

from datasets.synthetic.person.materials import cloth_tint, plain_material
from datasets.synthetic.person.outfit import Outfit
from datasets.synthetic.person.patterns import PLAIN
from datasets.synthetic.person.wardrobe import Prop
from utils.skeleton import SMPL_JOINTS


def add_accessories(outfit: Outfit) -> None:
    """Add backpacks, bags, things in the hands and gloves."""
    rng, at = outfit.rng, outfit.at
    chest = SMPL_JOINTS.index("spine3")
    if rng.random() < 0.06:
        material = outfit.cloth(0.2)
        outfit.shape("box", chest, at["spine3"] + (0, -0.02, -0.2), (0.14, 0.2, 0.08), material)
        for side in (-0.11, 0.11):
            outfit.ball(chest, at["spine3"] + (side, 0.07, 0.02), (0.02, 0.14, 0.135), material)
    for side, sign in (("L", 1), ("R", -1)):
        if rng.random() > 0.1:
            continue
        hand = SMPL_JOINTS.index(f"{side}_hand")
        place = at[f"{side}_hand"] + (0.02 * sign, -0.03, 0)
        material = plain_material(rng, cloth_tint(rng), PLAIN, rng.uniform(0, 0.4))
        shape = rng.choice(("box", "ball", "rod"))
        if shape == "box":
            size = rng.uniform(0.01, 0.1, 3)
        elif shape == "ball":
            size = np.full(3, rng.uniform(0.03, 0.12))
        else:
            size = np.array([0.012, 0.012, rng.uniform(0.1, 0.6)]) * rng.uniform(0.7, 1.6)
        outfit.shape(shape, hand, place - (0, 0.6 * size[1], 0), size, material)
    if rng.random() < 0.03:
        wrist = at["L_wrist"][0] + rng.uniform(-0.05, 0.02)
        gloves = plain_material(rng, cloth_tint(rng), PLAIN, 0.05)
        outfit.garment((outfit.wardrobe.side - wrist).astype(np.float32), gloves, 0.004, 0, "tight")


def seat(rng: np.random.Generator, joints: np.ndarray, facing: np.ndarray) -> list[Prop]:
    """A stool or chair under a person who sits in the air -> props in the world, none for other poses.

    joints (24, 3): world, metres; facing (3, 3): rotation of the pelvis.
    """
    pelvis, knees, ankles = joints[0], joints[[4, 5]], joints[[7, 8]]
    hips = joints[[1, 2]]
    sitting = (np.abs(hips[:, 1] - knees[:, 1]) < 0.2).all() and (knees[:, 1] - ankles[:, 1] > 0.2).all()
    top = pelvis[1] - 0.12
    if not sitting or top < 0.1 or rng.random() < 0.2:
        return []
    ahead = facing[:, 2] * (1, 0, 1)
    ahead = ahead / (np.linalg.norm(ahead) + 1e-9)
    axes = np.stack((np.cross((0, 1, 0), ahead), (0, 1, 0), ahead), 1)
    material = plain_material(rng, cloth_tint(rng), PLAIN, rng.uniform(0, 0.2))
    material["mottle"] = rng.uniform(0, 0.5)
    half = np.array([rng.uniform(0.18, 0.5), rng.choice((0.5 * top, 0.03)), rng.uniform(0.15, 0.25)])
    centre = np.array([pelvis[0], top - half[1], pelvis[2]]) + 0.05 * ahead
    props = [Prop("box", -1, np.column_stack((axes * half, centre)).astype(np.float32), material)]
    if rng.random() < 0.5:
        back = np.array([half[0], rng.uniform(0.15, 0.35), 0.03])
        centre = np.array([pelvis[0], top + back[1], pelvis[2]]) - 0.2 * ahead
        props.append(Prop("box", -1, np.column_stack((axes * back, centre)).astype(np.float32), material))
    return props
