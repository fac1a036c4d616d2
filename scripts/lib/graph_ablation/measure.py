"""Errors per joint and person of finished runs, in groups, and paired differences between variants."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from datasets.feature_cache import FeatureCache
from utils.evaluation.bootstrap import interval
from utils.evaluation.details import HIDDEN_BELOW
from utils.evaluation.predictions import Predictions
from utils.metrics import pa_mpjpe, similarity_align
from utils.skeleton import J14, J24_TO_J14

PARTS = {"legs": ("Knee", "Ankle"), "arms": ("Elbow", "Wrist"), "trunk": ("Hip", "Shoulder", "Neck", "Head")}
QUARTERS = ("nearest quarter of poses", "second quarter", "third quarter", "farthest quarter of poses")


class Difference(NamedTuple):
    """A paired difference of two variants in mm, below 0 if the first one has the smaller error."""

    mean: float
    people: list[float]  # 95 % interval over people, by bootstrap
    both: list[float] | None  # 95 % interval over seeds and people; None for a single seed
    by_seed: dict[int, float]
    count: int  # joints


def joint_labels(dataset: FeatureCache) -> Tensor:
    """Labelled J14 keypoints (N, 14, 3) in metres of all people of a cache."""
    keypoints = torch.cat([shard["keypoints_3d"] for shard in dataset.shards])[: len(dataset)]
    return keypoints[:, J24_TO_J14, :3]


def nearest_pose(poses: Tensor, others: Tensor) -> np.ndarray:
    """PA-MPJPE in metres between each pose and the nearest one of others: (N, J, 3), (M, J, 3) -> (N,)."""
    return np.array([float(pa_mpjpe(others, pose.expand_as(others)).min()) for pose in poses])


def pa_joint_errors(found: Predictions) -> np.ndarray:
    """Distance of each joint after alignment of the person by a similarity transform, (N, J) mm; nan without label."""
    labelled = ~np.isnan(found.label_joints).any(-1)
    label = torch.from_numpy(np.nan_to_num(found.label_joints))
    aligned = similarity_align(torch.from_numpy(found.joints), label, torch.from_numpy(labelled).double())
    return np.where(labelled, 1000 * (aligned - label).norm(dim=-1).numpy(), np.nan)


def hip_joint_errors(found: Predictions) -> np.ndarray:
    """Distance of each joint after alignment of the middle of the hips, (N, J) mm."""
    return 1000 * found.joint_errors


MEASURES = {"PA error": pa_joint_errors, "hip-aligned error": hip_joint_errors}


def joint_groups(found: Predictions, distance: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Name -> mask (N, J) of joints. distance (N,): from the nearest training pose, for the quarters of poses."""
    every = np.ones_like(found.confidence, dtype=bool)
    groups = {
        "all joints": every,
        "visible": found.confidence >= HIDDEN_BELOW,
        "hidden": (found.confidence > 0) & (found.confidence < HIDDEN_BELOW),
        "outside": found.confidence == 0,
    }
    names = found.joint_names.tolist()
    for part, stems in PARTS.items():
        groups[part] = every & np.array([name.split("_")[-1] in stems for name in names])
    if distance is not None:
        rank = np.argsort(np.argsort(distance, kind="stable"), kind="stable")
        for number, name in enumerate(QUARTERS):
            groups[name] = every & (len(QUARTERS) * rank // len(rank) == number)[:, None]
    return groups


def mean_error(errors: np.ndarray, mask: np.ndarray) -> float | None:
    """Mean of the errors (N, J) in a group; None if it has none."""
    values = errors[mask & ~np.isnan(errors)]
    return float(values.mean()) if len(values) else None


def paired(
    a: dict[int, np.ndarray], b: dict[int, np.ndarray], mask: np.ndarray, people: np.ndarray | None = None
) -> Difference | None:
    """Errors (N, J) by seed of two variants -> difference a - b in a group of joints; None without a common seed, or
    if fewer than two people have such joints. people (N,): number of the person, or the sequence, of each row; its rows
    are drawn together by the bootstrap. Default: each row is another person.

    Interval over seeds and people: mean +- quantile * sqrt(variance over seeds / number + variance over people), with
    the degrees of freedom of Welch and Satterthwaite.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    differences = np.stack([a[seed] - b[seed] for seed in seeds])
    mask = mask & ~np.isnan(differences).any(0)
    people = np.arange(len(mask)) if people is None else people
    values, people = differences[:, mask], people[np.nonzero(mask)[0]]
    ends = interval(values.mean(0), people)
    if ends is None:
        return None
    by_seed = dict(zip(seeds, values.mean(1).tolist(), strict=True))
    mean, both = float(values.mean()), None
    if len(seeds) > 1:
        of_people = ((ends[1] - ends[0]) / (2 * 1.96)) ** 2
        of_seeds = float(np.var(list(by_seed.values()), ddof=1)) / len(seeds)
        num_people = len(np.unique(people))
        variance = max(of_seeds + of_people, 1e-12)
        freedom = variance**2 / (of_seeds**2 / (len(seeds) - 1) + of_people**2 / (num_people - 1) + 1e-24)
        half = float(student.ppf(0.975, max(freedom, 1))) * variance**0.5
        both = [mean - half, mean + half]
    return Difference(mean, ends, both, by_seed, int(mask.sum()))


assert {name.split("_")[-1] for name in J14} == {stem for stems in PARTS.values() for stem in stems}
