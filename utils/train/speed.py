"""Samples per second of a training run."""

import time


class Speed:
    """Counts from its creation, and again from each call; batch_size: samples of a step over all processes."""

    def __init__(self, batch_size: int, step: int = 0):
        self.batch_size, self.step, self.started = batch_size, step, time.perf_counter()

    def __call__(self, step: int) -> float:
        """step: steps done -> samples per second since the last call."""
        now = time.perf_counter()
        samples, seconds = self.batch_size * (step - self.step), now - self.started
        self.step, self.started = step, now
        return samples / max(seconds, 1e-9)
