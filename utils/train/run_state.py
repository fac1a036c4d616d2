"""The state of a training run: everything its next step depends on, so that a resumed run is bit-identical."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from utils.checkpoint import not_finite
from utils.errors import UserError
from utils.paths import ROOT
from utils.process import print_once, rank, world_size
from utils.train.distributed import gather_states, mean_over_ranks, seed_everything
from utils.train.update import Outcome, Update

# options that do not change the numbers of training
FREE = {
    *("auto_load", "config", "data_root", "eval_epochs", "exp_name", "fit_keypoints", "flip_test", "group_by"),
    *("keep_last", "limit_val", "load_checkpoint", "log_root", "logger", "max_not_finite", "metrics_json"),
    *("num_workers", "preset", "profile", "protocol", "quarter_turns", "save_epochs", "save_predictions", "save_steps"),
    *("summary_steps", "tight_crop", "val_batch_size", "val_yaml"),
}


@dataclass
class RunState:
    """A run after `step` of the `num_steps` steps of epoch `epoch`; a step uses `batch_size` rows per process.

    totals: sums of this process's losses over the applied steps of the epoch; the last entry is their number.
    """

    model: nn.Module
    update: Update
    num_steps: int
    batch_size: int
    epoch: int = 0
    step: int = 0
    totals: Tensor | None = None
    loss_names: tuple[str, ...] = ()
    rng: dict | None = None  # of the checkpoint, until it is restored

    @property
    def global_step(self) -> int:
        """Steps since the start of the run."""
        return self.epoch * self.num_steps + self.step

    @property
    def epoch_is_over(self) -> bool:
        """Whether the epoch's last step is done."""
        return self.step >= self.num_steps

    @property
    def epochs_done(self) -> int:
        """Epochs whose last step is done."""
        return self.epoch + self.epoch_is_over

    @property
    def place(self) -> str:
        """Position in the run, for messages."""
        return f"after step {self.step} of {self.num_steps} of epoch {self.epoch}"

    def next_epoch(self):
        """Move to the start of the next epoch."""
        self.epoch, self.step, self.totals, self.rng = self.epoch + 1, 0, None, None

    def prepare_random(self, seed: int):
        """Seed the generators for this epoch, or restore their state from the checkpoint."""
        seed_everything(seed, self.epoch, rank(), *([self.step] if self.step else []))
        if self.rng:
            _set_rng(self.rng)
            self.rng = None

    def add_losses(self, losses: dict[str, Tensor], outcome: Outcome):
        """Add the losses of a step if it was applied. Stays on the device: reading a value would make the GPU wait."""
        self.loss_names = tuple(losses)
        values = torch.stack([loss.detach() for loss in losses.values()])
        values = torch.where(outcome.applied, torch.cat((values, torch.ones_like(values[:1]))), 0.0)
        self.totals = values if self.totals is None else self.totals + values

    def mean_losses(self) -> dict[str, float]:
        """Each loss: mean over the applied steps of this epoch and over processes."""
        if self.totals is None:
            return {}
        means = mean_over_ranks(self.totals[:-1] / self.totals[-1])
        return dict(zip(self.loss_names, means.tolist(), strict=True))

    def content(self, config: dict, options: dict) -> dict:
        """A checkpoint (utils/checkpoint.py), equal on all processes; all of them must call this."""
        own = {"rng": _get_rng(), "totals": None if self.totals is None else self.totals.cpu()}
        return {
            "model": self.model.state_dict(),
            "config": config,
            **self.update.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "num_steps": self.num_steps,
            "rows_per_step": self.batch_size * world_size(),
            "loss_names": list(self.loss_names),
            "ranks": gather_states(own),
            "options": {name: _plain(value) for name, value in options.items()},
            "code_version": code_version(),
        }

    def restore(self, content: dict, path: Path, options: dict, device: torch.device):
        """Restore a checkpoint and print what differs from its run. UserError if it does not fit the flags."""
        try:
            self.model.load_state_dict(content["model"])
            self.update.load_state_dict(content)
            self.epoch, self.step = content["epoch"], content["step"]
            self.loss_names = tuple(content["loss_names"])
            differences = _differences(content["options"], {name: _plain(value) for name, value in options.items()})
            if content["code_version"] != code_version():
                differences.append("the code")
            ranks = content["ranks"]
            if (content["num_steps"], content["rows_per_step"]) != (self.num_steps, self.batch_size * world_size()):
                self._find_place(content)
                differences.append("the size of the data set, of a batch, or the number of processes")
            elif len(ranks) == world_size():
                self.rng, totals = ranks[rank()]["rng"], ranks[rank()]["totals"]
                self.totals = None if totals is None else totals.to(device)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise UserError(
                f"{path} cannot be resumed with these flags ({error}): use --load_checkpoint to start from its weights"
            ) from error
        if differences:
            print_once(f"resumed, but not bit-identical, because these differ: {'; '.join(differences)}")

    def _find_place(self, content: dict):
        """Find the step for the same number of rows: no row is used twice, less than one step is skipped."""
        rows = content["step"] * content["rows_per_step"]
        over = content["step"] >= content["num_steps"]
        self.step = self.num_steps if over else min(-(-rows // (self.batch_size * world_size())), self.num_steps)


def check_resumable(content: dict):
    """ValueError if a checkpoint lacks what resuming needs, or has values that no run writes."""
    for name in ("epoch", "step", "num_steps", "rows_per_step"):
        if type(content.get(name)) is not int or not 0 <= content[name] < 2**31:
            raise ValueError(f"its {name} is {content.get(name)!r:.50}")
    if content["step"] > content["num_steps"] or not isinstance(content.get("loss_names"), list):
        raise ValueError("its position in the epoch is damaged")
    if not content["model"] or content.get("ema", content["model"]).keys() != content["model"].keys():
        raise ValueError("it lacks weights, or averages of weights")
    if damaged := not_finite(content["model"]) + not_finite(content.get("ema", {})):
        raise ValueError(f"values of {damaged[0]} are not finite")
    if not _is_optimizer_state(content.get("optimizer")) or not isinstance(content.get("options"), dict):
        raise ValueError("its state of the optimiser or its options are damaged")
    numbers = [*content.get("loss_scale", ()), content.get("num_averaged", 0)]
    if not all(type(number) in (int, float) and 0 <= number < 2**63 for number in numbers):
        raise ValueError("its loss scale or its number of averaged steps is damaged")
    if not isinstance(content.get("ranks"), list) or not content["ranks"]:
        raise ValueError("it has no state of the processes")
    for own in content["ranks"]:
        totals = own.get("totals") if isinstance(own, dict) else 0
        if totals is not None and np.shape(totals) != (len(content["loss_names"]) + 1,):
            raise ValueError("its sums of losses are damaged")
        try:
            state = own["rng"]
            torch.Generator().set_state(state["torch"])
            np.random.RandomState().set_state(_numpy_state(state))
            random.Random().setstate(_python_state(state))
        except Exception as error:  # a damaged state fails in many ways
            raise ValueError(f"its random number state is damaged ({type(error).__name__})") from error


def _is_optimizer_state(state) -> bool:
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        return False
    groups, moments = state.get("param_groups"), state["state"].values()
    return (
        isinstance(groups, list)
        and all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)
        and all(isinstance(own, dict) and all(isinstance(value, Tensor) for value in own.values()) for own in moments)
    )


def _differences(then: dict, now: dict) -> list[str]:
    """Changed options that affect the numbers: "--lr 0.0002 (was 0.0001)"."""
    free = FREE | ({"num_epochs"} if now.get("lr_schedule") == "constant" else set())
    changed = [name for name in sorted({*then, *now} - free) if then.get(name) != now.get(name)]
    return [f"--{name} {now.get(name)} (was {then.get(name)})" for name in changed]


def _plain(value):
    """An option as a value that a checkpoint can hold."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _get_rng() -> dict:
    """State of all random generators of this process."""
    name, keys, *rest = np.random.get_state()
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *map(_number, rest)],
        "python": [version, list(numbers), gauss],
    }


def _set_rng(state: dict):
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    np.random.set_state(_numpy_state(state))
    random.setstate(_python_state(state))


def _numpy_state(state: dict) -> tuple:
    name, keys, *rest = state["numpy"]
    return (name, keys.numpy().astype(np.uint32), *rest)


def _python_state(state: dict) -> tuple:
    version, numbers, gauss = state["python"]
    return version, tuple(numbers), gauss


def _number(value) -> int | float:
    return value.item() if isinstance(value, np.generic) else value


def code_version() -> str:
    """First 12 digits of a SHA-256 over main.py, models, datasets and utils; needs no git."""
    digest = hashlib.sha256()
    folders = (ROOT / name for name in ("models", "datasets", "utils"))
    for path in sorted([ROOT / "main.py", *(path for folder in folders for path in folder.rglob("*.py"))]):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
