"""What all samples of a split share."""

import functools
from pathlib import Path

from datasets.poses import PoseSampler
from datasets.synthetic.assets import load_assets
from datasets.synthetic.person.body import Body
from datasets.synthetic.person.skin import paint_skins
from datasets.synthetic.person.wardrobe import Wardrobe
from datasets.synthetic.raster.rasterizer import ambient_occlusion
from utils.errors import UserError
from utils.paths import ASSETS


class PeopleGenerator:
    """Body, clothes, skins, poses and assets of a split. Takes seconds to build.

    Attributes: body, wardrobe; openness (V,) in [0, 1]: ambient light that reaches each vertex of the body; poses: a
    PoseSampler; skins: see `paint_skins`; assets: see `Assets`.
    """

    def __init__(self, body_file: str | Path, split: str, assets: str | Path = ASSETS):
        self.body = Body(body_file)
        if self.body.uv is None or self.body.uv_faces is None:
            raise UserError(f"body file {body_file} has no texture coordinates (uv, uv_f): use meta_data/open_body.npz")
        self.wardrobe = Wardrobe(self.body)
        self.openness = ambient_occlusion(self.body.template, self.body.faces)
        self.poses = PoseSampler(split=split)
        self.assets = load_assets(assets, split)
        self.skins = paint_skins(self.body, self.wardrobe, self.assets.skins)


@functools.lru_cache(maxsize=2)
def shared_generator(body_file: str, split: str, assets: str) -> PeopleGenerator:
    """One PeopleGenerator per process for the same arguments."""
    return PeopleGenerator(body_file, split, assets)
