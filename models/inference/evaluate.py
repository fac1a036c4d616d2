"""Evaluation of a network over a data set."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader

from models.criterion import Criterion
from models.features import network_input
from models.inference.prepare import prepare_for_inference, refine
from utils.errors import UserError
from utils.metrics import mpjpe, mpvpe, pa_mpjpe, summarize
from utils.skeleton import SMPL_HIPS, SMPL_JOINTS
from utils.train.bad_row_log import BadRowLog
from utils.train.batches import to_device
from utils.train.distributed import any_rank, broadcast_buffers, gather_rows, unwrap
from utils.train.logger import progress


def inference_network(
    model: nn.Module,
    device: torch.device,
    precision: str = "fp32",
    fit_keypoints: bool = False,
    flip_test: bool = False,
    quarter_turns: bool = False,
) -> Callable:
    """The network for evaluation, with fused layers. All processes must call this.

    precision: fp32, bf16 or fp16. fit_keypoints, flip_test, quarter_turns: see models/inference/keypoint_fit.py,
    flip_average.py and quarter_turns.py.
    """
    model = unwrap(model).eval()  # processes evaluate different numbers of samples: no communication until the end
    broadcast_buffers(model)
    network = prepare_for_inference(model, device, precision, record=False)
    return refine(network, fit_keypoints=fit_keypoints, flip_test=flip_test, quarter_turns=quarter_turns)


def describe_refinements(fit_keypoints: bool, flip_test: bool, quarter_turns: bool) -> dict[str, str]:
    """What the chosen refinements of `inference_network` do, by name, for the protocol of an evaluation."""
    described = {
        "keypoint fit": (fit_keypoints, "estimates are fitted to MoveNet's 2D keypoints"),
        "flip test": (flip_test, "mean of the estimates for each image and its mirror image"),
        "quarter turns": (quarter_turns, "each image at the turn with the highest confidence of MoveNet's keypoints"),
    }
    return {name: text for name, (chosen, text) in described.items() if chosen}


@torch.inference_mode()
def evaluate(
    network: Callable,
    criterion: Criterion,
    loader: DataLoader,
    device: torch.device,
    bad_rows: BadRowLog,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, float | int | None] | None:
    """Mean errors over the data set (utils.metrics.summarize); each sample counts once on any number of processes.

    None if any process was interrupted.
    """
    criterion.eval()
    rows = [torch.empty(0, 4, dtype=torch.float64, device=device)]
    for batch in bad_rows.filter(progress(loader, "evaluate"), "the evaluation set", len(loader.sampler)):
        if interrupted():
            break
        batch = to_device(batch, device)
        outputs = network(network_input(batch))
        if not outputs["pred_vertices"].isfinite().all():
            raise UserError(
                "the network returns nonfinite numbers: use an earlier checkpoint, or train with lower --lr"
            )
        targets = criterion.targets(batch)
        if "smpl_joints" in batch:  # benchmarks by the joints of the body
            compared = outputs["pred_joints"], batch["smpl_joints"], torch.ones_like(batch["smpl_joints"][..., 0])
            joint_error = mpjpe(*compared, names=SMPL_JOINTS, hips=SMPL_HIPS)
        else:
            keypoints, confidence = targets["keypoints_3d"].split((3, 1), dim=-1)
            compared = outputs["pred_keypoints_3d"], keypoints, confidence[..., 0] > 0
            joint_error = mpjpe(*compared)
        vertex_error = mpvpe(criterion.minus_pelvis(outputs["pred_vertices"]), targets["vertices"])
        vertex_error[~targets["has_smpl"]] = torch.nan
        rows.append(torch.stack((batch["index"].double(), joint_error, pa_mpjpe(*compared), vertex_error), dim=1))
    if any_rank(interrupted())[0]:
        return None
    return summarize(gather_rows(torch.cat(rows)))
