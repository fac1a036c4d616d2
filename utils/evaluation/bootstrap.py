"""95 % intervals of means by bootstrap over sequences (Efron and Tibshirani, 1993)."""

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 2000
BATCH = 100  # resamples at a time: limits the memory for large sets


def interval(values: np.ndarray, clusters: np.ndarray) -> list[float] | None:
    """values (N,), nan without a label; clusters (N,): what is drawn as a whole -> ends of the interval of the mean.

    The mean is over samples, so that long sequences count more. None if fewer than two clusters have a value.
    """
    labelled = ~np.isnan(values)
    _, cluster = np.unique(clusters[labelled], return_inverse=True)
    counts = np.bincount(cluster)
    if len(counts) < 2:
        return None
    sums = np.bincount(cluster, weights=values[labelled])
    found = bootstrap(
        (sums, counts), _ratio, paired=True, vectorized=True, n_resamples=RESAMPLES, batch=BATCH, method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return [float(found.low), float(found.high)]


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
    return sums.sum(axis) / counts.sum(axis)
