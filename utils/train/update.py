"""From a loss to new weights, the host never waiting for the device: that leaves out by itself what is not finite."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.train.optimizer import RunningAverage

START_SCALE = 2.0**16
STEPS_TO_GROW = 2000


class Outcome(NamedTuple):
    """Of a step, bools on the device, the same on every process."""

    taken: Tensor  # whether the weights have changed
    odd: Tensor  # whether they have not for a reason that will not go away: no mere overflow of scaled-up gradients


class Update:
    """Adds up gradients, clips them and takes the optimiser's step, unless a loss or the gradient is not finite.

    optimizer: with fused kernels (build_optimizer), which can leave everything as it is on a word of
    the device. average: of the weights, or None. clip_grad: largest norm of the gradient, 0: any. scaled: losses are
    scaled up as far as the gradient stays finite, so that small gradients do not vanish in float16 (Micikevicius et
    al., ICLR 2018).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        average: RunningAverage | None = None,
        clip_grad: float = 0.0,
        scaled: bool = False,
    ):
        self.optimizer, self.average = optimizer, average
        self.clip_grad, self.scaled = clip_grad, scaled
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        device = self.parameters[0].device
        self.scale = torch.full((), START_SCALE if scaled else 1.0, device=device)
        self.steps_since = torch.zeros((), device=device)  # the scale has changed or a gradient overflowed

    def backward(self, losses: dict[str, Tensor], share: float = 1.0):
        """Add the gradient of `loss`, counted as this share of the step's.

        Where any of the losses is not finite the whole gradient becomes so, and by its mean that of all processes.
        """
        finite = torch.stack([loss.detach() for loss in losses.values()]).isfinite().all()
        losses["loss"].backward(torch.where(finite, self.scale * share, torch.nan))

    def step(self, model: nn.Module) -> Outcome:
        """Take the step, and forget the gradient."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients) / self.scale
        taken = norm.isfinite()
        self.optimizer.found_inf = (~taken).float()
        self.optimizer.grad_scale = None
        if self.scaled or self.clip_grad:
            self.optimizer.grad_scale = self.scale * (norm / (self.clip_grad or torch.inf)).clamp(min=1)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(model, taken)
        odd = ~taken & (self.scale <= 1)
        if self.scaled:
            self._rescale(taken)
        return Outcome(taken, odd)

    def _rescale(self, taken: Tensor):
        """Halve the scale after an overflow, double it after many steps without."""
        self.steps_since = torch.where(taken, self.steps_since + 1, 0.0)
        grow = self.steps_since >= STEPS_TO_GROW
        self.steps_since = torch.where(grow, 0.0, self.steps_since)
        self.scale = (self.scale * torch.where(taken, 1.0 + grow, 0.5)).clamp(min=1)

    def state_dict(self) -> dict:
        """What a checkpoint keeps of it."""
        state = {"optimizer": self.optimizer.state_dict(), "loss_scale": [self.scale.item(), self.steps_since.item()]}
        if self.average is not None:
            state |= {"ema": self.average.module.state_dict(), "num_averaged": int(self.average.n_averaged)}
        return state

    def load_state_dict(self, state: dict):
        """Go on from a checkpoint, be it one of an optimiser without fused kernels."""
        optimizer = state["optimizer"]
        groups = [group | {"fused": True, "foreach": None} for group in optimizer["param_groups"]]
        self.optimizer.load_state_dict(optimizer | {"param_groups": groups})
        if self.scaled:
            scale, steps_since = state.get("loss_scale", (START_SCALE, 0.0))
            self.scale.fill_(scale), self.steps_since.fill_(steps_since)
        if self.average is not None:
            self.average.module.load_state_dict(state["ema"])
            self.average.n_averaged.fill_(state["num_averaged"])
