"""The table of the ablation in Markdown."""

import numpy as np

from scripts.lib.graph_ablation.run import VARIANTS

DIFFERENCES = (("full", "shuffled"), ("llm", "none"))
METRICS = {
    "synthetic": {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "PA-MPJPE", "mpvpe_mm": "MPVE"},
    "pose2sim": {"mpjpe_mm": "pose2sim MPJPE", "pa_mpjpe_mm": "pose2sim PA-MPJPE"},
    "photos": {"pck@0.05": "photos PCK@0.05", "pck@0.1": "photos PCK@0.1"},
}


def describe(result: dict) -> str:
    """The errors of a run in one line."""
    shown = [(label, result["tests"][test][key]) for test, key, label in columns([result])]
    return ", ".join(f"{label} {value:.3g}" for label, value in shown)


def columns(results: list[dict]) -> list[tuple[str, str, str]]:
    """(test, key, label) of each number that all runs have."""
    return [
        (test, key, label)
        for test, labels in METRICS.items()
        for key, label in labels.items()
        if all(result["tests"].get(test, {}).get(key) is not None for result in results)
    ]


def values_of(results: list[dict], variant: str, share: float, test: str, key: str) -> dict[int, float]:
    """One number per seed."""
    return {r["seed"]: r["tests"][test][key] for r in results if (r["variant"], r["share"]) == (variant, share)}


def spread(values: list[float], digits: int, error_of_mean: bool = False) -> str:
    """Mean ± standard deviation, or ± error of the mean; only the number if there is one."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else ""
    deviation = np.std(values, ddof=1) / (len(values) ** 0.5 if error_of_mean else 1)
    return f"{np.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def table(results: list[dict]) -> str:
    """Markdown: means and standard deviations over seeds, then paired differences and their standard errors."""
    shown = columns(results)
    shares = sorted({result["share"] for result in results}, reverse=True)
    header = ["people", "variant", "parameters", "seeds", *(label for *_, label in shown)]
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    for share in shares:
        for variant in VARIANTS:
            found = [r for r in results if (r["variant"], r["share"]) == (variant, share)]
            if found:
                cells = [str(found[0]["people"]), variant, str(found[0]["parameters"]), str(len(found))]
                for test, key, _ in shown:
                    numbers = values_of(results, variant, share, test, key)
                    cells.append(spread([*numbers.values()], digits_of(key)))
                lines.append("| " + " | ".join(cells) + " |")
    header = ["people", "difference", "seeds", *(label for *_, label in shown)]
    lines += ["", "| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    for share in shares:
        for one, other in DIFFERENCES:
            cells = []
            for test, key, _ in shown:
                a, b = (values_of(results, variant, share, test, key) for variant in (one, other))
                pairs = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
                cells.append(spread(pairs, digits_of(key), error_of_mean=True))
            if pairs:
                people = next(r["people"] for r in results if r["share"] == share)
                lines.append("| " + " | ".join([str(people), f"{one} - {other}", str(len(pairs)), *cells]) + " |")
    return "\n".join(lines)


def digits_of(key: str) -> int:
    return 1 if key.endswith("_mm") else 3
