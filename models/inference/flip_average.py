"""Flip test: the mean of the estimates on an image and on its mirror image.

Errors of the network on the two partly cancel. Mirroring a body in SMPL layout is exact: left and right joints are
exchanged, and rotations about y and z change their sign.
"""

import torch
from torch import Tensor, nn

from models.body_model import BodyModel
from models.mesh_recovery import BodyNetwork
from utils.geometry import nearest_rotation
from utils.skeleton import COCO17_FLIP, SMPL_FLIP


class FlipTest(nn.Module):
    """A network whose estimate is the mean over an image and its mirror image, at twice the cost."""

    def __init__(self, network: BodyNetwork):
        super().__init__()
        self.network, self.estimate = network, network.estimate

    @property
    def body_model(self) -> BodyModel:
        return self.network.body_model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image (B, 3, 224, 224) -> the `pred_` and `detected_` entries of `MeshRecovery`. Features cannot be mirrored.

        A detected keypoint is where it is more certain of the two, with the mean confidence.
        """
        both = self.network(torch.cat((image, image.flip(-1))))
        rotmat, betas, cam = (both[key].float().chunk(2) for key in ("pred_rotmat", "pred_betas", "pred_cam"))
        rotmat = mean_rotation(rotmat[0], mirror_rotation(rotmat[1]))
        cam = (cam[0] + cam[1] * cam[1].new_tensor((1, -1, 1))) / 2
        estimate = self.estimate(rotmat, (betas[0] + betas[1]) / 2, cam)
        if "detected_keypoints" in both:
            estimate["detected_keypoints"] = merge_keypoints(*both["detected_keypoints"].float().chunk(2))
        return estimate


def merge_keypoints(keypoints: Tensor, mirrored: Tensor) -> Tensor:
    """Keypoints (B, 17, 3) of an image and of its mirror image -> those of the image."""
    mirrored = mirrored[:, COCO17_FLIP] * mirrored.new_tensor((-1, 1, 1))
    place = torch.where(keypoints[..., 2:] >= mirrored[..., 2:], keypoints[..., :2], mirrored[..., :2])
    return torch.cat((place, (keypoints[..., 2:] + mirrored[..., 2:]) / 2), dim=-1)


def mirror_rotation(rotmat: Tensor) -> Tensor:
    """Joint rotations (B, 24, 3, 3) of a body -> those of its mirror image at the plane x = 0."""
    sign = rotmat.new_tensor((-1, 1, 1))
    return sign[:, None] * rotmat[:, SMPL_FLIP] * sign


def mean_rotation(a: Tensor, b: Tensor) -> Tensor:
    """Mean of two rotations (..., 3, 3) in the chordal metric (Hartley et al., IJCV 2013)."""
    return nearest_rotation(a + b)
