"""Quarter turns: estimate people who are not upright a second time, in a turned image, and turn the estimate back.

MoveNet finds upright people best, and so does the network. The first estimate says how to turn the image.
"""

import torch
from torch import Tensor

from models.inference.refinement import Refinement, without_features
from utils.skeleton import SMPL_JOINTS

TRUNK = SMPL_JOINTS.index("pelvis"), SMPL_JOINTS.index("neck")
# degrees between the trunk in the image and upright from which on the image is turned; chosen on 300 synthetic
# validation people, on whom all values from 65 to 90 are as good
TILTED = 75.0
# of the angle to turn back, by quarter turns; y points down, so that a clockwise turn is a positive rotation about z
COS_SIN = ((1, 0), (0, 1), (-1, 0), (0, -1))


class QuarterTurns(Refinement):
    """A network that estimates people who lie or are upside down once more in an image in which they are upright."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image (B, 3, 224, 224) -> the `pred_` and `detected_` entries of `MeshRecovery`; no features."""
        output = without_features(self.network(image))
        turns = turns_to_upright(output["pred_joints"])
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


def turns_to_upright(joints: Tensor) -> Tensor:
    """joints (B, 24, 3), y down -> counter-clockwise quarter turns (B,) that make the trunk upright, mostly 0."""
    pelvis, neck = joints[:, TRUNK].float().unbind(1)
    x, up = neck[:, 0] - pelvis[:, 0], pelvis[:, 1] - neck[:, 1]
    angle = torch.rad2deg(torch.atan2(x, up))  # clockwise from upright
    return torch.where(angle.abs() > TILTED, (angle / 90).round().long() % 4, 0)


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
