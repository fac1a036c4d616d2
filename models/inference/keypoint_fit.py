"""Turn an estimate's joints until its limbs lie on the keypoints that the backbone sees.

The network has learned from drawn people how far to trust its keypoints; on photographs, from which the backbone has
learned, they deserve more. As SMPLify does (Bogo et al., ECCV 2016), but from an estimate that is nearly right, so that
three steps of damped least squares suffice (inverse kinematics; Wampler, 1986).
"""

import torch
from torch import Tensor, nn

from utils.geometry import rotvec_to_rotmat
from utils.skeleton import COCO17_TO_J14, COCO17_TO_SMPL, SMPL_PARENTS

STEPS = 3
KEYPOINT_SIGMA = 0.03  # metres by which a keypoint that is surely seen may be off
OUTLIER = 0.1  # metres of disagreement at which a keypoint counts half
TURN_SIGMA = 0.1  # radians by which the network may be off, about any axis of any joint
SCALE_SIGMA = 0.1  # the same of the logarithm of the camera's scale
SHIFT_SIGMA = 100.0  # metres: keypoints alone say where the body is
LEAST_SCALE = 0.05  # a camera that shows people smaller than this is none


class KeypointFit(nn.Module):
    """A `MeshRecovery`, or what works like it, whose last estimate is brought to the keypoints seen; shape stays.

    The change is the most probable one: errors of keypoints (with long tails, for MoveNet may take one limb for
    another) and of the network's rotations and camera are small, as the constants above say. A network that sees no
    keypoints is left as it is.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.estimate = network, network.estimate
        coco, j14 = zip(*COCO17_TO_J14.items(), strict=True)
        self.register_buffer("coco", torch.tensor(coco), persistent=False)
        self.register_buffer("j14", torch.tensor(j14), persistent=False)
        moved_by = torch.tensor([[float(j in _above(COCO17_TO_SMPL[k])) for j in range(24)] for k in coco])
        self.register_buffer("moved_by", moved_by[..., None], persistent=False)  # (12, 24, 1)
        self.register_buffer("parents", torch.tensor(SMPL_PARENTS[1:]), persistent=False)
        sigmas = torch.tensor([TURN_SIGMA] * 72 + [SHIFT_SIGMA] * 2 + [SCALE_SIGMA])
        self.register_buffer("damping", torch.diag(sigmas.double() ** -2), persistent=False)
        self.to(self.body_model.J_template.device)

    @property
    def body_model(self) -> nn.Module:
        return self.network.body_model

    def forward(self, image: Tensor) -> dict:
        """image (B, 3, 224, 224) -> as `MeshRecovery`, the last stage alone."""
        seen = self.network(image)
        if "seen_keypoints" not in seen:
            return seen
        return self.fit(*(seen[key].float() for key in ("pred_rotmat", "pred_betas", "pred_cam", "seen_keypoints")))

    def fit(self, rotmat: Tensor, betas: Tensor, cam: Tensor, keypoints: Tensor) -> dict[str, Tensor]:
        """rotmat (B, 24, 3, 3), betas (B, 10), cam (B, 3), keypoints (B, 17, 3) x, y in the crop frame, confidence ->
        the estimate after STEPS steps."""
        keypoints, confidence = keypoints.index_select(1, self.coco).split((2, 1), dim=-1)
        change = torch.zeros(len(cam), 75, dtype=torch.float64, device=cam.device)
        for _ in range(STEPS):
            residual, jacobian = self._residual(rotmat, betas, cam, keypoints)
            weight = confidence / (1 + (residual / OUTLIER).square().sum(-1, keepdim=True)) / KEYPOINT_SIGMA**2
            jacobian, residual = jacobian.flatten(1, 2).double(), residual.flatten(1).double()
            weighted = (weight.expand(-1, -1, 2).flatten(1)[..., None] * jacobian).mT
            pull = (weighted @ residual[..., None])[..., 0] - change @ self.damping
            step = torch.linalg.solve(weighted @ jacobian + self.damping, pull)
            change = change + step
            rotmat, cam = self._move(rotmat, betas, cam, step.to(cam.dtype))
        return self.estimate(rotmat, betas, cam)

    def _residual(self, rotmat: Tensor, betas: Tensor, cam: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """-> how far off the limbs are (B, 12, 2), in metres at the body, and the derivatives (B, 12, 2, 75) of where
        they are by turns of the 24 joints about the camera's axes, by shift and log of scale."""
        body = self.estimate(rotmat, betas, cam)
        points = body["pred_keypoints_3d"].index_select(1, self.j14)
        # a turn moves what lies further out than the joint: turn x lever
        x, y, z = ((points[:, :, None] - body["pred_joints"][:, None]) * self.moved_by).unbind(-1)
        none = torch.zeros_like(x)
        turns = torch.stack((torch.stack((none, z, -y), -1), torch.stack((-z, none, x), -1)), 2).flatten(3)
        place = points[..., :2] + cam[:, None, 1:]
        shifts = torch.eye(2, device=cam.device).expand(*place.shape, 2)
        scale = cam[:, None, :1].clamp(min=LEAST_SCALE)
        return keypoints / scale - place, torch.cat((turns, shifts, place[..., None]), -1)

    def _move(self, rotmat: Tensor, betas: Tensor, cam: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations to the parent and camera after a step (B, 75)."""
        turns, limbs = step[:, :72].unflatten(1, (24, 3)).split((1, 23), dim=1)
        frames, _ = self.body_model.joint_frames(rotmat, betas)
        limbs = (frames.index_select(1, self.parents).mT @ limbs[..., None])[..., 0]  # about the parent's axes
        rotmat = rotvec_to_rotmat(torch.cat((turns, limbs), dim=1)) @ rotmat
        cam = torch.stack((cam[:, 0] * step[:, 74].exp(), cam[:, 1] + step[:, 72], cam[:, 2] + step[:, 73]), dim=1)
        return rotmat, cam


def _above(joint: int) -> set[int]:
    """The joints between a joint and the root, with the root and without itself."""
    parent = SMPL_PARENTS[joint]
    return set() if parent < 0 else {parent} | _above(parent)
