"""Look at a picture and at its mirror image, and take the middle of both answers (flip test).

The network's errors on the two are partly of its own making and cancel; what a mirror does to a body in SMPL's layout
is exact: left and right joints change places, rotations about y and z change their sign.
"""

import torch
from torch import Tensor, nn

from utils.geometry import nearest_rotation
from utils.skeleton import SMPL_FLIP


class FlipTest(nn.Module):
    """A `MeshRecovery` whose estimates are the mean over a picture and its mirror image, at twice the cost."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    @property
    def body_model(self) -> nn.Module:
        return self.network.body_model

    def forward(self, image: Tensor) -> dict:
        """image (B, 3, 224, 224) -> as `MeshRecovery`, the last stage alone."""
        both = self.network(torch.cat((image, image.flip(-1))))
        rotmat, betas, cam = (both[key].float().chunk(2) for key in ("pred_rotmat", "pred_betas", "pred_cam"))
        rotmat = mean_rotation(rotmat[0], mirror_rotation(rotmat[1]))
        cam = (cam[0] + cam[1] * cam[1].new_tensor((1, -1, 1))) / 2
        return self.network.estimate(rotmat, (betas[0] + betas[1]) / 2, cam)


def mirror_rotation(rotmat: Tensor) -> Tensor:
    """Joint rotations (B, 24, 3, 3) of a body -> those of its mirror image at the plane x = 0."""
    sign = rotmat.new_tensor((-1, 1, 1))
    return sign[:, None] * rotmat[:, SMPL_FLIP] * sign


def mean_rotation(a: Tensor, b: Tensor) -> Tensor:
    """Rotations (..., 3, 3) in the middle of two: nearest to both in the chordal metric (Hartley et al., IJCV 2013)."""
    return nearest_rotation(a + b)
