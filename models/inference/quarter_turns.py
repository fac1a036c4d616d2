"""Quarter turns: estimate people who are not upright in a turned image, and turn the estimate back.

MoveNet finds upright people best. If its keypoints have low confidence, the three other quarter turns of the image are
tried; the one with the highest mean confidence is used if it is clearly higher.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from models.inference.refinement import Refinement
from models.mesh_recovery import BodyNetwork
from utils.skeleton import COCO17_TO_SMPL

LIMBS = sorted(COCO17_TO_SMPL)  # keypoints whose confidence counts
CERTAIN = 0.4  # mean confidence above which no other turn is tried; it and MARGIN: chosen on synthetic people
MARGIN = 0.1  # by which the mean confidence at another turn must be higher
# of the angle to turn back, by quarter turns; y points down, so that a clockwise turn is a positive rotation about z
COS_SIN = ((1, 0), (0, 1), (-1, 0), (0, -1))


class QuarterTurns(Refinement):
    """A network whose estimate is that of the best quarter turn of the image.

    detect: images (B, 3, H, H) -> keypoints (B, 17, 3), the last entry is the confidence. Other turns are tried only
    for images of low confidence, so that most images cost one detection more than without.
    """

    def __init__(self, network: BodyNetwork, detect: Callable[[Tensor], Tensor]):
        super().__init__(network)
        self.detect = detect

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image (B, 3, 224, 224) -> the `pred_` and `detected_` entries of `MeshRecovery`; no features."""
        output = self.network(image).items()
        output = {key: value for key, value in output if key.startswith(("pred_", "detected_"))}
        turns = self.choose(image)
        for turn in range(1, 4):
            rows = (turns == turn).nonzero()[:, 0]
            if len(rows):
                turned = self.network(quarter_turn(image[rows.to(image.device)], turn))
                parts = (turned[key].float() for key in ("pred_rotmat", "pred_betas", "pred_cam", "pred_joints"))
                better = self.estimate(*turn_back(*parts, turn))
                if "detected_keypoints" in turned:
                    better["detected_keypoints"] = turn_keypoints_back(turned["detected_keypoints"].float(), turn)
                output = {key: value.index_copy(0, rows, better[key].to(value)) for key, value in output.items()}
        return output

    def choose(self, image: Tensor) -> Tensor:
        """image (B, 3, H, H) -> the turn to use (B,), 0 to 3."""
        confidence = mean_confidence(self.detect(image))
        turns = torch.zeros_like(confidence, dtype=torch.long)
        doubtful = (confidence < CERTAIN).nonzero()[:, 0]
        if len(doubtful):
            some = image[doubtful.to(image.device)]
            others = [mean_confidence(self.detect(quarter_turn(some, turn))) for turn in range(1, 4)]
            best, which = torch.stack(others).max(0)
            turns[doubtful] = torch.where(best > confidence[doubtful] + MARGIN, which + 1, 0)
        return turns


def mean_confidence(keypoints: Tensor) -> Tensor:
    """keypoints (B, 17, 3) -> mean confidence of the limbs (B,)."""
    return keypoints[:, LIMBS, 2].float().mean(1)


def quarter_turn(image: Tensor, turns: int) -> Tensor:
    """image (B, C, H, H) -> the image turned counter-clockwise by quarter turns."""
    return torch.rot90(image, turns, (-2, -1))


def turn_keypoints_back(keypoints: Tensor, turns: int) -> Tensor:
    """Keypoints (B, 17, 3) in a turned image, crop frame -> the same in the image before."""
    cos, sin = COS_SIN[turns % 4]
    back = keypoints.new_tensor(((cos, -sin), (sin, cos)))
    return torch.cat((keypoints[..., :2] @ back.mT, keypoints[..., 2:]), dim=-1)


def turn_back(rotmat: Tensor, betas: Tensor, cam: Tensor, joints: Tensor, turns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate for a turned image -> rotmat, betas, cam for the image before.

    rotmat (B, 24, 3, 3), betas (B, 10), cam (B, 3), joints (B, 24, 3) of the body.
    """
    cos, sin = COS_SIN[turns % 4]
    back = rotmat.new_tensor(((cos, -sin, 0), (sin, cos, 0), (0, 0, 1)))
    rotmat = torch.cat((back @ rotmat[:, :1], rotmat[:, 1:]), dim=1)
    # the body turns about its root joint, the picture about its centre
    root = joints[:, 0, :2]
    shift = (cam[:, 1:] + root) @ back[:2, :2].mT - root
    return rotmat, betas, torch.cat((cam[:, :1], shift), dim=1)
