"""CUDA graphs: calls of a network replayed without Python in between."""

from collections.abc import Callable

import torch
from torch import Tensor

RECORDED_BATCH = 8  # above it a GPU has enough to do with an image batch for Python not to matter


class RecordedCalls:
    """Calls of a network on a GPU without Python in between: a CUDA graph for every small batch size, made at its first
    call. With one image a GPU otherwise waits most of the time for the next kernel to be launched."""

    def __init__(self, run: Callable[[Tensor], dict]):
        self.run, self.recorded = run, {}

    def __call__(self, image: Tensor) -> dict:
        if len(image) > RECORDED_BATCH:
            return self.run(image)
        if image.shape not in self.recorded:
            self.recorded[image.shape] = self._record(image)
        graph, place, outputs = self.recorded[image.shape]
        place.copy_(image)
        graph.replay()
        # the next call overwrites them
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in outputs.items()}

    def _record(self, image: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, dict]:
        place = image.clone(memory_format=torch.channels_last)
        beside, current = torch.cuda.Stream(image.device), torch.cuda.current_stream(image.device)
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            for _ in range(3):  # libraries choose kernels and set aside memory, which cannot be recorded
                self.run(place)
        current.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.run(place)
        return graph, place, outputs
