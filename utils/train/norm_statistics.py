"""Running statistics of batch norm, undone on the device if a step is skipped."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class NormStatistics:
    """The running statistics of all batch norm layers of a network.

    A forward pass in training mode changes them before it is known whether the step is applied: one nonfinite pixel
    makes the statistics of every later layer nonfinite.
    """

    def __init__(self, model: nn.Module):
        buffers = [b for m in model.modules() if isinstance(m, _NormBase) for b in m.buffers(recurse=False)]
        dtypes = {buffer.dtype for buffer in buffers}
        self._groups = [[buffer for buffer in buffers if buffer.dtype == dtype] for dtype in dtypes]
        self.save()

    def save(self):
        """Remember the present statistics as those of the last applied step."""
        self._saved = [_joined(group) for group in self._groups]

    @torch.no_grad()
    def settle(self, applied: Tensor):
        """After a step, keep the present statistics if it was applied, a bool () on the device; else restore."""
        for i, group in enumerate(self._groups):
            # where, not lerp: 0 * nan is nan
            self._saved[i] = torch.where(applied, _joined(group), self._saved[i])
            parts = self._saved[i].split([buffer.numel() for buffer in group])
            torch._foreach_copy_(group, [part.view_as(b) for part, b in zip(parts, group, strict=True)])


def _joined(buffers: list[Tensor]) -> Tensor:
    """One flat copy, so that a choice among hundreds of small buffers is one kernel."""
    return torch.cat([buffer.flatten() for buffer in buffers])
