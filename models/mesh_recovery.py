"""The whole network: image -> first estimate -> corrections -> one body per stage."""

from typing import Protocol

import torch
from torch import Tensor, nn

from models.backbones.movenet import distance
from models.body_model import BodyModel
from models.features import Features
from models.masked_joints import draw_masked, without_keypoints
from utils.geometry import project
from utils.skeleton import J17_TO_J14


class BodyNetwork(Protocol):
    """An image network that estimates a body: `MeshRecovery`, and the wrappers of models/inference around it.

    A wrapper takes any BodyNetwork and is one itself, so that wrappers can be combined.
    """

    body_model: BodyModel

    def __call__(self, image_or_features: Tensor | Features) -> dict:
        """Images (B, 3, 224, 224), or their features -> the last estimate, see `MeshRecovery.forward`."""

    def estimate(self, rotmat: Tensor, betas: Tensor, cam: Tensor) -> dict[str, Tensor]:
        """rotmat (B, 24, 3, 3), betas (B, 10), cam (B, 3) -> the `pred_` entries of `MeshRecovery.forward`."""


class InitialTokens(nn.Module):
    """The first estimate and the global image feature (B, F) as 26 tokens: joints, shape, camera."""

    def __init__(self, feature_dim: int, dim: int):
        super().__init__()
        self.rotmat = nn.Linear(9, dim)
        self.betas = nn.Linear(10, dim)
        self.cam = nn.Linear(3, dim)
        self.feature = nn.Linear(feature_dim, dim)

    def forward(self, feature: Tensor, rotmat: Tensor, betas: Tensor, cam: Tensor) -> Tensor:
        """-> (B, 26, dim)."""
        tokens = (self.rotmat(rotmat.flatten(2)), self.betas(betas)[:, None], self.cam(cam)[:, None])
        return torch.cat(tokens, dim=1) + self.feature(feature)[:, None]


