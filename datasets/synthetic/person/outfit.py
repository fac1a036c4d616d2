"""Random garments: which ones, how long, how loose, in which fabric."""

import numpy as np
from numpy.typing import ArrayLike

from datasets.synthetic.person.materials import (
    cloth_material,
    cloth_tint,
    denim,
    hair_material,
    plain_material,
)
from datasets.synthetic.person.patterns import PLAIN, SHIRT, SOLE, TROUSERS
from datasets.synthetic.person.wardrobe import Layer, Prop, Wardrobe, fold_noise


class Outfit:
    """Collects the layers, from the innermost to the outermost, and the props of one person.

    All lengths are metres in the rest pose of the mean body. `at` and `key` are those of the Wardrobe.
    """

    def __init__(self, rng: np.random.Generator, wardrobe: Wardrobe, images: int):
        self.rng, self.wardrobe, self.images = rng, wardrobe, images
        self.layers: list[Layer] = []
        self.props: list[Prop] = []
        self.at, self.key = wardrobe.at, wardrobe.key
        self.hair_color = hair_material(rng)

    def cloth(self, patterned: float = 0.45) -> np.ndarray:
        """A random fabric, MATERIAL, with a pattern in a share `patterned` of the cases."""
        return cloth_material(self.rng, self.images, patterned)

    def garment(
        self, coverage: np.ndarray, material: np.ndarray, thickness: float, looseness: float,
        sheet: str | None = None, flare: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Add a garment with coverage (V,). Its offset from the skin is thickness + looseness, which hangs in folds, +
        flare (V,)."""
        rng, wardrobe = self.rng, self.wardrobe
        rest = wardrobe.rest
        offset = np.full(len(rest), thickness, np.float32)
        if looseness > 0.002:
            folds = fold_noise(rest, coverage, rng.uniform(0.06, 0.16), rng.uniform(0.5, 2.5), rng.integers(1 << 20))
            # cloth lies on the shoulders and hangs free below
            hanging = np.clip((self.at["neck"][1] - 0.02 - rest[:, 1]) / 0.25, 0.15, 1).astype(np.float32)
            offset += looseness * hanging * np.maximum(0.7 + 0.9 * folds, 0.1)
        if flare is not None:
            offset += flare.astype(np.float32)
        sheet = sheet or ("loose" if looseness > 0.012 else "tight")
        self.layers.append(Layer(sheet, coverage, offset, material))

    def body(self) -> None:
        """Add the garments of trunk, arms and legs."""
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

    def sleeve_end(self, long: bool = False) -> float:
        """|x| of the end of a sleeve: long, or drawn from none, short and long."""
        shoulder, elbow, wrist = (self.at[name][0] for name in ("L_shoulder", "L_elbow", "L_wrist"))
        draw = self.rng.random()
        if long or draw < 0.42:
            return wrist - self.rng.choice((0.0, 0.0, 0.0, 1.0)) * self.rng.uniform(0, 0.9) * (wrist - elbow) + 0.005
        if draw < 0.9:
            return shoulder + self.rng.uniform(0.25, 1.0) * (elbow - shoulder)
        return shoulder + self.rng.uniform(-0.06, 0.03)

    def top(self, material: np.ndarray, tucked: bool, looseness: float | None = None) -> None:
        """Add a shirt; tucked: under the trousers."""
        rng, at = self.rng, self.at
        pelvis, waist = at["pelvis"][1], at["spine1"][1]
        thickness = 0.005 if tucked else 0.009
        if tucked:
            hem = pelvis - 0.02
        else:
            hem = rng.uniform(pelvis - 0.14, pelvis + 0.03) if rng.random() < 0.9 else rng.uniform(waist, waist + 0.18)
        if looseness is None:
            looseness = rng.choice((0.0, 1.0, 1.0, 2.0)) * rng.uniform(0.004, 0.016)
        coverage = self.wardrobe.top_coverage(
            self.sleeve_end(), hem, rng.uniform(0.066, 0.1), rng.choice((0.0, 1.0)) * rng.uniform(0.01, 0.09),
            rng.random() < 0.3,
        )  # fmt: skip
        draw = rng.random()
        if draw < 0.25:
            self.chest_print(material)
        elif draw < 0.55:
            material["detail"] = SHIRT
        low = np.clip((at["spine3"][1] - self.wardrobe.rest[:, 1]) / 0.5, 0, 1)
        self.garment(coverage, material, thickness, looseness, flare=None if tucked else rng.uniform(0, 0.02) * low)

    def chest_print(self, material: np.ndarray) -> None:
        """Put a printed patch on a shirt's material."""
        width, height = self.rng.uniform(0.05, 0.14), self.rng.uniform(0.02, 0.12)
        x = self.rng.choice((0.0, 0.0, 0.08))
        y = self.at["spine3"][1] + self.rng.uniform(-0.05, 0.1)
        material["print_x"], material["print_y"] = x, y
        material["print_width"], material["print_height"] = width, height

    def bottom(self, kind: str, thickness: float) -> None:
        """Add trousers or shorts."""
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

    def briefs(self) -> None:
        """Add briefs or swimming trunks."""
        at, rest = self.at, self.wardrobe.rest
        low = at["L_hip"][1] - self.rng.uniform(0.03, 0.25) + 0.6 * self.wardrobe.side * self.rng.uniform(0, 1)
        coverage = np.minimum(at["pelvis"][1] + self.rng.uniform(0, 0.08) - rest[:, 1], rest[:, 1] - low)
        self.garment(
            np.minimum(coverage, 0.45 - self.wardrobe.side).astype(np.float32), self.cloth(), 0.003, 0, "tight"
        )

    def bra(self) -> None:
        """Add a bra or the top of a bikini."""
        rest, chest = self.wardrobe.rest, self.at["spine3"][1]
        x, y = self.wardrobe.side, rest[:, 1]
        band = np.minimum(y - (chest - 0.1), chest + 0.07 - y)
        straps = np.minimum(0.025 - np.abs(x - 0.09), y - chest)
        coverage = np.minimum(np.maximum(band, straps), self.at["L_shoulder"][0] - 0.01 - x)
        self.garment(coverage.astype(np.float32), self.cloth(), 0.004, 0, "tight")

    def skirt(self, material: np.ndarray) -> None:
        """Add a skirt, or the lower part of a dress."""
        rng, sheet = self.rng, self.wardrobe.sheets["skirt"]
        y, top = sheet.points[:, 1], sheet.points[:, 1].max()
        hem = rng.uniform(self.at["L_ankle"][1] + 0.05, self.at["L_hip"][1] - 0.15)
        down = np.clip((top - y) / (top - hem), 0, 1)
        turn = np.arctan2(sheet.points[:, 0], sheet.points[:, 2])
        pleats = np.sin(rng.integers(4, 14) * turn + rng.uniform(0, 6))
        offset = 0.008 + rng.uniform(0.0, 0.12) * down + rng.uniform(0.002, 0.02) * down * pleats
        material["bump"] *= 0.5
        self.layers.append(Layer("skirt", (y - hem).astype(np.float32), offset.astype(np.float32), material, False))

    def coat(self) -> None:
        """Add an open or closed jacket, cardigan or long coat."""
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

    def shoes(self) -> None:
        """Add shoes or boots, perhaps over socks, or leave the feet bare."""
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

    def ball(self, bone: int, centre: ArrayLike, radii: ArrayLike, material: np.ndarray) -> None:
        """Attach an ellipsoid to a bone; centre (3,), radii (3,)."""
        self.shape("ball", bone, centre, radii, material)

    def shape(self, shape: str, bone: int, centre: ArrayLike, size: ArrayLike, material: np.ndarray) -> None:
        """Attach a "ball", "box" or "rod" to a bone; centre (3,), half sides size (3,)."""
        affine = np.concatenate((np.diag(np.asarray(size, float)), np.asarray(centre, float)[:, None]), 1)
        self.props.append(Prop(shape, bone, affine.astype(np.float32), material))
