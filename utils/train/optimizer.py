"""The optimiser, its weight decay and learning rate, and the running average of the weights."""

import copy
import math

import torch
from torch import Tensor, nn


def build_optimizer(
    model: nn.Module, lr: float, weight_decay: float = 0.0, backbone_lr: float | None = None
) -> torch.optim.Optimizer:
    """Adam; with weight decay, AdamW (Loshchilov and Hutter, ICLR 2019).

    Only weights of linear and convolution layers decay: biases, norms, gates and position tables do not. The optimiser
    is fused, and can skip a step by a flag on the device (update.py). backbone_lr: the rate of `model.backbone`
    (default: lr), whose weights then do not decay either, because they do not start near zero; `lr_scale` of its group
    is the ratio to lr, see `set_lr`.
    """
    if not weight_decay and backbone_lr is None:
        return torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))}
    backbone = set() if backbone_lr is None else {id(p) for p in model.backbone.parameters()}
    parameters = [p for p in model.parameters() if id(p) not in backbone]
    groups = [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    if backbone:
        rate = {"lr": backbone_lr, "lr_scale": backbone_lr / lr}
        groups.append({"params": list(model.backbone.parameters()), "weight_decay": 0.0, **rate})
    return torch.optim.AdamW(groups, lr=lr, fused=True)


class RunningAverage(nn.Module):
    """Exponential moving average of a network's weights.

    `module` is the averaged network, without gradients; `n_averaged` counts the steps. The decay of step n is
    min(decay, (1 + n) / (10 + n)), so that the random start is forgotten soon.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__()
        self.module, self.decay = copy.deepcopy(model).requires_grad_(False), decay
        # listed once: collecting hundreds of tensors by name takes longer than averaging them
        self._weights = [*self.module.parameters()], [*model.parameters()]
        self._copied = _saved_buffers(self.module), _saved_buffers(model)
        device = next(model.parameters()).device
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long, device=device))

    @torch.no_grad()
    def update_parameters(self, applied: Tensor | None = None):
        """Average in the weights of the network after a step; applied () bool on its device: False skips the step.

        Buffers, such as the statistics of batch norm, are copied, not averaged.
        """
        n = self.n_averaged.float()
        keep = ((1 + n) / (10 + n)).clamp(max=self.decay) * (n > 0)
        share = 1 - keep if applied is None else (1 - keep) * applied
        averaged, current = self._weights
        torch._foreach_lerp_(averaged, current, [share] * len(current))
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)
        self.n_averaged += 1 if applied is None else applied


def _saved_buffers(model: nn.Module) -> list[Tensor]:
    """The buffers that a checkpoint holds."""
    return [value for value in model.state_dict(keep_vars=True).values() if not isinstance(value, nn.Parameter)]


def lr_factor(step: int, total_steps: int, warmup_steps: int = 0, schedule: str = "constant") -> float:
    """Factor on the base learning rate at a step (the first is 0): linear warm-up, then constant or cosine to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return (1 + math.cos(math.pi * min(done, 1.0))) / 2


def set_lr(optimizer: torch.optim.Optimizer, lr: float):
    """Set the learning rate of every parameter group: lr, times its `lr_scale` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
