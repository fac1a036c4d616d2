"""Keypoint fit: rotate the joints of an estimate so that its limbs project onto the detected 2D keypoints.

A network trained on synthetic people has learned how accurate the keypoints are there. On photographs, on which MoveNet
was trained, they are more accurate. The fit is that of SMPLify (Bogo et al., ECCV 2016), but it starts at an estimate
close to the optimum, so that three steps of damped least squares are enough (inverse kinematics; Wampler, 1986).
"""

import torch
from torch import Tensor

from models.features import Features
from models.inference.refinement import Refinement
from models.mesh_recovery import BodyNetwork
from utils.geometry import rotvec_to_rotmat
from utils.skeleton import COCO17_TO_J14, COCO17_TO_SMPL, NUM_JOINTS, SMPL_PARENTS

STEPS = 3
# standard deviations of errors
KEYPOINT_SIGMA = 0.03  # metres, of a keypoint with confidence 1
# radians, of the network, for each joint: in the picture plane, where keypoints determine it, and out of it, where a
# rotation also corrects errors of scale and perspective, and so gives wrong depth
IN_PLANE_SIGMA = 0.1
OUT_OF_PLANE_SIGMA = 0.05
SCALE_SIGMA = 0.1  # of the network, of the logarithm of the camera's scale
SHIFT_SIGMA = 100.0  # metres, of the network: in effect the keypoints alone determine the translation
OUTLIER = 0.1  # metres of residual at which a keypoint has half its weight
LOCKED = 1e-5  # radians, standard deviation of a locked joint
LEAST_SCALE = 0.05  # smaller scales of the camera are set to this one


class KeypointFit(Refinement):
    """A network whose estimate is fitted to the keypoints that its backbone detects; the shape stays.

    The fit maximises the posterior probability under the standard deviations above. Errors of keypoints have long
    tails, because MoveNet may confuse limbs. Without keypoints the estimate is unchanged.
    """

    def __init__(
        self,
        network: BodyNetwork,
        in_plane_sigma: float = IN_PLANE_SIGMA,
        out_of_plane_sigma: float = OUT_OF_PLANE_SIGMA,
    ):
        super().__init__(network)
        coco, j14 = zip(*COCO17_TO_J14.items(), strict=True)
        self.register_buffer("coco", torch.tensor(coco), persistent=False)
        self.register_buffer("j14", torch.tensor(j14), persistent=False)
        moved_by = torch.tensor([[float(j in _ancestors(COCO17_TO_SMPL[k])) for j in range(NUM_JOINTS)] for k in coco])
        self.register_buffer("moved_by", moved_by[..., None], persistent=False)  # (12, 24, 1): 1 if an ancestor
        self.register_buffer("parents", torch.tensor(SMPL_PARENTS[1:]), persistent=False)
        rotation_sigmas = [out_of_plane_sigma, out_of_plane_sigma, in_plane_sigma] * NUM_JOINTS
        sigmas = torch.tensor(rotation_sigmas + [SHIFT_SIGMA] * 2 + [SCALE_SIGMA])
        self.register_buffer("damping", torch.diag(sigmas.double() ** -2), persistent=False)
        self.to(self.body_model.J_template.device)

    def forward(self, image_or_features: Tensor | Features) -> dict:
        """Images (B, 3, 224, 224), or their features -> the `pred_` and `detected_` entries of `MeshRecovery`."""
        output = self.network(image_or_features)
        if "detected_keypoints" not in output:
            return output
        keys = ("pred_rotmat", "pred_betas", "pred_cam", "detected_keypoints")
        fitted = self.fit(*(output[key].float() for key in keys))
        return fitted | {"detected_keypoints": output["detected_keypoints"]}

    def fit(
        self,
        rotmat: Tensor,
        betas: Tensor,
        cam: Tensor,
        keypoints: Tensor,
        locked: Tensor | None = None,
        steps: int = STEPS,
    ) -> dict[str, Tensor]:
        """rotmat (B, 24, 3, 3), betas (B, 10), cam (B, 3), keypoints (B, 17, 3) x, y in the crop frame, confidence ->
        the fitted estimate. locked (B, 24) bool: joints whose rotation relative to the parent stays."""
        keypoints, confidence = keypoints.index_select(1, self.coco).split((2, 1), dim=-1)
        change = torch.zeros(len(cam), 75, dtype=torch.float64, device=cam.device)
        damping = self.damping
        if locked is not None:
            still = torch.nn.functional.pad(locked.repeat_interleave(3, dim=1), (0, 3)).double()
            damping = damping + torch.diag_embed(LOCKED**-2 * still)
        for _ in range(steps):
            residual, jacobian = self._residual(rotmat, betas, cam, keypoints)
            weight = confidence / (1 + (residual / OUTLIER).square().sum(-1, keepdim=True)) / KEYPOINT_SIGMA**2
            jacobian, residual = jacobian.flatten(1, 2).double(), residual.flatten(1).double()
            weighted = (weight.expand(-1, -1, 2).flatten(1)[..., None] * jacobian).mT
            gradient = (weighted @ residual[..., None] - damping @ change[..., None])[..., 0]
            step = torch.linalg.solve(weighted @ jacobian + damping, gradient)
            change = change + step
            rotmat, cam = self._move(rotmat, betas, cam, step.to(cam.dtype))
        return self.estimate(rotmat, betas, cam)

    def _residual(self, rotmat: Tensor, betas: Tensor, cam: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """-> residuals of the limbs (B, 12, 2), metres at the body, and the Jacobian (B, 12, 2, 75) of their positions:
        by rotations of the 24 joints about the axes of the camera frame, by translation and by log scale."""
        body = self.estimate(rotmat, betas, cam)
        points = body["pred_keypoints_3d"].index_select(1, self.j14)
        # a rotation moves the descendants of its joint by rotation vector x lever
        x, y, z = ((points[:, :, None] - body["pred_joints"][:, None]) * self.moved_by).unbind(-1)
        zero = torch.zeros_like(x)
        rotations = torch.stack((torch.stack((zero, z, -y), -1), torch.stack((-z, zero, x), -1)), 2).flatten(3)
        place = points[..., :2] + cam[:, None, 1:]
        shifts = torch.eye(2, device=cam.device).expand(*place.shape, 2)
        scale = cam[:, None, :1].clamp(min=LEAST_SCALE)
        return keypoints / scale - place, torch.cat((rotations, shifts, place[..., None]), -1)

    def _move(self, rotmat: Tensor, betas: Tensor, cam: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Parent-relative rotations and camera after a step (B, 75)."""
        root, limbs = step[:, :72].unflatten(1, (24, 3)).split((1, 23), dim=1)
        frames, _ = self.body_model.joint_frames(rotmat, betas)
        limbs = (frames.index_select(1, self.parents).mT @ limbs[..., None])[..., 0]  # about the axes of the parent
        rotmat = rotvec_to_rotmat(torch.cat((root, limbs), dim=1)) @ rotmat
        cam = torch.stack((cam[:, 0] * step[:, 74].exp(), cam[:, 1] + step[:, 72], cam[:, 2] + step[:, 73]), dim=1)
        return rotmat, cam


def _ancestors(joint: int) -> set[int]:
    """All joints between a joint and the root, the root included."""
    parent = SMPL_PARENTS[joint]
    return set() if parent < 0 else {parent} | _ancestors(parent)
