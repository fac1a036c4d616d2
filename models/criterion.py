"""Losses of the published recipe, and the labels in the form of the estimates, which the metrics use too."""

import torch
from torch import Tensor, nn

from models.body_model import BodyModel
from utils.geometry import rotvec_to_rotmat
from utils.skeleton import J14_BONES, J14_HIPS, J17_PELVIS, J24_TO_J14

R_HIP, L_HIP = J14_HIPS


class Criterion(nn.Module):
    """Weighted sum of four to eight losses of an estimate of `MeshRecovery` and a batch.

    body_model: rotmat (B, 24, 3, 3), betas (B, 10) -> vertices (B, V, 3), joints; keypoint_regressor (17, V), Human3.6M
    order. stage_weights: one weight per stage, the first estimate first (default: the last stage alone).

    - vert: L1 of vertices, metres, both sides with the J17 pelvis at the origin;
    - theta: L1 of rotation matrices;
    - 3dj: squared error of the J14 keypoints, metres, both sides with the middle of the hips at the origin, times the
      confidence of the label;
    - 2dj: squared error of the projected J14 keypoints in crop units, times the confidence of the label;
    - betas, if w_betas is above 0: L1 of shape coefficients. Without it those of small effect take arbitrary values,
      because the vertex loss hardly depends on them;
    - orient, if w_orient is above 0: angle between the orientations of the root, radians. Its gradient is as large for
      a body that faces the wrong way as for a small error;
    - bones, if w_bones is above 0: angle between the directions of each bone of J14, radians, times the smaller
      confidence of its two labels. Every bone counts the same, however long it is, and so does its depth;
    - features, if upper stages of the backbone learn, times w_features: mean square by which their features differ from
      those of the frozen backbone, in units of the features' spread.

    keypoint_loss: "mse" as above, or "l1" for absolute errors, whose gradient does not vanish as errors get small.
    subsampled: body and keypoint regressor of fewer vertices for training, the same as those of `MeshRecovery`.

    Each loss is the mean over all entries of the samples that have the label (2dj: of all samples); 0 if none has it.
    """

    def __init__(
        self,
        body_model: BodyModel,
        keypoint_regressor: Tensor,
        w_vert: float = 100.0,
        w_theta: float = 50.0,
        w_2dj: float = 100.0,
        w_3dj: float = 1000.0,
        w_betas: float = 0.0,
        w_orient: float = 0.0,
        w_bones: float = 0.0,
        w_features: float = 0.0,
        stage_weights: list[float] | None = None,
        keypoint_loss: str = "mse",
        subsampled: tuple[BodyModel, Tensor] | None = None,
    ):
        super().__init__()
        self.body_model = body_model
        self.weights = {"vert": w_vert, "theta": w_theta, "2dj": w_2dj, "3dj": w_3dj}
        optional = {"betas": w_betas, "orient": w_orient, "bones": w_bones}
        self.weights |= {name: weight for name, weight in optional.items() if weight}
        self.w_features = w_features
        self.stage_weights = stage_weights
        self.gendered = None  # models.gendered.GenderedBodies, for evaluation by the gender of the labels
        self.keypoint_loss = {"mse": Tensor.square, "l1": Tensor.abs}[keypoint_loss]
        self.register_buffer("pelvis_regressor", keypoint_regressor[J17_PELVIS].float(), persistent=False)
        self.register_buffer("j14", torch.tensor(J24_TO_J14), persistent=False)
        self.register_buffer("bones", torch.tensor(J14_BONES), persistent=False)
        self.subsampled_body, regressor = subsampled or (None, None)
        pelvis = None if subsampled is None else regressor[J17_PELVIS]
        self.register_buffer("subsampled_pelvis_regressor", pelvis, persistent=False)

    def forward(
        self, outputs: dict, batch: dict[str, Tensor], whole: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """-> scalars: `loss` to be minimised, and the unweighted losses of the last stage.

        whole: the batch that `batch` is a part of. The mean over the parts, weighted by their numbers of samples, is
        then the loss of the whole batch, also where the parts have different numbers of labelled samples.
        """
        targets = self.targets(batch)
        counts = _count_labelled(targets, whole)
        if self.stage_weights is None:
            losses = self._losses(outputs, targets, counts)
            loss = self._weigh(losses)
        else:
            stages = [self._losses(stage, targets, counts) for stage in (*outputs["aux_outputs"], outputs)]
            pairs = zip(self.stage_weights, stages, strict=True)
            loss, losses = sum(weight * self._weigh(stage) for weight, stage in pairs), stages[-1]
        if "feature_distance" in outputs:
            losses["features"] = outputs["feature_distance"].mean()
            loss = loss + self.w_features * losses["features"]
        return {"loss": loss, **losses}

    @torch.no_grad()
    def targets(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The labels of a batch in the form of the estimate: `vertices` (B, V, 3) around the pelvis, `rotmat`,
        `betas` (B, 10), `keypoints_2d` (B, 14, 3) and `keypoints_3d` (B, 14, 4) with confidences, 0 where the sample
        lacks the label, `has_smpl` (B,) bool.
        """
        rotmat = rotvec_to_rotmat(batch["pose"].unflatten(-1, (24, 3)))
        vertices, _ = (self.subsampled_body if self._is_subsampled() else self.body_model)(rotmat, batch["betas"])
        keypoints_2d, keypoints_3d = (batch[key].index_select(1, self.j14) for key in ("keypoints_2d", "keypoints_3d"))
        keypoints_2d[..., 2] *= batch["has_keypoints_2d"][:, None]
        keypoints_3d[..., 3] *= batch["has_keypoints_3d"][:, None]
        return {
            "vertices": self.minus_pelvis(vertices),
            "rotmat": rotmat,
            "betas": batch["betas"],
            "keypoints_2d": keypoints_2d,
            "keypoints_3d": keypoints_3d,
            "has_smpl": batch["has_smpl"],
            "has_keypoints_3d": batch["has_keypoints_3d"],
        }

    def minus_pelvis(self, vertices: Tensor) -> Tensor:
        """vertices (B, V, 3) -> the same with their J17 pelvis at the origin."""
        regressor = self.subsampled_pelvis_regressor if self._is_subsampled() else self.pelvis_regressor
        return vertices - torch.einsum("v,bvc->bc", regressor, vertices)[:, None]

    def _is_subsampled(self) -> bool:
        return self.training and self.subsampled_body is not None

    def _losses(
        self, estimate: dict[str, Tensor], targets: dict[str, Tensor], counts: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        def mean_where(errors: Tensor, flag: str) -> Tensor:
            """errors (B, ...) -> mean over all entries of the labelled samples, 0 without any.

            By mask, not by index: selecting rows would synchronise with the GPU.
            """
            return (errors.flatten(1).mean(1) * targets[flag]).sum() / counts[flag]

        vertices = self.minus_pelvis(estimate["pred_vertices"].float())
        keypoints_3d, conf_3d = targets["keypoints_3d"].split((3, 1), dim=-1)
        keypoints_2d, conf_2d = targets["keypoints_2d"].split((2, 1), dim=-1)
        error_3d = _minus_hips(estimate["pred_keypoints_3d"].float()) - _minus_hips(keypoints_3d)
        losses = {
            "vert": mean_where((vertices - targets["vertices"]).abs(), "has_smpl"),
            "theta": mean_where((estimate["pred_rotmat"].float() - targets["rotmat"]).abs(), "has_smpl"),
            "2dj": (conf_2d * self.keypoint_loss(estimate["pred_keypoints_2d"].float() - keypoints_2d)).mean(),
            "3dj": mean_where(conf_3d * self.keypoint_loss(error_3d), "has_keypoints_3d"),
        }
        if "betas" in self.weights:
            error = (estimate["pred_betas"].float() - targets["betas"]).abs()
            losses["betas"] = mean_where(error, "has_smpl")
        if "orient" in self.weights:
            angle = rotation_angle(estimate["pred_rotmat"][:, 0].float(), targets["rotmat"][:, 0])
            losses["orient"] = mean_where(angle[:, None], "has_smpl")
        if "bones" in self.weights:
            start, end = (self.bones[:, i] for i in (0, 1))
            directions = [
                points[:, end] - points[:, start] for points in (estimate["pred_keypoints_3d"].float(), keypoints_3d)
            ]
            confidence = torch.minimum(conf_3d[:, start], conf_3d[:, end])[..., 0]
            losses["bones"] = mean_where(confidence * angle_between(*directions), "has_keypoints_3d")
        return losses

    def _weigh(self, losses: dict[str, Tensor]) -> Tensor:
        return sum(weight * losses[name] for name, weight in self.weights.items())


def rotation_angle(a: Tensor, b: Tensor) -> Tensor:
    """Rotations (..., 3, 3) -> the angle between them (...), radians, 0 to pi.

    By sine and cosine: the gradient is finite everywhere, and of length 1 between 0 and pi.
    """
    turn = a.mT @ b
    axis = torch.stack(
        (turn[..., 2, 1] - turn[..., 1, 2], turn[..., 0, 2] - turn[..., 2, 0], turn[..., 1, 0] - turn[..., 0, 1]), -1
    )
    return torch.atan2(axis.norm(dim=-1), turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Vectors (..., 3) -> the angle between them (...), radians, 0 to pi; 0 if one of them is zero."""
    sine, cosine = torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)
    undefined = (sine == 0) & (cosine == 0)  # where atan2 has no gradient
    return torch.atan2(sine, cosine + undefined)


def _minus_hips(keypoints: Tensor) -> Tensor:
    """J14 keypoints (B, 14, 3) -> the same with the middle of the hips at the origin."""
    return keypoints - (keypoints[:, R_HIP] + keypoints[:, L_HIP])[:, None] / 2


def _count_labelled(targets: dict[str, Tensor], whole: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """Labelled samples by name of the label, at least 1; of a part, the whole batch's, in proportion to its samples."""
    counts = {}
    for flag in ("has_smpl", "has_keypoints_3d"):
        labelled = targets[flag] if whole is None else whole[flag]
        counts[flag] = labelled.sum().clamp(min=1)
        if whole is not None:
            counts[flag] = counts[flag] * (len(targets[flag]) / len(labelled))
    return counts
