"""The report of the ablation in Markdown."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from scripts.lib.graph_ablation.measure import MEASURES, Difference, joint_groups, mean_error, paired
from scripts.lib.graph_ablation.run import VARIANTS
from scripts.lib.occlusion.patches import LIMBS
from scripts.lib.occlusion.sweep import COVERED, PATCHES_PER_PERSON
from utils.evaluation.predictions import Predictions, load_predictions

PAIRS = (
    ("llm_adaptive", "none"),
    ("llm_adaptive", "shuffled_adaptive"),
    ("shuffled_adaptive", "none"),
    ("learned", "none"),
    ("kinematic", "none"),
    ("llm_static", "none"),
    ("llm_adaptive", "llm_static"),
)
PRIMARY = PAIRS[:2]
LEAST_GAIN = 2.0  # mm, that a bounded no rules out
PLATEAU = 115.0  # mm, PA-MPJPE on the synthetic test: runs above it show nothing about graphs
TEST = "synthetic"
OCCLUDED = "occluded"
COLUMNS = {
    "synthetic": {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "PA-MPJPE", "mpvpe_mm": "MPVPE"},
    "pose2sim": {"mpjpe_mm": "Pose2Sim MPJPE", "pa_mpjpe_mm": "Pose2Sim PA-MPJPE"},
    "photos": {"pck@0.05": "photographs PCK@0.05", "pck@0.1": "photographs PCK@0.1"},
}


def describe(record: dict) -> str:
    """The errors of a run in one line."""
    shown = [(label, record["tests"][test][key]) for test, key, label in columns([record])]
    return ", ".join(f"{label} {value:.3f}" if value < 1 else f"{label} {value:.1f}" for label, value in shown)


def columns(records: list[dict]) -> list[tuple[str, str, str]]:
    """(test, key, label) of each number that all runs have."""
    return [
        (test, key, label)
        for test, labels in COLUMNS.items()
        for key, label in labels.items()
        if all(record["tests"].get(test, {}).get(key) is not None for record in records)
    ]


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation; only the number if there is one."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else ""
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def runs_table(records: list[dict]) -> str:
    """Means and standard deviations over seeds of each variant and share."""
    shown = columns(records)
    rows = []
    for share in sorted({record["share"] for record in records}, reverse=True):
        for variant in VARIANTS:
            found = [r for r in records if (r["variant"], r["share"]) == (variant, share)]
            if found:
                cells = [str(found[0]["people"]), variant, f"{found[0]['parameters']:,}", seeds_of(found)]
                for test, key, _ in shown:
                    cells.append(spread([r["tests"][test][key] for r in found], 1 if key.endswith("_mm") else 3))
                cells.append(spread([r["gates"]["bias_gate"] for r in found if r["gates"]], 4))
                rows.append(cells)
    header = ["people", "variant", "parameters", "seeds", *(label for *_, label in shown), "bias gate"]
    return markdown(header, rows)


def seeds_of(records: list[dict]) -> str:
    return " ".join(str(record["seed"]) for record in sorted(records, key=lambda record: record["seed"]))


def read_estimates(folder: Path, records: list[dict], test: str = TEST) -> dict[str, dict[int, Predictions]]:
    """Estimates for a test by variant and seed."""
    found: dict[str, dict[int, Predictions]] = {}
    for record in records:
        name = f"{record['variant']}_{record['share']:g}_seed{record['seed']}"
        found.setdefault(record["variant"], {})[record["seed"]] = load_predictions(folder / f"{name}.{test}.npz")
    return found


def groups_table(estimates: dict[str, dict[int, Predictions]], groups: dict[str, np.ndarray], measure: Callable) -> str:
    """Mean error of each variant in each group of joints."""
    rows = []
    for variant, by_seed in estimates.items():
        errors = [measure(found) for found in by_seed.values()]
        means = [[mean_error(one, mask) for one in errors] for mask in groups.values()]
        rows.append([variant, *(spread([value for value in values if value is not None], 1) for values in means)])
    return markdown(["mm", *groups], rows)


def span(ends: list[float] | None) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}" if ends else ""


def star(ends: list[float] | None) -> str:
    return " *" if ends and not ends[0] <= 0 <= ends[1] else ""


def differences_table(
    errors: dict[str, dict[int, np.ndarray]], groups: dict[str, np.ndarray], people: np.ndarray | None = None
) -> str:
    """Paired differences in each group, with intervals."""
    rows = []
    for one, other in PAIRS:
        for group, mask in groups.items():
            found = paired(errors.get(one, {}), errors.get(other, {}), mask, people)
            if found:
                by_seed = ", ".join(f"{value:+.1f}" for value in found.by_seed.values())
                mean = f"{found.mean:+.2f}{star(found.people)}"
                cells = [mean, span(found.people), by_seed, span(found.both), str(found.count)]
                rows.append([f"{one} - {other}", group, *cells])
    return markdown(
        ["difference, mm", "joints", "mean", "over people", "by seed", "over seeds and people", "count"], rows
    )


def decide(differences: list[Difference | None], num_seeds: int, plateau: list[int] = ()) -> str:
    """The decision of docs/ablation.md for the primary comparisons: yes, bounded no, or open.

    plateau: seeds with a run that has not left the plateau.
    """
    if plateau:
        return f"open: seed {', '.join(map(str, plateau))} has a run on the plateau; repeat it with more samples"
    if any(one is None or len(one.by_seed) < max(num_seeds, 2) for one in differences):
        return "open: runs are missing"
    if all(one.people[1] < 0 and max(one.by_seed.values()) < 0 for one in differences):
        return "yes"
    if any(one.both[0] > -LEAST_GAIN for one in differences):
        return f"bounded no: a gain of {LEAST_GAIN:g} mm is ruled out"
    return "open: more seeds are needed"


def occlusion_tables(estimates: dict[str, dict[int, Predictions]], people: str) -> list[str]:
    """Errors of joints under a patch, and of the same joints without it, of people of `OccludedPeople`."""
    found = next(iter(next(iter(estimates.values())).values()))
    limbs = {"no patch": 0} | {limb: place for place, limb in enumerate(LIMBS, 1)}
    place = (found.index % PATCHES_PER_PERSON)[:, None]
    groups = {"all covered joints": found.confidence == COVERED}
    groups |= {limb: groups["all covered joints"] & (place == number) for limb, number in limbs.items() if number}
    groups["all joints without a patch"] = np.broadcast_to(place == 0, found.confidence.shape)
    groups = {name: mask for name, mask in groups.items() if mask.any()}
    parts = []
    for name, measure in MEASURES.items():
        errors = {v: {seed: measure(one) for seed, one in by.items()} for v, by in estimates.items()}
        parts += [
            f"### {name} of joints under a patch, {people} training people",
            groups_table(estimates, groups, measure),
        ]
        parts.append(differences_table(errors, groups, found.index // PATCHES_PER_PERSON))
    return parts


def report(folder: Path, records: list[dict], distance: Callable[[float], np.ndarray | None], num_seeds: int) -> str:
    """All tables. distance: share -> distance (N,) of each test pose from the training poses, if known."""
    parts = [runs_table(records)]
    for share in sorted({record["share"] for record in records}, reverse=True):
        chosen = sorted((r for r in records if r["share"] == share), key=lambda r: [*VARIANTS].index(r["variant"]))
        estimates = read_estimates(folder, chosen)
        first = next(iter(next(iter(estimates.values())).values()))
        groups = {name: mask for name, mask in joint_groups(first, distance(share)).items() if mask.any()}
        for name, measure in MEASURES.items():
            errors = {v: {seed: measure(found) for seed, found in by.items()} for v, by in estimates.items()}
            title = f"{name}, {chosen[0]['people']} training people, {len(first)} test people"
            parts += [f"### {title}", groups_table(estimates, groups, measure), differences_table(errors, groups)]
            if name == next(iter(MEASURES)) and "hidden" in groups:
                primary = [paired(errors.get(a, {}), errors.get(b, {}), groups["hidden"]) for a, b in PRIMARY]
                plateau = sorted({r["seed"] for r in chosen if r["tests"][TEST]["pa_mpjpe_mm"] >= PLATEAU})
                parts.append(f"Decision: {decide(primary, num_seeds, plateau)}.")
        if all(OCCLUDED in record["tests"] for record in chosen):
            parts += occlusion_tables(read_estimates(folder, chosen, OCCLUDED), str(chosen[0]["people"]))
    return "\n\n".join(parts)
