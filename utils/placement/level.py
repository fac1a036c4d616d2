"""Feet that stay on the floor of a film."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

WINDOW = 0.75  # seconds to both sides: a jump is shorter, a wrong depth lasts longer
ON_FLOOR = 0.25  # quantile of the lowest points in the window that is taken for the floor
SMOOTH = 0.3  # seconds, standard deviation of the smoothing
STEP = 1 / 30  # seconds between the samples that are smoothed
LARGEST = 0.3  # metres: a stage, a ladder or a seat is no error


def lift(lowest: np.ndarray, times: np.ndarray) -> np.ndarray:
    """How far to move a body up in every frame so that its feet stay on the floor, but jumps stay too.

    lowest (T,): heights of its lowest point above the floor, metres; times (T,) seconds, increasing -> (T,) metres.
    """
    floor = np.array([np.quantile(lowest[np.abs(times - time) <= WINDOW], ON_FLOOR) for time in times])
    even = np.arange(times[0], times[-1] + STEP, STEP)
    smooth = gaussian_filter1d(np.interp(even, times, floor), SMOOTH / STEP, mode="nearest")
    return -np.clip(np.interp(times, even, smooth), -LARGEST, LARGEST)
