"""The optimiser, its weight decay, and the running average of the weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def build_optimizer(model: nn.Module, lr: float, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """Adam; with weight decay AdamW (Loshchilov and Hutter, ICLR 2019), which spares what is no matrix.

    Biases, norms, gates, tables of positions and the like have a meaning of their own at zero or none at all: only
    weights of linear and convolution layers decay.
    """
    if not weight_decay:
        return torch.optim.Adam(model.parameters(), lr=lr)
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))}
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def running_average(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of the weights, updated by `.update_parameters(model)`; `.module` is the network.

    Young averages forget faster, (1 + n) / (10 + n), so that a random start does not linger.
    """

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor):
        n = int(num_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(model, multi_avg_fn=update)
    return average.requires_grad_(False)
