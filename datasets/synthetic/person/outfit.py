"""Dressing a person: which garments, how long, how loose, in which fabric; then hair and things."""

import numpy as np

from datasets.synthetic.person.accessories import hand_things
from datasets.synthetic.person.hair_and_hats import dress_head
from datasets.synthetic.person.materials import (
    cloth_material,
    cloth_tint,
    denim,
    hair_material,
    plain_material,
    skin_tint,
)
from datasets.synthetic.person.patterns import PLAIN, SHIRT, SKIN, SOLE, TROUSERS
from datasets.synthetic.person.wardrobe import Layer, Prop, fold_noise


def dress(rng, wardrobe, images, skins):
    """A random look -> skin material, number of the skin texture (of `skins`), list of Layer, list of Prop.

    images: number of fabric pictures that pattern IMAGE may use.
    """
    outfit = Outfit(rng, wardrobe, images)
    outfit.body()
    outfit.shoes()
    dress_head(outfit)
    hand_things(outfit)
    skin = plain_material(rng, skin_tint(rng), SKIN, rng.uniform(0.02, 0.12))
    skin["second"] = outfit.hair_color["color"]
    skin["mottle"] = rng.uniform(0.0, 0.12)
    return skin, int(rng.integers(skins)), outfit.layers, outfit.props


