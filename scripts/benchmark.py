"""Measure every fast path against the plain one (fp32, eager, contiguous), interleaved so that machine noise cancels.

    python scripts/benchmark.py --output outputs/benchmark

Prints a table in Markdown and writes

    benchmark.json    machine, versions, date, and the table's rows with their spread, memory and FLOPs
    *.png             plots of the parts that draw some

A ratio tells how many times better a method is than the plain one of the same case. Random weights, no downloads.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.lib.benchmark import builders, data, demo, forward, metrics, rendering, scaling, training
from scripts.lib.benchmark.machine import describe_machine
from scripts.lib.benchmark.timing import Row, Settings
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text
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
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure every fast path against the plain one.")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS], help="what to measure (default: all)")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmark"), help="folder (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="calls of each method (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda or cuda:N")
    parser.add_argument("--num_threads", type=int, help="of torch on the CPU (default: as many as it takes)")
    args = parser.parse_args(argv)
    if args.rounds < 1 or (args.num_threads is not None and args.num_threads < 1):
        raise UserError("--rounds and --num_threads must be at least 1")
    return args


@exit_on_user_error
def main():
    args = parse_args()
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {args.output} ({error.strerror}): choose another --output") from error
    settings = Settings(args.rounds, choose_device(args.device), torch.get_num_threads(), args.output)
    benchmark({name: PARTS[name] for name in args.parts}, settings)


def benchmark(parts: dict[str, Callable[[Settings], Iterable[Row]]], settings: Settings):
    """Print the rows of these parts as they are measured, and write all so far after every part."""
    machine = describe_machine(settings.device)
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    print(
        "\n| part | case | method | value | times plain | notes |\n| --- | --- | --- | ---: | ---: | --- |", flush=True
    )
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


def _short(value) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


if __name__ == "__main__":
    main()
