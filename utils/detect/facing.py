"""Frames of a film in which a body faces another way than before and after, such as its back in place of its front."""

import numpy as np

NOISE = 60.0  # degrees between the estimates of two frames that are no contradiction
TURN = 360.0  # degrees more for each second between the frames, because people turn
CONTRADICTION = 0.25  # seconds of frames that are left out rather than to keep two estimates that contradict


def consistent(orientation: np.ndarray, times: np.ndarray) -> np.ndarray:
    """orientation (T, 3, 3) of the root at increasing times (T,), seconds -> (T,) bool: frames to keep.

    Frames that are left out cost their duration, and each contradiction between neighbours that are kept costs
    CONTRADICTION. The cheapest choice leaves out short wrong pieces, and keeps both sides of a real turn or of an error
    that lasts. It is found by dynamic programming over the last frame that is kept.
    """
    # a frame beside a long gap does not count for the gap
    duration = np.minimum(np.gradient(times), CONTRADICTION / 2) if len(times) > 1 else np.zeros(1)
    before = np.concatenate(([0.0], np.cumsum(duration)))  # all frames before, left out or not
    cost, previous = np.empty(len(times)), np.empty(len(times), int)
    for i in range(len(times)):
        first = np.searchsorted(before, before[i] - 2 * CONTRADICTION)  # leaving out more never pays
        earlier = np.arange(min(first, max(i - 1, 0)), i)
        trace = np.einsum("ab,nab->n", orientation[i], orientation[earlier])
        angle = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
        contradicts = angle > NOISE + TURN * (times[i] - times[earlier])
        costs = cost[earlier] + before[i] - before[earlier + 1] + CONTRADICTION * contradicts
        costs, candidates = np.append(costs, before[i]), np.append(earlier, -1)  # -1: it is the first one
        best = costs.argmin()
        cost[i], previous[i] = costs[best], candidates[best]
    keep = np.zeros(len(times), bool)
    last = int((cost + before[-1] - before[1:]).argmin())
    while last >= 0:
        keep[last] = True
        last = previous[last]
    return keep
