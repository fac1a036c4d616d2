"""Flip test: the mean of the estimates on an image and on its mirror image.

Errors of the network on the two partly cancel. Mirroring a body in SMPL layout is exact: left and right joints are
exchanged, and rotations about y and z change their sign. If the two face different ways, such as front and back, their
mean is in profile, which is neither: then one of them is taken.
"""

import math

import torch
from torch import Tensor

from models.inference.refinement import Refinement
from utils.geometry import nearest_rotation
from utils.skeleton import COCO17_FLIP, SMPL_FLIP

DISAGREE = 75.0  # degrees between the global orientations from which on there is no mean


class FlipTest(Refinement):
    """A network whose estimate is the mean over an image and its mirror image, at twice the cost."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image (B, 3, 224, 224) -> the `pred_` and `detected_` entries of `MeshRecovery`. Features cannot be mirrored.

        A detected keypoint is where it is more certain of the two, with the mean confidence.
        """
        both = self.network(torch.cat((image, image.flip(-1))))
        rotmat, betas, cam = (both[key].float().chunk(2) for key in ("pred_rotmat", "pred_betas", "pred_cam"))
        plain, mirrored = rotmat[0], mirror_rotation(rotmat[1])
        keypoints = None
        if "detected_keypoints" in both:
            keypoints = [part.float() for part in both["detected_keypoints"].chunk(2)]
        share = share_of_mirrored(plain[:, 0], mirrored[:, 0], keypoints)
        rotmat = mean_rotation(plain, mirrored, share[:, None, None, None])
        share = share[:, None]
        cam = cam[0] * (1 - share) + cam[1] * cam[1].new_tensor((1, -1, 1)) * share
        estimate = self.estimate(rotmat, betas[0] * (1 - share) + betas[1] * share, cam)
        return estimate | ({"detected_keypoints": merge_keypoints(*keypoints)} if keypoints else {})


def share_of_mirrored(plain: Tensor, mirrored: Tensor, keypoints: list[Tensor] | None) -> Tensor:
    """Share (B,) of the mirror image's estimate in the mean: half, or none or all if the two disagree.

    plain, mirrored (B, 3, 3): global orientations, the second mirrored back. keypoints: (B, 17, 3) of both; the
    estimate with the more certain ones is taken, without them that of the image itself.
    """
    cosine = ((plain * mirrored).sum((-2, -1)) - 1) / 2
    apart = cosine < math.cos(math.radians(DISAGREE))
    all_or_none = torch.zeros_like(cosine)
    if keypoints is not None:
        certain = [part[..., 2].mean(1) for part in keypoints]
        all_or_none = (certain[1] > certain[0]).to(cosine.dtype)
    return torch.where(apart, all_or_none, 0.5)


def merge_keypoints(keypoints: Tensor, mirrored: Tensor) -> Tensor:
    """Keypoints (B, 17, 3) of an image and of its mirror image -> those of the image."""
    mirrored = mirrored[:, COCO17_FLIP] * mirrored.new_tensor((-1, 1, 1))
    place = torch.where(keypoints[..., 2:] >= mirrored[..., 2:], keypoints[..., :2], mirrored[..., :2])
    return torch.cat((place, (keypoints[..., 2:] + mirrored[..., 2:]) / 2), dim=-1)


def mirror_rotation(rotmat: Tensor) -> Tensor:
    """Joint rotations (B, 24, 3, 3) of a body -> those of its mirror image at the plane x = 0."""
    sign = rotmat.new_tensor((-1, 1, 1))
    return sign[:, None] * rotmat[:, SMPL_FLIP] * sign


def mean_rotation(a: Tensor, b: Tensor, share: Tensor | float = 0.5) -> Tensor:
    """Mean of two rotations (..., 3, 3) in the chordal metric (Hartley et al., IJCV 2013), `share` of it the second."""
    return nearest_rotation(a * (1 - share) + b * share)
