"""Learning rates over a run."""

import math

import torch


def lr_factor(step: int, total_steps: int, warmup_steps: int = 0, schedule: str = "constant") -> float:
    """Share of the base rate at a step (0 is the first): linear warm-up, then constant or a half cosine down to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return (1 + math.cos(math.pi * min(done, 1.0))) / 2


def set_lr(optimizer: torch.optim.Optimizer, lr: float):
    """The same rate for every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
