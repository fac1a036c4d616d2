"""The optimiser, its weight decay, and the running average of the weights."""

import copy

import torch
from torch import Tensor, nn


def build_optimizer(model: nn.Module, lr: float, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """Adam; with weight decay AdamW (Loshchilov and Hutter, ICLR 2019), which spares what is no matrix.

    One fused kernel goes over all weights, and can leave them on a word of the device (update.py). Biases, norms,
    gates, tables of positions and the like have a meaning of their own at zero or none at all: only weights of linear
    and convolution layers decay.
    """
    if not weight_decay:
        return torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))}
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


class RunningAverage(nn.Module):
    """Exponential moving average of a network's weights; `module` is the network, frozen, `n_averaged` counts.

    Young averages forget faster, (1 + n) / (10 + n), so that a random start does not linger.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__()
        self.module, self.decay = copy.deepcopy(model).requires_grad_(False), decay
        device = next(model.parameters()).device
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long, device=device))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module, taken: Tensor | None = None):
        """Take in the weights of the network after a step, unless `taken`, a bool on its device, says there was none.

        Statistics of batch norm belong to the newest weights' inputs, and follow them.
        """
        n = self.n_averaged.float()
        keep = ((1 + n) / (10 + n)).clamp(max=self.decay) * (n > 0)
        share = 1 - keep if taken is None else (1 - keep) * taken
        averaged, current = list(self.module.parameters()), list(model.parameters())
        torch._foreach_lerp_(averaged, current, [share] * len(current))
        own, new = (network.state_dict(keep_vars=True) for network in (self.module, model))
        for name, value in own.items():
            if not isinstance(value, nn.Parameter):
                value.copy_(new[name])
        self.n_averaged += 1 if taken is None else taken
