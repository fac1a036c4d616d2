"""Flip test: the mean of the estimates on an image and on its mirror image.

Errors of the network on the two partly cancel. Mirroring a body in SMPL layout is exact: left and right joints are
exchanged, and rotations about y and z change their sign.
"""

import torch
from torch import Tensor, nn

from models.body_model import BodyModel
from models.mesh_recovery import BodyNetwork
from utils.geometry import nearest_rotation
from utils.skeleton import SMPL_FLIP


class FlipTest(nn.Module):
    """A network whose estimate is the mean over an image and its mirror image, at twice the cost."""

    def __init__(self, network: BodyNetwork):
        super().__init__()
        self.network, self.estimate = network, network.estimate

    @property
    def body_model(self) -> BodyModel:
        return self.network.body_model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image (B, 3, 224, 224) -> the `pred_` entries of `MeshRecovery`. Features cannot be mirrored."""
        both = self.network(torch.cat((image, image.flip(-1))))
        rotmat, betas, cam = (both[key].float().chunk(2) for key in ("pred_rotmat", "pred_betas", "pred_cam"))
        rotmat = mean_rotation(rotmat[0], mirror_rotation(rotmat[1]))
        cam = (cam[0] + cam[1] * cam[1].new_tensor((1, -1, 1))) / 2
        return self.estimate(rotmat, (betas[0] + betas[1]) / 2, cam)


def mirror_rotation(rotmat: Tensor) -> Tensor:
    """Joint rotations (B, 24, 3, 3) of a body -> those of its mirror image at the plane x = 0."""
    sign = rotmat.new_tensor((-1, 1, 1))
    return sign[:, None] * rotmat[:, SMPL_FLIP] * sign


def mean_rotation(a: Tensor, b: Tensor) -> Tensor:
    """Mean of two rotations (..., 3, 3) in the chordal metric (Hartley et al., IJCV 2013)."""
    return nearest_rotation(a + b)
