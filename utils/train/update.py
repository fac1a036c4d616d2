"""One optimiser step: scaled gradients, clipping, and nonfinite steps skipped on the device.

A skipped step changes nothing: no weight, no average, no statistics of batch norm. Nothing here waits for the device:
torch.amp.GradScaler would read a number in every step.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.train.norm_statistics import NormStatistics
from utils.train.optimizer import RunningAverage

START_SCALE = 2.0**16
STEPS_TO_GROW = 2000


class Outcome(NamedTuple):
    """Outcome of a step: bools and a number () on the device, equal on all processes."""

    applied: Tensor  # the weights have changed
    norm: Tensor  # of the gradient, before clipping
    nonfinite: Tensor  # skipped, and not because of an overflow that a smaller loss scale avoids


class Update:
    """Adds up gradients, clips them and applies the optimiser's step, unless a loss or the gradient is nonfinite.

    model: the network, not its data-parallel wrapper. optimizer: fused (build_optimizer), so that a flag on the device
    can skip the step. average: of the weights, or None. clip_grad: largest norm of the gradient; 0: no limit. scaled:
    losses are scaled up while the gradient stays finite, so that small gradients do not vanish in float16 (Micikevicius
    et al., ICLR 2018).
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: RunningAverage | None = None,
        clip_grad: float = 0.0,
        scaled: bool = False,
    ):
        self.optimizer, self.average = optimizer, average
        self.clip_grad, self.scaled = clip_grad, scaled
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.statistics = NormStatistics(model)
        device = self.parameters[0].device
        self.scale = torch.full((), START_SCALE if scaled else 1.0, device=device)
        self.steps_since = torch.zeros((), device=device)  # since the last change of the scale or overflow

    def backward(self, losses: dict[str, Tensor], share: float = 1.0):
        """Add the gradient of `loss`, weighted by its share of the step.

        If any loss is nonfinite, the whole gradient becomes nonfinite, and so does its mean over all processes.
        """
        finite = torch.stack([loss.detach() for loss in losses.values()]).isfinite().all()
        losses["loss"].backward(torch.where(finite, self.scale * share, torch.nan))

    def step(self) -> Outcome:
        """Apply the step and reset the gradient."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients) / self.scale
        applied = norm.isfinite()
        self.optimizer.found_inf = (~applied).float()
        self.optimizer.grad_scale = None
        if self.scaled or self.clip_grad:
            self.optimizer.grad_scale = self.scale * (norm / (self.clip_grad or torch.inf)).clamp(min=1)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.statistics.settle(applied)
        if self.average is not None:
            self.average.update_parameters(applied)
        nonfinite = ~applied & (self.scale <= 1)
        if self.scaled:
            self._rescale(applied)
        return Outcome(applied, norm, nonfinite)

    def _rescale(self, applied: Tensor):
        """Halve the scale after an overflow, double it after many steps without."""
        self.steps_since = torch.where(applied, self.steps_since + 1, 0.0)
        grow = self.steps_since >= STEPS_TO_GROW
        self.steps_since = torch.where(grow, 0.0, self.steps_since)
        self.scale = (self.scale * torch.where(applied, 1.0 + grow, 0.5)).clamp(min=1)

    def state_dict(self) -> dict:
        """The part of a checkpoint that holds optimiser, loss scale and averaged weights."""
        state = {"optimizer": self.optimizer.state_dict(), "loss_scale": [self.scale.item(), self.steps_since.item()]}
        if self.average is not None:
            state |= {"ema": self.average.module.state_dict(), "num_averaged": int(self.average.n_averaged)}
        return state

    def load_state_dict(self, state: dict):
        """Restore from a checkpoint, also one of an optimiser that was not fused; the network is restored already.

        Weight decay and relative learning rates are those of this run's flags.
        """
        self.statistics.save()
        optimizer = state["optimizer"]
        own = [
            {name: group[name] for name in ("weight_decay", "lr_scale") if name in group}
            | {"fused": True, "foreach": None}
            for group in self.optimizer.param_groups
        ]
        for group in optimizer["param_groups"]:
            group.pop("lr_scale", None)
        groups = [group | flags for group, flags in zip(optimizer["param_groups"], own, strict=True)]
        self.optimizer.load_state_dict(optimizer | {"param_groups": groups})
        if self.scaled:
            scale, steps_since = state.get("loss_scale", (START_SCALE, 0.0))
            self.scale.fill_(scale), self.steps_since.fill_(steps_since)
        if self.average is not None:
            self.average.module.load_state_dict(state["ema"])
            self.average.n_averaged.fill_(state["num_averaged"])
