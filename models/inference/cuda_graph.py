"""CUDA graphs: all kernels of a network launched by one call, without Python in between."""

from collections.abc import Callable

import torch
from torch import Tensor

RECORDED_BATCH = 8  # for larger batches the kernels take longer than their launches


class RecordedCalls:
    """A network on a GPU with one CUDA graph per small batch size, recorded at its first call.

    Without a graph a GPU with one image mostly waits for the next kernel launch.
    """

    def __init__(self, run: Callable[[Tensor], dict]):
        self.run, self.recorded = run, {}

    def __call__(self, image: Tensor) -> dict:
        if len(image) > RECORDED_BATCH:
            return self.run(image)
        if image.shape not in self.recorded:
            self.recorded[image.shape] = self._record(image)
        graph, static_input, outputs = self.recorded[image.shape]
        static_input.copy_(image)
        graph.replay()
        # copies, because the next call overwrites the outputs
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in outputs.items()}

    def _record(self, image: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, dict]:
        static_input = image.clone(memory_format=torch.channels_last)
        side, current = torch.cuda.Stream(image.device), torch.cuda.current_stream(image.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries choose kernels and allocate memory, which cannot be recorded
                self.run(static_input)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads, such as the one that pins memory for a loader, may call CUDA in the meantime
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self.run(static_input)
        return graph, static_input, outputs
