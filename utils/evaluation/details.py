"""Where the errors of an evaluation are: joints, visibility, groups of samples, intervals, acceleration."""

import numpy as np

from utils.evaluation.bootstrap import interval
from utils.evaluation.groups import consecutive_frames, groups_of, sequences_of, split_key
from utils.evaluation.predictions import Predictions

METRICS = {"MPJPE": "mpjpe", "PA-MPJPE": "pa_mpjpe", "MPVPE": "mpvpe"}
HIDDEN_BELOW = 1.0  # 2D confidence of visible joints; hidden joints inside the picture have less, those outside 0


def acceleration_errors(predictions: Predictions) -> np.ndarray:
    """Distance of the joints' accelerations from those of the labels -> (N,) metres per squared frame.

    Mean over the joints of |(a - 2 b + c) of the estimates - the same of the labels| for a frame b between a and c
    (Kanazawa et al., CVPR 2019); nan for samples that are no such frame.
    """
    errors = np.full(len(predictions), np.nan)
    triples = consecutive_frames(predictions.key.tolist())
    difference = predictions.joints - predictions.label_joints
    before, now, after = (difference[column] for column in triples.T)
    distances = np.linalg.norm(before - 2 * now + after, axis=-1)
    labelled = ~np.isnan(distances)
    counts = labelled.sum(-1)
    means = np.where(labelled, distances, 0).sum(-1) / np.maximum(counts, 1)
    errors[triples[:, 1]] = np.where(counts > 0, means, np.nan)
    return errors


def explain(predictions: Predictions, pattern: str | None = None, data_mode: str | None = None) -> dict:
    """Details of an evaluation in mm, for the report; pattern and data_mode: see `groups_of`.

    `intervals` metric -> 95 % interval; `intervals_over` "sequences" or "samples"; `joints` name -> mean error;
    `visibility` name -> mean error and number of joints; `groups` name -> metrics and number of samples;
    `acceleration_mm`, with its count, mm per squared frame. A part that the set has no labels for is left out.
    """
    keys = predictions.key.tolist()
    clusters = sequences_of(keys)
    if len({*clusters}) < 2:
        clusters = np.arange(len(keys)).astype(str)  # one sequence has no spread: its frames are drawn
    over = "sequences" if any(split_key(key)[0] for key in keys) and len({*clusters}) < len(keys) else "samples"
    errors = {name: 1000 * getattr(predictions, name) for name in METRICS.values()}
    acceleration = 1000 * acceleration_errors(predictions)
    intervals = {name: interval(values, clusters) for name, values in errors.items()}
    details = {
        "intervals": {f"{name}_mm": ends for name, ends in intervals.items() if ends},
        "intervals_over": over,
        "joints": {
            str(name): mean(1000 * column)
            for name, column in zip(predictions.joint_names, predictions.joint_errors.T, strict=True)
        },
        "visibility": by_visibility(predictions),
    }
    groups = groups_of(keys, pattern, data_mode)
    if groups is not None:
        details["groups"] = {
            str(group): {f"{name}_mm": mean(values[groups == group]) for name, values in errors.items()}
            | {"count": int((groups == group).sum())}
            for group in np.unique(groups)
        }
    if not np.isnan(acceleration).all():
        details["acceleration_mm"] = mean(acceleration)
        details["acceleration_count"] = int((~np.isnan(acceleration)).sum())
        details["intervals"]["acceleration_mm"] = interval(acceleration, clusters)
    return details


def by_visibility(predictions: Predictions) -> dict[str, dict]:
    """Mean error in mm and number of the joints that are visible, hidden, and outside of the picture or unlabelled
    in it, by the confidence of their 2D labels; classes without joints are left out."""
    confidence, errors = predictions.confidence, 1000 * predictions.joint_errors
    classes = {
        "visible": confidence >= HIDDEN_BELOW,
        "hidden": (confidence > 0) & (confidence < HIDDEN_BELOW),
        "outside": confidence == 0,
    }
    measured = ~np.isnan(errors)
    return {
        name: {"mpjpe_mm": mean(errors[chosen]), "count": int((chosen & measured).sum())}
        for name, chosen in classes.items()
        if (chosen & measured).any()
    }


def mean(values: np.ndarray) -> float | None:
    """Mean of the values that are not nan; None if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def format_details(report: dict) -> str:
    """The details of `explain` as text; empty if the report has none."""
    if "joints" not in report:
        return ""
    lines = []
    if report["intervals"]:
        lines.append(f"95 % intervals, by bootstrap over {report['intervals_over']}")
        names = {f"{key}_mm": name for name, key in METRICS.items()} | {"acceleration_mm": "acceleration"}
        lines += [f"  {names[key]:<14}{_span(ends)}" for key, ends in report["intervals"].items() if ends]
    if "acceleration_mm" in report:
        count = report["acceleration_count"]
        lines.append(f"acceleration error {report['acceleration_mm']:.2f} mm per squared frame over {count} samples")
    if any(value is not None for value in report["joints"].values()):
        lines.append("MPJPE of each joint, mm")
        lines += [f"  {name:<14}{_number(value)}" for name, value in report["joints"].items()]
    if report["visibility"]:
        lines.append("MPJPE by visibility in the picture, mm")
        lines += [
            f"  {name:<14}{_number(row['mpjpe_mm'])} over {row['count']} joints"
            for name, row in report["visibility"].items()
        ]
    if "groups" in report:
        width = max(len("group"), *map(len, report["groups"])) + 2
        lines.append(f"{'group':<{width}}  samples" + "".join(f"{name:>10}" for name in METRICS))
        for name, row in report["groups"].items():
            numbers = "".join(f"{_number(row[f'{key}_mm']):>10}" for key in METRICS.values())
            lines.append(f"{name:<{width}}{row['count']:>9}{numbers}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return f"{value:8.2f}" if value is not None else f"{'-':>8}"


def _span(ends: list[float]) -> str:
    return f"{ends[0]:8.2f} to {ends[1]:.2f} mm"
