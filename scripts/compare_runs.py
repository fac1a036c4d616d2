"""Compare two evaluations of the same samples: paired differences, with 95 % intervals, and who has the smaller error.

    python main.py --eval_only ... --load_checkpoint A.pt --save_predictions a.npz
    python main.py --eval_only ... --load_checkpoint B.pt --save_predictions b.npz
    python scripts/compare_runs.py a.npz b.npz

A difference is B minus A in mm: below 0, B is better. Its interval is by bootstrap over sequences, or over samples if
the keys name no sequences. "B wins" is the share of samples in which B has the smaller error. A star marks intervals
without 0.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.arguments import input_file, pattern, script_parser
from utils.errors import UserError, exit_on_user_error, printable
from utils.evaluation.bootstrap import interval
from utils.evaluation.details import METRICS, acceleration_errors
from utils.evaluation.groups import groups_of, sequences_of
from utils.evaluation.predictions import Predictions, load_predictions

COLUMNS = f"{'samples':>9}{'A':>10}{'B':>10}{'B - A':>10}{'95 % interval':>22}{'B wins':>9}"


def pair(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """The samples that both have, in the same order, by key and row number. UserError if there are none, or if the
    joints differ."""
    if a.joint_names.tolist() != b.joint_names.tolist():
        raise UserError("the two files compare different joints: evaluate both on the same set")
    places_a, places_b = (
        {name: i for i, name in enumerate(zip(x.key.tolist(), x.index.tolist(), strict=True))} for x in (a, b)
    )
    both = [name for name in places_a if name in places_b]
    if not both:
        raise UserError("the two files have no sample in common: evaluate both on the same set")
    a, b = a.select(np.array([places_a[n] for n in both])), b.select(np.array([places_b[n] for n in both]))
    if not np.allclose(a.label_joints, b.label_joints, atol=1e-5, equal_nan=True):
        raise UserError("the labels of the two files differ: evaluate both with the same body and --protocol")
    return a, b


def compare(name: str, width: int, a: np.ndarray, b: np.ndarray, clusters: np.ndarray) -> str:
    """A line of the table: errors a and b (N,) of the same samples in mm; nan without a label."""
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b, clusters = a[both], b[both], clusters[both]
    if len(a) == 0:
        return f"{name:<{width}}{0:>9}"
    ends = interval(b - a, clusters)
    span = f"{ends[0]:9.2f} to {ends[1]:7.2f}" if ends else "-"
    star = "*" if ends and not ends[0] <= 0 <= ends[1] else ""
    wins = f"{100 * (b < a).mean():.0f} %"
    return (
        f"{name:<{width}}{len(a):>9}{a.mean():>10.2f}{b.mean():>10.2f}{(b - a).mean():>10.2f}{span:>22}{wins:>9} {star}"
    ).rstrip()


def compare_all(a: Predictions, b: Predictions, group_by: str | None = None) -> str:
    """The tables of the metrics, joints and groups of two evaluations of the same samples."""
    keys = a.key.tolist()
    clusters, groups = sequences_of(keys), groups_of(keys, group_by)
    if len({*clusters}) < 2:
        clusters = np.arange(len(keys))
    names = [*METRICS, "acceleration", *a.joint_names.tolist(), *([] if groups is None else groups.tolist())]
    width = max(map(len, names)) + 2

    def line(name: str, first: np.ndarray, second: np.ndarray, rows: np.ndarray | slice = slice(None)) -> str:
        return compare(name, width, 1000 * first[rows], 1000 * second[rows], clusters[rows])

    lines = [f"{'mm':<{width}}{COLUMNS}"]
    lines += [line(name, getattr(a, metric), getattr(b, metric)) for name, metric in METRICS.items()]
    acceleration = acceleration_errors(a), acceleration_errors(b)
    if not np.isnan(acceleration[0]).all():
        lines.append(line("acceleration", *acceleration))
    lines += ["", f"{'MPJPE, joint':<{width}}{COLUMNS}"]
    joints = zip(a.joint_names.tolist(), a.joint_errors.T, b.joint_errors.T, strict=True)
    lines += [line(*joint) for joint in joints]
    if groups is not None:
        lines += ["", f"{'MPJPE, group':<{width}}{COLUMNS}"]
        lines += [line(str(group), a.mpjpe, b.mpjpe, groups == group) for group in np.unique(groups)]
    return "\n".join(lines)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("a", type=input_file, metavar="A.npz", help="file of main.py --save_predictions")
    parser.add_argument("b", type=input_file, metavar="B.npz", help="the same of another evaluation")
    parser.add_argument(
        "--group_by",
        type=pattern,
        metavar="PATTERN",
        help="regular expression with one group, searched in the keys (default: sequence, if the keys name any)",
    )
    args = parser.parse_args()
    first, second = load_predictions(args.a), load_predictions(args.b)
    a, b = pair(first, second)
    left_out = max(len(first), len(second)) - len(a)
    print(printable(f"A {args.a}"), printable(f"B {args.b}"), sep="\n")
    print(f"{len(a)} samples in both" + (f", {left_out} in one alone" * bool(left_out)) + "\n")
    print(printable(compare_all(a, b, args.group_by), keep="\n"))


if __name__ == "__main__":
    main()
