"""Notice when training leaves the finite numbers: write down what caused it, stop when it goes on.

Whether a step was finite is known on the device, which leaves it out by itself (update.py). Here the host is
told, a step later, so that it never waits for the device to catch up.
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
    """Start bringing a few numbers to the host -> what gives them, and waits for them if called too early."""
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


class FiniteWatch:
    """Counts steps in a row whose loss or gradient is not finite, and lists the images behind them.

    folder: where `not_finite_rankR.jsonl` appears, one line per such step with its losses and `image_id`s; limit: steps
    in a row that end the run.
    """

    def __init__(self, folder: Path, limit: int):
        self.path = folder / f"not_finite_rank{rank()}.jsonl"
        self.limit, self.in_a_row = limit, 0
        self.pending: deque[tuple[Callable[[], list[float]], int, tuple[str, ...], dict]] = deque()

    def note(self, odd: Tensor, step: int, losses: dict[str, Tensor], batch: dict):
        """Tell how a step went on any rank, odd () bool on the device. UserError after `limit` bad ones in a row.

        All ranks must call this, and hear of a step at the next one's.
        """
        values = torch.stack([odd.float(), *(loss.detach().float() for loss in losses.values())])
        who = {name: batch[name] for name in ("image_id", "index") if name in batch}
        self.pending.append((fetch(values), step, tuple(losses), who))
        if len(self.pending) > 1:
            self._judge(*self.pending.popleft())

    def finish(self):
        """Hear of the last steps, too."""
        while self.pending:
            self._judge(*self.pending.popleft())

    def _judge(self, read: Callable[[], list[float]], step: int, names: tuple[str, ...], who: dict):
        odd, *values = read()
        self.in_a_row = self.in_a_row + 1 if odd else 0
        if not odd:
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
                f"loss or gradient not finite in {self.limit} steps in a row, up to step {step}: see the images in "
                f"{self.path}; go on from the last checkpoint with lower --lr, --clip_grad 1 or --precision fp32"
            )
