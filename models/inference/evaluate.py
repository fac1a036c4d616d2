"""Evaluation of a network over a data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.criterion import Criterion
from models.features import network_input
from models.inference.prepare import prepare_for_inference, refine
from utils.errors import UserError
from utils.evaluation.details import explain
from utils.evaluation.predictions import Predictions
from utils.metrics import mpjpe, mpvpe, pa_mpjpe, summarize
from utils.process import is_main
from utils.skeleton import J14, J14_HIPS, SMPL_HIPS, SMPL_JOINTS
from utils.train.bad_row_log import BadRowLog
from utils.train.batches import to_device
from utils.train.distributed import any_rank, broadcast_buffers, gather_states, unwrap
from utils.train.logger import progress


def inference_network(
    model: nn.Module,
    device: torch.device,
    precision: str = "fp32",
    fit_keypoints: bool = False,
    flip_test: bool = False,
    quarter_turns: bool = False,
    tight_crop: bool = False,
) -> Callable:
    """The network for evaluation, with fused layers. All processes must call this.

    precision: fp32, bf16 or fp16. fit_keypoints, flip_test, quarter_turns, tight_crop: see
    models/inference/keypoint_fit.py, flip_average.py, quarter_turns.py and tight_crop.py.
    """
    model = unwrap(model).eval()  # processes evaluate different numbers of samples: no communication until the end
    broadcast_buffers(model)
    network = prepare_for_inference(model, device, precision, record=False)
    return refine(network, fit_keypoints, flip_test, quarter_turns, tight_crop)


def describe_refinements(fit_keypoints: bool, flip_test: bool, quarter_turns: bool, tight_crop: bool) -> dict[str, str]:
    """What the chosen refinements of `inference_network` do, by name, for the protocol of an evaluation."""
    described = {
        "keypoint fit": (fit_keypoints, "estimates are fitted to MoveNet's 2D keypoints"),
        "flip test": (flip_test, "mean of the estimates for each image and its mirror image"),
        "quarter turns": (quarter_turns, "people who are not upright are estimated again in a turned image"),
        "tight crop": (tight_crop, "the middle of each crop, enlarged"),
    }
    return {name: text for name, (chosen, text) in described.items() if chosen}


def describe_counting(protocol: str, criterion: Criterion) -> dict[str, str]:
    """Whose body poses the labels, and which joints count, for the protocol of an evaluation."""
    described = {"gender": "neutral body for estimates and labels"}
    if criterion.gendered is not None:
        body = "male or female body where it is given"
        described = {"gender": f"neutral body for estimates; labels posed with the {body}, J14 of that mesh"}
    if protocol == "smpler":
        described["counting"] = "as SMPLer: joints of confidence 0 too"
    return described


def evaluate(
    network: Callable,
    criterion: Criterion,
    loader: DataLoader,
    device: torch.device,
    bad_rows: BadRowLog,
    interrupted: Callable[[], bool] = lambda: False,
    protocol: str = "standard",
) -> dict[str, float | int | None] | None:
    """Mean errors over the data set (utils.metrics.summarize); see `predict`."""
    found = predict(network, criterion, loader, device, bad_rows, interrupted, protocol)
    return None if found is None else summarize_predictions(found)


def report_on(found: Predictions, path: Path | None, pattern: str | None, data_mode: str | None) -> dict:
    """Mean errors, on rank 0 with details (`explain`); rank 0 writes the file `path` if given."""
    report = summarize_predictions(found)
    if not is_main():
        return report
    if path:
        found.save(path)
    return report | explain(found, pattern, data_mode)


def summarize_predictions(found: Predictions) -> dict[str, float | int | None]:
    """Mean errors (utils.metrics.summarize)."""
    columns = found.index, found.mpjpe, found.pa_mpjpe, found.mpvpe
    return summarize(torch.stack([torch.from_numpy(column).double() for column in columns], dim=1))


def _to_pose(rotmat: Tensor) -> Tensor:
    """rotmat (B, 24, 3, 3) -> axis-angle vectors (B, 72) float64. By scipy: importing roma takes three seconds."""
    vectors = Rotation.from_matrix(rotmat.double().cpu().numpy().reshape(-1, 3, 3)).as_rotvec()
    return torch.from_numpy(vectors).to(rotmat.device).reshape(len(rotmat), -1)


@torch.inference_mode()
def predict(
    network: Callable,
    criterion: Criterion,
    loader: DataLoader,
    device: torch.device,
    bad_rows: BadRowLog,
    interrupted: Callable[[], bool] = lambda: False,
    protocol: str = "standard",
) -> Predictions | None:
    """Estimates and errors of the data set, by row; each sample once on any number of processes, on all of them.

    protocol: see `sample_errors`. None if any process was interrupted.
    """
    criterion.eval()
    keys, parts = [], []
    for batch in bad_rows.filter(progress(loader, "evaluate"), "the evaluation set", len(loader.sampler)):
        if interrupted():
            break
        batch = to_device(batch, device)
        outputs = network(network_input(batch))
        if not outputs["pred_vertices"].isfinite().all():
            raise UserError(
                "the network returns nonfinite numbers: use an earlier checkpoint, or train with lower --lr"
            )
        part = sample_errors(outputs, batch, criterion, protocol) | {
            "index": batch["index"],
            "pose": _to_pose(outputs["pred_rotmat"]),
            "betas": outputs["pred_betas"],
            "camera": outputs["pred_cam"],
        }
        keys += batch.get("image_id", [str(index) for index in batch["index"].tolist()])  # cached features have none
        parts.append({name: value.cpu() if name == "index" else value.double().cpu() for name, value in part.items()})
    if any_rank(interrupted())[0]:
        return None
    own = {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}
    states = [state for state in gather_states({"key": keys, **own}) if state["key"]]
    if not states:
        raise UserError(
            "no sample of the evaluation set could be read; find out why with python scripts/check_dataset.py"
        )
    columns = {name: torch.cat([state[name] for state in states]) for name in states[0] if name != "key"}
    order = columns["index"].argsort()
    arrays = {name: column[order].numpy() for name, column in columns.items()}
    keys = np.array([key for state in states for key in state["key"]], dtype=str)[order.numpy()]
    names = J14 if arrays["joints"].shape[1] == len(J14) else SMPL_JOINTS
    return Predictions(key=keys, joint_names=np.array(names), **arrays)


def sample_errors(
    outputs: dict[str, Tensor], batch: dict, criterion: Criterion, protocol: str = "standard"
) -> dict[str, Tensor]:
    """Errors of a batch of estimates in metres, and the joints that are compared; columns of `Predictions`.

    protocol: "smpler" counts joints whose label has confidence 0 too, as SMPLer does; in "standard" they are left out.
    """
    targets = criterion.targets(batch)
    if criterion.gendered is not None and "gender" in batch:
        targets |= criterion.gendered.labels(batch, targets, criterion.minus_pelvis)
    names, hips = J14, J14_HIPS
    if "smpl_joints" in batch:  # benchmarks by the joints of the body
        names, hips = SMPL_JOINTS, SMPL_HIPS
        pred, label = outputs["pred_joints"], batch["smpl_joints"]
        valid = valid_aligned = torch.ones_like(label[..., 0])
        confidence = torch.full_like(label[..., 0], torch.nan)
    else:
        pred, (label, valid) = outputs["pred_keypoints_3d"], targets["keypoints_3d"].split((3, 1), dim=-1)
        valid = valid_aligned = valid[..., 0] > 0
        confidence = targets["keypoints_2d"][..., 2]
        confidence = torch.where(batch["has_keypoints_2d"][:, None], confidence, torch.nan)
        if protocol == "smpler":
            valid = targets["has_keypoints_3d"][:, None].expand_as(valid)
            valid_aligned = torch.ones_like(valid)
    vertex_error = mpvpe(criterion.minus_pelvis(outputs["pred_vertices"]), targets["vertices"])
    vertex_error[~targets["has_smpl"]] = torch.nan
    pred_joints, label_joints = (
        points.double() - points[:, hips].double().mean(1, keepdim=True) for points in (pred, label)
    )
    mean_error = mpjpe(pred, label, valid, names, hips)
    unlabelled = ~valid.bool() | mean_error.isnan()[:, None]
    return {
        "mpjpe": mean_error,
        "pa_mpjpe": pa_mpjpe(pred, label, valid_aligned),
        "mpvpe": vertex_error,
        "joint_errors": (pred_joints - label_joints).norm(dim=-1).masked_fill(unlabelled, torch.nan),
        "confidence": confidence,
        "joints": pred_joints,
        "label_joints": label_joints.masked_fill(unlabelled[..., None], torch.nan),
    }