class Outfit:
    """Collects layers and props, from the innermost to the outermost."""

    def __init__(self, rng, wardrobe, images):
        self.rng, self.wardrobe, self.images = rng, wardrobe, images
        self.layers, self.props = [], []
        self.at, self.key = wardrobe.at, wardrobe.key
        self.hair_color = hair_material(rng)

    def cloth(self, patterned=0.45):
        return cloth_material(self.rng, self.images, patterned)

    def garment(self, coverage, material, thickness, looseness, sheet=None, flare=None):
        """Add a garment: thickness over the skin and extra looseness in metres, folds in proportion; flare (V,) metres
        more."""
        rng, wardrobe = self.rng, self.wardrobe
        rest = wardrobe.rest
        offset = np.full(len(rest), thickness, np.float32)
        if looseness > 0.002:
            folds = fold_noise(rest, coverage, rng.uniform(0.06, 0.16), rng.uniform(0.5, 2.5), rng.integers(1 << 20))
            # cloth rests on the shoulders and hangs free below
            hanging = np.clip((self.at["neck"][1] - 0.02 - rest[:, 1]) / 0.25, 0.15, 1).astype(np.float32)
            offset += looseness * hanging * np.maximum(0.7 + 0.9 * folds, 0.1)
        if flare is not None:
            offset += flare.astype(np.float32)
        sheet = sheet or ("loose" if looseness > 0.012 else "tight")
        self.layers.append(Layer(sheet, coverage, offset, material))

    def body(self):
        rng = self.rng
        kind = rng.choice(
            ("everyday", "dress", "coat", "sport", "swim", "overall"), p=(0.62, 0.08, 0.12, 0.1, 0.04, 0.04)
        )
        if kind == "swim":
            self.briefs()
            if rng.random() < 0.5:
                self.bra()
            return
        if kind == "overall":
            material = self.cloth(0.3)
            ankle = self.at["L_ankle"][1] + rng.uniform(-0.03, 0.1)
            looseness = rng.uniform(0.004, 0.025)
            top = self.wardrobe.top_coverage(
                self.sleeve_end(True), -9.0, rng.uniform(0.07, 0.09), rng.uniform(0, 0.05), False
            )
            self.garment(np.minimum(top, self.wardrobe.rest[:, 1] - ankle), material, 0.006, looseness)
            return
        if kind == "dress":
            material = self.cloth(0.6)
            self.top(material, tucked=True, looseness=rng.uniform(0, 0.012))
            self.skirt(material)
            return
        if rng.random() < (0.12 if kind == "everyday" else 0.0):
            self.top(self.cloth(), tucked=True)
            self.skirt(self.cloth(0.5))
        else:
            tucked = rng.random() < 0.25
            if tucked:
                self.bottom(kind, 0.009)
                if not (kind == "sport" and rng.random() < 0.1):
                    self.top(self.cloth(), tucked=True)
            else:
                self.bottom(kind, 0.004)
                if not (kind in ("sport", "everyday") and rng.random() < 0.05):
                    self.top(self.cloth(), tucked=False)
        if kind == "coat":
            self.coat()

    def sleeve_end(self, long=None):
        """|x| of a sleeve's end in the rest pose: none, short or long."""
        shoulder, elbow, wrist = (self.at[name][0] for name in ("L_shoulder", "L_elbow", "L_wrist"))
        draw = self.rng.random()
        if long or (long is None and draw < 0.42):
            return wrist - self.rng.choice((0.0, 0.0, 0.0, 1.0)) * self.rng.uniform(0, 0.9) * (wrist - elbow) + 0.005
        if draw < 0.9:
            return shoulder + self.rng.uniform(0.25, 1.0) * (elbow - shoulder)
        return shoulder + self.rng.uniform(-0.06, 0.03)

    def top(self, material, tucked, looseness=None, long=None, thickness=0.009):
        rng, at = self.rng, self.at
        pelvis, waist = at["pelvis"][1], at["spine1"][1]
        if tucked:
            hem = pelvis - 0.02
            thickness = 0.005
        else:
            hem = rng.uniform(pelvis - 0.14, pelvis + 0.03) if rng.random() < 0.9 else rng.uniform(waist, waist + 0.18)
        if looseness is None:
            looseness = rng.choice((0.0, 1.0, 1.0, 2.0)) * rng.uniform(0.004, 0.016)
        coverage = self.wardrobe.top_coverage(
            self.sleeve_end(long), hem, rng.uniform(0.066, 0.1), rng.choice((0.0, 1.0)) * rng.uniform(0.01, 0.09),
            rng.random() < 0.3,
        )  # fmt: skip
        draw = rng.random()
        if draw < 0.25:
            self.chest_print(material)
        elif draw < 0.55:
            material["detail"] = SHIRT
        low = np.clip((at["spine3"][1] - self.wardrobe.rest[:, 1]) / 0.5, 0, 1)
        self.garment(coverage, material, thickness, looseness, flare=None if tucked else rng.uniform(0, 0.02) * low)

    def chest_print(self, material):
        width, height = self.rng.uniform(0.05, 0.14), self.rng.uniform(0.02, 0.12)
        x = self.rng.choice((0.0, 0.0, 0.08))
        y = self.at["spine3"][1] + self.rng.uniform(-0.05, 0.1)
        material["print_x"], material["print_y"], material["print_width"], material["print_height"] = (
            x,
            y,
            width,
            height,
        )

    def bottom(self, kind, thickness):
        rng, at = self.rng, self.at
        waist = at["pelvis"][1] + rng.uniform(0.02, 0.12)
        knee, ankle, hip = at["L_knee"][1], at["L_ankle"][1], at["L_hip"][1]
        short = rng.random() < (0.6 if kind == "sport" else 0.25)
        if short:
            hem = rng.uniform(knee - 0.08, hip - 0.12)
        else:
            hem = ankle + rng.choice((-0.03, -0.01, 0.03, 0.12, 0.2), p=(0.35, 0.3, 0.2, 0.1, 0.05))
        material = denim(rng) if rng.random() < 0.4 and kind != "sport" else self.cloth(0.2)
        if rng.random() < 0.8:
            material["detail"], material["detail_y"] = TROUSERS, waist
        looseness = rng.choice((0.0, 0.6, 1.0)) * rng.uniform(0.004, 0.018)
        below = np.clip((hip - self.wardrobe.rest[:, 1]) / max(hip - hem, 0.1), 0, 1)
        self.garment(
            self.wardrobe.bottom_coverage(waist, hem),
            material,
            thickness,
            looseness,
            flare=rng.uniform(0, 0.02) * below,
        )

    def briefs(self):
        at, rest = self.at, self.wardrobe.rest
        low = at["L_hip"][1] - self.rng.uniform(0.03, 0.25) + 0.6 * self.wardrobe.side * self.rng.uniform(0, 1)
        coverage = np.minimum(at["pelvis"][1] + self.rng.uniform(0, 0.08) - rest[:, 1], rest[:, 1] - low)
        self.garment(
            np.minimum(coverage, 0.45 - self.wardrobe.side).astype(np.float32), self.cloth(), 0.003, 0, "tight"
        )

    def bra(self):
        rest, chest = self.wardrobe.rest, self.at["spine3"][1]
        x, y = self.wardrobe.side, rest[:, 1]
        band = np.minimum(y - (chest - 0.1), chest + 0.07 - y)
        straps = np.minimum(0.025 - np.abs(x - 0.09), y - chest)
        coverage = np.minimum(np.maximum(band, straps), self.at["L_shoulder"][0] - 0.01 - x)
        self.garment(coverage.astype(np.float32), self.cloth(), 0.004, 0, "tight")

    def skirt(self, material):
        rng, sheet = self.rng, self.wardrobe.sheets["skirt"]
        y, top = sheet.points[:, 1], sheet.points[:, 1].max()
        hem = rng.uniform(self.at["L_ankle"][1] + 0.05, self.at["L_hip"][1] - 0.15)
        down = np.clip((top - y) / (top - hem), 0, 1)
        turn = np.arctan2(sheet.points[:, 0], sheet.points[:, 2])
        pleats = np.sin(rng.integers(4, 14) * turn + rng.uniform(0, 6))
        offset = 0.008 + rng.uniform(0.0, 0.12) * down + rng.uniform(0.002, 0.02) * down * pleats
        material["bump"] *= 0.5
        self.layers.append(Layer("skirt", (y - hem).astype(np.float32), offset.astype(np.float32), material, False))

    def coat(self):
        """An open or closed jacket, cardigan or long coat."""
        rng, at = self.rng, self.at
        hem = rng.uniform(at["L_knee"][1], at["pelvis"][1] - 0.02) if rng.random() < 0.4 else at["pelvis"][1] - 0.1
        coverage = self.wardrobe.top_coverage(self.sleeve_end(True) - 0.01, hem, 0.075, 0.06, True)
        rest = self.wardrobe.rest
        if rng.random() < 0.6:
            slope = (at["neck"][1] - rest[:, 1]) * rng.uniform(0, 0.12)
            gap = rng.uniform(0.0, 0.06) + slope
            front = np.where(rest[:, 2] > self.wardrobe.geometry[6], self.wardrobe.side - gap, 1.0)
            coverage = np.minimum(coverage, front).astype(np.float32)
        material = self.cloth(0.25)
        material["detail"] = SHIRT
        self.garment(coverage, material, 0.02, rng.uniform(0.004, 0.02))
        self.layers[-1].hides_skin = False

    def shoes(self):
        rng, wardrobe = self.rng, self.wardrobe
        kind = rng.choice(("shoe", "boot", "bare"), p=(0.75, 0.1, 0.15))
        if kind == "bare":
            return
        if rng.random() < 0.5:
            socks = plain_material(rng, cloth_tint(rng), PLAIN, 0.0)
            self.garment(wardrobe.foot_coverage(rng.uniform(0.12, 0.3)), socks, 0.003, 0, "tight")
        material = plain_material(rng, cloth_tint(rng), PLAIN, rng.uniform(0, 0.3))
        material["second"] = cloth_tint(rng) if rng.random() < 0.6 else (0.85, 0.85, 0.83)
        material["pattern"], material["phase"] = SOLE, wardrobe.floor + rng.uniform(0.005, 0.03)
        height = rng.uniform(0.075, 0.11) if kind == "shoe" else rng.uniform(0.15, 0.35)
        below = np.clip((wardrobe.floor + 0.06 - wardrobe.rest[:, 1]) / 0.06, 0, 1)
        self.garment(wardrobe.foot_coverage(height), material, 0.009, 0, "loose", flare=rng.uniform(0, 0.012) * below)

    def ball(self, bone, centre, radii, material):
        self.shape("ball", bone, centre, radii, material)

    def shape(self, shape, bone, centre, size, material):
        affine = np.concatenate((np.diag(np.asarray(size, float)), np.asarray(centre, float)[:, None]), 1)
        self.props.append(Prop(shape, bone, affine.astype(np.float32), material))
