"""The appearance of one person: skin, clothes, hair and things."""

from typing import NamedTuple

import numpy as np

from datasets.synthetic.person.accessories import add_accessories
from datasets.synthetic.person.hair_and_hats import dress_head
from datasets.synthetic.person.materials import plain_material, skin_tint
from datasets.synthetic.person.outfit import Outfit
from datasets.synthetic.person.patterns import SKIN
from datasets.synthetic.person.wardrobe import Layer, Prop, Wardrobe


class Look(NamedTuple):
    """The appearance of one person. skin: MATERIAL; texture: number of the skin texture; layers: garments and hair,
    from the innermost to the outermost; props: rigid things."""

    skin: np.ndarray
    texture: int
    layers: list[Layer]
    props: list[Prop]


def dress(rng: np.random.Generator, wardrobe: Wardrobe, images: int, skins: int) -> Look:
    """Draw a random Look; images and skins: how many fabric pictures and skin textures there are."""
    outfit = Outfit(rng, wardrobe, images)
    outfit.body()
    outfit.shoes()
    dress_head(outfit)
    add_accessories(outfit)
    skin = plain_material(rng, skin_tint(rng), SKIN, rng.uniform(0.02, 0.12))
    skin["second"] = outfit.hair_color["color"]
    skin["mottle"] = rng.uniform(0.0, 0.12)
    return Look(skin, int(rng.integers(skins)), outfit.layers, outfit.props)
