"""Plot the loss and the validation errors of training runs over their epochs.

    python scripts/plot_training.py logs/EXP --output curves.png
    python scripts/plot_training.py logs/A logs/B --output curves.png       # the runs are compared

It reads log.jsonl of each run. Epochs count from 1.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.arguments import input_folder, output_file, script_parser
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import atomic_path, make_folder
from utils.train.logger import read_records

PANELS = (
    ("training loss", "train", "loss", ""),
    ("MPJPE", "val", "mpjpe_mm", "mm"),
    ("PA-MPJPE", "val", "pa_mpjpe_mm", "mm"),
)

Curve = tuple[list[int], list[float]]


def read_curves(folder: Path) -> dict[str, Curve]:
    """Epochs and values of each panel, by its title; empty where the run has none. UserError without log.jsonl."""
    records = read_records(folder / "log.jsonl")
    if not records:
        raise UserError(f"{folder} has no epoch in log.jsonl: give the folder of a run, such as logs/EXP")
    curves = {}
    for title, group, name, _ in PANELS:
        points = [(record["epoch"] + 1, (record.get(group) or {}).get(name)) for record in records]
        points = [(epoch, value) for epoch, value in points if isinstance(value, int | float)]
        curves[title] = [epoch for epoch, _ in points], [value for _, value in points]
    return curves


def plot(runs: dict[str, dict[str, Curve]], path: Path):
    """Write one panel for each quantity that a run has, on logarithmic scales. runs: name -> `read_curves`."""
    panels = [panel for panel in PANELS if any(curves[panel[0]][0] for curves in runs.values())]
    if not panels:
        raise UserError("no run has a loss or an error that could be drawn; give the folders of other runs")
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2), layout="constrained", squeeze=False)
    for axis, (title, _, _, unit) in zip(axes[0], panels, strict=True):
        for name, curves in runs.items():
            epochs, values = curves[title]
            axis.plot(epochs, values, marker="." if len(epochs) < 40 else None, linewidth=1.3, label=printable(name))
        axis.set(title=title, xlabel="epoch", ylabel=unit, yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(labelsize=8)
        axis.grid(True, alpha=0.3)
    if len(runs) > 1:
        axes[0, 0].legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    plt.close(figure)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=input_folder, metavar="logs/EXP", help="folders of runs")
    parser.add_argument(
        "--output", type=output_file(".png", ".svg", ".pdf"), required=True, metavar="FILE", help="picture to write"
    )
    args = parser.parse_args()
    runs = {str(folder): read_curves(folder) for folder in args.runs}
    make_folder(args.output.parent)
    plot(runs, args.output)
    for name, curves in runs.items():
        last = [f"{title} {values[-1]:.4g}" for title, (_, values) in curves.items() if values]
        print(printable(f"{name}: {', '.join(last)}"))
    print(f"wrote {printable(args.output)}")


if __name__ == "__main__":
    main()
