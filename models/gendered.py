"""Labels posed with the body of the person's own gender, as 3DPW's protocol has it."""

import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from models.body_model import BodyModel, load_body_model
from utils.files import find_file
from utils.skeleton import J17_TO_J14

GENDERS = ("neutral", "male", "female")  # by their number in a batch


class GenderedBodies(nn.Module):
    """The male and the female body, with the keypoint regressor (17, V) of the neutral one."""

    def __init__(self, male: BodyModel, female: BodyModel, keypoint_regressor: Tensor):
        super().__init__()
        self.male, self.female = male, female
        self.register_buffer("regressor", keypoint_regressor[list(J17_TO_J14)].float(), persistent=False)

    def labels(self, batch: dict, targets: dict, minus_pelvis: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """`vertices` and `keypoints_3d` of `Criterion.targets`, by the own body of all samples with pose and gender.

        batch: `gender` (B,), index in GENDERS, and `betas`. The other samples keep their labels.
        """
        vertices, keypoints = targets["vertices"].clone(), targets["keypoints_3d"].clone()
        for number, body in ((1, self.male), (2, self.female)):
            own = (batch["gender"] == number) & targets["has_smpl"]
            if own.any():
                posed, _ = body(targets["rotmat"][own], batch["betas"][own])
                vertices[own] = minus_pelvis(posed).to(vertices)
                keypoints[own, :, :3] = (self.regressor @ posed).to(keypoints)
                keypoints[own, :, 3] = 1
        has_keypoints = targets["has_keypoints_3d"] | ((batch["gender"] > 0) & targets["has_smpl"])
        return {"vertices": vertices, "keypoints_3d": keypoints, "has_keypoints_3d": has_keypoints}


def load_gendered_bodies(neutral: Path, body: BodyModel, keypoint_regressor: Tensor) -> GenderedBodies | None:
    """The bodies beside the file of the neutral one; None unless both are there, with as many vertices."""
    paths = [beside(neutral, gender) for gender in ("male", "female")]
    if not all(paths):
        return None
    male, female = map(load_body_model, paths)
    fits = male.num_vertices == female.num_vertices == body.num_vertices
    return GenderedBodies(male, female, keypoint_regressor) if fits else None


def beside(neutral: Path, gender: str) -> Path | None:
    """SMPL_MALE.npz beside SMPL_NEUTRAL.npz, and the older names of the same, in upper or lower case."""
    names = [f"smpl_{gender}", *(f"basicmodel_{gender[0]}_lbs_10_207_0_v{version}" for version in ("1.1.0", "1.0.0"))]
    names += [re.sub("neutral", gender, neutral.stem, flags=re.IGNORECASE)]
    files = [f"{name}{end}" for name in names for end in (".npz", ".pkl")]
    return find_file(neutral.parent, [file for file in files if file.lower() != neutral.name.lower()])
