"""Log of nonfinite training steps; too many in a row end the run.

The device decides whether a step is finite and skips it (update.py). The host reads the flag one step later, so that it
never waits for the device.
"""

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from utils.errors import UserError
from utils.process import rank
from utils.train.logger import to_json


def fetch(values: Tensor) -> Callable[[], list[float]]:
    """Start copying a few numbers to the host -> a function that waits for them and returns them."""
    if values.device.type != "cuda":
        return values.tolist
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def read() -> list[float]:
        arrived.synchronize()
        return host.tolist()

    return read


class NonfiniteLog:
    """Counts nonfinite steps in a row and lists their images.

    folder: for `not_finite_rankR.jsonl`, one line per such step with its losses and `image_id`s. limit: number of steps
    in a row that ends the run.
    """

    def __init__(self, folder: Path, limit: int):
        self.path = folder / f"not_finite_rank{rank()}.jsonl"
        self.limit, self.in_a_row = limit, 0
        self.pending: deque[tuple[Callable[[], list[float]], int, tuple[str, ...], dict]] = deque()

    def add(self, nonfinite: Tensor, step: int, losses: dict[str, Tensor], batch: dict):
        """Add a step; nonfinite () bool on the device. UserError after `limit` nonfinite steps in a row.

        All ranks must call this. A step is judged at the next call.
        """
        values = torch.stack([nonfinite.float(), *(loss.detach().float() for loss in losses.values())])
        who = {name: batch[name] for name in ("image_id", "index") if name in batch}
        self.pending.append((fetch(values), step, tuple(losses), who))
        if len(self.pending) > 1:
            self._judge(*self.pending.popleft())

    def finish(self):
        """Judge the steps that are left."""
        while self.pending:
            self._judge(*self.pending.popleft())

    def _judge(self, read: Callable[[], list[float]], step: int, names: tuple[str, ...], who: dict):
        nonfinite, *values = read()
        self.in_a_row = self.in_a_row + 1 if nonfinite else 0
        if not nonfinite:
            return
        images = who.get("image_id") or who["index"].tolist()
        finite = all(abs(value) < float("inf") for value in values)
        record = {"step": step, "own_loss_finite": finite, "losses": dict(zip(names, values, strict=True))}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(to_json(record | {"images": images}) + "\n")
        except OSError as error:
            print(f"cannot write {self.path} ({error.strerror}): {json.dumps(images)}", flush=True)
        if self.in_a_row >= self.limit:
            raise UserError(
                f"loss or gradient nonfinite in {self.limit} steps in a row, up to step {step}: see the images in "
                f"{self.path}; resume from the last checkpoint with lower --lr, --clip_grad 1 or --precision fp32"
            )
