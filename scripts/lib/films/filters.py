"""Filters that the smoothing of films is compared with. values (T, ...), times (T,) seconds."""

import numpy as np

SPEED_CUTOFF = 1.0  # Hz, of the one-euro filter's estimate of speed
BETA = 1.0  # of the one-euro filter: how fast its cutoff rises with speed, Hz per unit and second


def gaussian_mean(values: np.ndarray, times: np.ndarray, seconds: float) -> np.ndarray:
    """The mean of the neighbours in time, weighted by a Gaussian of that standard deviation."""
    weights = np.exp(-(((times[:, None] - times) / seconds) ** 2) / 2)
    return np.tensordot(weights / weights.sum(1, keepdims=True), values, 1)


def one_euro(values: np.ndarray, times: np.ndarray, cutoff: float) -> np.ndarray:
    """The mean of the one-euro filter (Casiez et al., CHI 2012) run forwards and backwards, so that nothing lags.

    cutoff: Hz at rest."""
    flat = values.reshape(len(times), -1)
    both = [_one_way(part, step, cutoff) for part, step in ((flat, np.diff(times)), (flat[::-1], np.diff(times)[::-1]))]
    return ((both[0] + both[1][::-1]) / 2).reshape(values.shape)


def _one_way(values: np.ndarray, steps: np.ndarray, cutoff: float) -> np.ndarray:
    result, speed = [values[0]], np.zeros_like(values[0])
    for value, before, step in zip(values[1:], values[:-1], steps, strict=True):
        share = _share(SPEED_CUTOFF, step)
        speed = share * (value - before) / step + (1 - share) * speed
        share = _share(cutoff + BETA * np.abs(speed), step)
        result.append(share * value + (1 - share) * result[-1])
    return np.stack(result)


def _share(cutoff: np.ndarray | float, step: float) -> np.ndarray | float:
    """Share of a new value in exponential smoothing."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))
