"""Agreement of the answer sets with each other."""

import numpy as np
from scipy.stats import rankdata

from scripts.lib.joint_prior.tasks import RELATIONS

PAIRS = np.triu_indices(24, 1)


def rating_agreement(ratings: np.ndarray) -> dict[str, float]:
    """ratings (K, 24, 24) of one relation by K >= 2 sets -> measures of agreement over the 276 pairs.

    icc_single, icc_mean: see `intraclass_correlation`; pearson and mean_difference (points of 0 to 10): mean over pairs
    of sets.
    """
    x = ratings[:, PAIRS[0], PAIRS[1]].T
    icc_single, icc_mean = intraclass_correlation(x)
    first, second = np.triu_indices(x.shape[1], 1)
    return {
        "icc_single": icc_single,
        "icc_mean": icc_mean,
        "pearson": float(np.corrcoef(x.T)[first, second].mean()),
        "mean_difference": float(np.abs(x[:, first] - x[:, second]).mean()),
    }


def intraclass_correlation(x: np.ndarray) -> tuple[float, float]:
    """x (N, K), ratings of N items by K raters -> absolute agreement of one rater and of the mean of all.

    ICC(2,1) and ICC(2,k), two-way random effects (Shrout and Fleiss, Psychological Bulletin 1979).
    """
    n, k = x.shape
    grand = x.mean()
    between_items = k * np.square(x.mean(1) - grand).sum() / (n - 1)
    between_raters = n * np.square(x.mean(0) - grand).sum() / (k - 1)
    noise = np.square(x - x.mean(1, keepdims=True) - x.mean(0) + grand).sum() / ((n - 1) * (k - 1))
    signal, bias = between_items - noise, (between_raters - noise) / n
    return float(signal / (between_items + (k - 1) * noise + k * bias)), float(signal / (between_items + bias))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float, int]:
    """Two (24, 24) ratings -> Spearman correlation, mean absolute difference, number of pairs that both rate.

    The correlation is nan where one side gives every pair the same rating.
    """
    a, b = a[PAIRS], b[PAIRS]
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan"), float(np.abs(a - b).mean()) if len(a) else float("nan"), len(a)
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]), float(np.abs(a - b).mean()), len(a)


def agreement_of(ratings: np.ndarray) -> dict[str, dict[str, float]]:
    """ratings (K, R, 24, 24) -> the measures of rating_agreement per relation."""
    return {name: rating_agreement(ratings[:, r]) for r, name in enumerate(RELATIONS)}


def print_agreement(agreements: dict[str, dict[str, float]]):
    """One row per relation."""
    measures = list(next(iter(agreements.values())))
    print(f"{'agreement':<22}" + "".join(f"{measure:>17}" for measure in measures))
    for name, values in agreements.items():
        print(f"{name:<22}" + "".join(f"{values[measure]:>17.3f}" for measure in measures))
