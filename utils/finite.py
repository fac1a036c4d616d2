"""Notice when training leaves the finite numbers: skip the step, write down what caused it, stop when it goes on."""

import json
from pathlib import Path

import torch
from torch import Tensor

from utils.distributed import rank
from utils.errors import UserError
from utils.logger import to_json


def all_finite(*values: Tensor) -> bool:
    """Whether every number of these tensors is finite. Waits for the device."""
    return bool(torch.stack([value.detach().isfinite().all() for value in values]).all())


class FiniteWatch:
    """Counts steps in a row whose loss or gradient is not finite, and lists the images behind them.

    folder: where `not_finite_rankR.jsonl` appears, one line per such step with its losses and `image_id`s; limit: steps
    in a row that end the run.
    """

    def __init__(self, folder: Path, limit: int):
        self.path = folder / f"not_finite_rank{rank()}.jsonl"
        self.limit, self.in_a_row = limit, 0

    def note(self, finite: bool, step: int, losses: dict[str, Tensor], batch: dict):
        """Tell how a step went on any rank. UserError after `limit` bad ones in a row."""
        self.in_a_row = 0 if finite else self.in_a_row + 1
        if finite:
            return
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        images = batch.get("image_id") or batch["index"].tolist()
        record = {"step": step, "own_loss_finite": all_finite(*losses.values()), "losses": values, "images": images}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(to_json(record) + "\n")
        except OSError as error:
            print(f"cannot write {self.path} ({error.strerror}): {json.dumps(images)}", flush=True)
        if self.in_a_row >= self.limit:
            raise UserError(
                f"loss or gradient not finite in {self.limit} steps in a row, up to step {step}: see the images in "
                f"{self.path}; go on from the last checkpoint with lower --lr, --clip_grad 1 or --precision fp32"
            )