class MeshRecovery(nn.Module):
    """A body in SMPL layout from an image crop.

    backbone: image -> feature maps or Features. regressor: global feature -> first estimate. body_model: rotations and
    betas -> vertices and joints. keypoint_regressor (17, V): vertices -> Human3.6M keypoints. blocks: graph transformer
    blocks; without any, for the backbone model, initial_tokens is None.
    subsampled: body and keypoint regressor of fewer vertices (`subsample_body`), used in training mode instead.
    mask_joints: share of the joints that read nothing of the image in training mode, see models/masked_joints.py.
    """

    def __init__(
        self,
        backbone: nn.Module,
        regressor: nn.Module,
        body_model: BodyModel,
        keypoint_regressor: Tensor,
        initial_tokens: InitialTokens | None = None,
        blocks: list[nn.Module] = (),
        subsampled: tuple[BodyModel, Tensor] | None = None,
        mask_joints: float = 0.0,
    ):
        super().__init__()
        self.mask_joints = mask_joints
        self.backbone = backbone
        self.regressor = regressor
        self.body_model = body_model
        self.initial_tokens = initial_tokens
        self.blocks = nn.ModuleList(blocks)
        # not saved: it belongs to the body, which may have a licence
        self.register_buffer("keypoint_regressor", keypoint_regressor.float(), persistent=False)
        self.subsampled_body, subsampled_regressor = subsampled or (None, None)
        self.register_buffer("subsampled_regressor", subsampled_regressor, persistent=False)
        self.register_buffer("j14", torch.tensor(J17_TO_J14), persistent=False)
        self._frozen: tuple[nn.Module, ...] = ()  # a tuple, so that its parameters are not listed twice

    def freeze_backbone(self) -> None:
        """Keep the backbone as it is in training: no gradients, batch norm and dropout as in evaluation.

        A part of the backbone that no pretrained weights exist for, such as the pyramid of a vision transformer, learns
        on: only its `trunk` is frozen.
        """
        trunk = getattr(self.backbone, "trunk", self.backbone)
        trunk.requires_grad_(False)
        self._frozen = (trunk,)
        self.train(self.training)

    def train(self, mode: bool = True) -> "MeshRecovery":
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    @property
    def subsampled(self) -> tuple[BodyModel, Tensor] | None:
        """Body and keypoint regressor (17, K) of training, if they are not the full ones."""
        return None if self.subsampled_body is None else (self.subsampled_body, self.subsampled_regressor)

    def forward(self, image_or_features: Tensor | Features, all_stages: bool = True) -> dict:
        """Images (B, 3, 224, 224), ImageNet-normalised RGB, or their features -> the last estimate, camera frame:

        pred_rotmat (B, 24, 3, 3) parent-relative, joint 0 global; pred_betas (B, 10); pred_cam (B, 3) = (s, tx, ty);
        pred_vertices (B, V, 3) and pred_joints (B, 24, 3), metres; pred_joints_2d (B, 24, 2) in [-1, 1];
        pred_keypoints_3d (B, 14, 3) metres and pred_keypoints_2d (B, 14, 2); aux_outputs: such dicts of the earlier
        stages, the first estimate first; detected_keypoints (B, 17, 3), if the backbone detects any, see `Features`;
        feature_distance (B,), in training if upper stages of the backbone learn: mean square by which their features
        differ from those of the frozen network.

        all_stages=False leaves aux_outputs empty and computes only what the last estimate needs.
        """
        kept = self._kept_features(image_or_features)
        features = self._relearn(kept)
        change = {} if features is kept else {"feature_distance": distance(features, kept)}
        masked = {}
        if self.training and self.mask_joints:
            masked = {"masked": draw_masked(len(features.pooled), self.mask_joints, features.pooled.device)}
            features = without_keypoints(features, masked["masked"])
        rotmat, betas, cam = self.regressor(features.pooled)
        stages = []
        if self.initial_tokens is not None:
            tokens = self.initial_tokens(features.pooled, rotmat, betas, cam)
        for block in self.blocks:
            if all_stages:
                stages.append(self.estimate(rotmat, betas, cam))
            joints_2d = stages[-1]["pred_joints_2d"] if all_stages else self._joints_2d(rotmat, betas, cam)
            tokens, rotation, d_betas, d_cam = block(tokens, features, joints_2d, **masked)
            with torch.autocast(rotmat.device.type, enabled=False):  # see estimate
                rotmat = rotmat @ rotation
            betas, cam = betas + d_betas, cam + d_cam
        detected = {} if features.keypoints is None else {"detected_keypoints": features.keypoints}
        return {**self.estimate(rotmat, betas, cam), "aux_outputs": stages, **detected, **change}

    def features(self, image_or_features: Tensor | Features) -> Features:
        """Image (B, 3, 224, 224) -> features of the backbone; if these are plain maps, the coarsest one is pooled.

        Features of the frozen backbone are returned as they are, or as its upper stages that learn compute them.
        """
        return self._relearn(self._kept_features(image_or_features))

    def _kept_features(self, image_or_features: Tensor | Features) -> Features:
        if isinstance(image_or_features, Features):
            return image_or_features
        output = self.backbone(image_or_features)
        if isinstance(output, Features):
            # only in training is there something left to learn from an image's features
            return output if self.training else output._replace(trunk8=None)
        return Features(tuple(output), output[-1].mean((2, 3), dtype=torch.float32))

    def _relearn(self, kept: Features) -> Features:
        return kept if kept.trunk8 is None else self.backbone.relearn(kept)

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def _joints_2d(self, rotmat: Tensor, betas: Tensor, cam: Tensor) -> Tensor:
        """Projected joints of an estimate, (B, 24, 2): all that the next block reads of it."""
        return project(self.body_model.joints(rotmat, betas), cam)

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def estimate(self, rotmat: Tensor, betas: Tensor, cam: Tensor) -> dict[str, Tensor]:
        """The body of these parameters. Always float32: an error of 0.01 in a rotation moves a hand by millimetres."""
        body, regressor = self.body_model, self.keypoint_regressor
        if self.training and self.subsampled is not None:
            body, regressor = self.subsampled
        vertices, joints = body(rotmat, betas)
        keypoints = torch.einsum("kv,bvc->bkc", regressor.index_select(0, self.j14), vertices)
        return {
            "pred_rotmat": rotmat,
            "pred_betas": betas,
            "pred_cam": cam,
            "pred_vertices": vertices,
            "pred_joints": joints,
            "pred_joints_2d": project(joints, cam),
            "pred_keypoints_3d": keypoints,
            "pred_keypoints_2d": project(keypoints, cam),
        }


def subsample_body(body_model: BodyModel, keypoint_regressor: Tensor, num_vertices: int) -> tuple[BodyModel, Tensor]:
    """`num_vertices` random vertices of a body, and all that the keypoints need -> smaller body, its regressor (17, K).

    The mean loss over these vertices estimates the mean over the whole surface; the keypoints are the same.
    """
    needed = (keypoint_regressor != 0).any(0)
    generator = torch.Generator().manual_seed(0)  # the same in every process and after a restart
    drawn = torch.randperm(body_model.num_vertices, generator=generator)[:num_vertices]
    needed[drawn] = True
    keep = needed.nonzero()[:, 0]
    return body_model.at_vertices(keep), keypoint_regressor[:, keep].float()
