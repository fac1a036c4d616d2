"""Compare every optimised method with the plain one (fp32, eager, contiguous) and print a table in Markdown.

    python scripts/benchmark.py --output outputs/benchmark
    python scripts/benchmark.py --parts forward demo --rounds 5
    python scripts/benchmark.py --parts synthetic --memory --num_samples 100000    # half an hour on one core

Methods take turns within one process, so that other load on the machine disturbs all of them equally. A ratio is how
many times better a method is than the plain method of the same case. Weights are random; nothing is downloaded.

Files written to --output:

    benchmark.json    machine, versions, date, and the rows of the table with their spread, memory and FLOPs
    scaling.png       plot of the part scaling
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.lib.benchmark import builders, data, demo, forward, metrics, rendering, scaling, synthetic, training
from scripts.lib.benchmark.machine import describe_machine
from scripts.lib.benchmark.timing import Row, Settings
from utils.arguments import add_assets_flag, input_file, number, output_folder, script_parser
from utils.errors import exit_on_user_error
from utils.files import make_folder, write_text
from utils.paths import OPEN_BODY
from utils.process import choose_device
from utils.train.logger import to_json

PARTS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "forward": forward.measure,
    "demo": demo.measure,
    "training": training.measure,
    "data": data.measure,
    "metrics": metrics.measure,
    "builders": builders.measure,
    "rendering": rendering.measure,
    "scaling": scaling.measure,
    "synthetic": synthetic.measure,
}


def parse_args(argv: list[str] | None = None) -> Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS], help="what to measure (default: all)")
    parser.add_argument(
        "--output", type=output_folder, default=Path("outputs/benchmark"), metavar="DIR", help="default: %(default)s"
    )
    count = number(int, at_least=1)
    parser.add_argument("--rounds", type=count, default=9, help="calls of each method (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    parser.add_argument("--num_threads", type=count, help="threads of torch on the CPU (default: torch's own choice)")
    people = parser.add_argument_group("part synthetic")
    people.add_argument("--num_samples", type=count, default=1000, help="samples to draw (default: %(default)s)")
    people.add_argument("--memory", action="store_true", help="measure the growth of memory in place of the time")
    people.add_argument(
        "--max_seconds", type=number(float, above=0), default=float("inf"), help="limit of --memory (default: none)"
    )
    add_assets_flag(people)
    people.add_argument("--body", type=input_file, default=OPEN_BODY, help="body model, .npz (default: the open body)")
    return parser.parse_args(argv)


@exit_on_user_error
def main():
    args = parse_args()
    device = choose_device(args.device)
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    make_folder(args.output)
    shared = {name: getattr(args, name) for name in ("num_samples", "memory", "max_seconds", "assets", "body")}
    settings = Settings(args.rounds, device, torch.get_num_threads(), args.output, **shared)
    benchmark({name: PARTS[name] for name in args.parts}, settings)


def benchmark(parts: dict[str, Callable[[Settings], Iterable[Row]]], settings: Settings):
    """Print each row as soon as it is measured; write benchmark.json after every part."""
    machine = describe_machine(settings.device)
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    print("\n| part | case | method | value | times plain | notes |", flush=True)
    print("| --- | --- | --- | ---: | ---: | --- |", flush=True)
    rows = []
    for measure in parts.values():
        for row in measure(settings):
            print(table_line(row), flush=True)
            rows.append(row._asdict())
        record = {"machine": machine, "rounds": settings.rounds, "rows": rows}
        write_text(settings.output / "benchmark.json", to_json(record, indent=2) + "\n")


def table_line(row: Row) -> str:
    """A row of the Markdown table."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    notes = ", ".join(f"{name} {_short(value)}" for name, value in row.notes.items())
    cells = row.part, row.case, row.method, f"{_short(row.value)} {row.unit}", ratio, notes
    return f"| {' | '.join(cells)} |"


def _short(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


if __name__ == "__main__":
    main()
