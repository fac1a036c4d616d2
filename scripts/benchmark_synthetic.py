"""How fast synthetic people are drawn on one core, where the time goes, and whether memory stays flat.

    python scripts/benchmark_synthetic.py --num_samples 1000
    python scripts/benchmark_synthetic.py --memory --num_samples 100000      # half an hour on a quiet core

Processor time counts what this process was given, so that other work on the machine disturbs it little (it still
shares caches and clock); wall time is what passed meanwhile. `--memory` fits a line to the resident memory over the
second half of the samples: a leak of one 224 pixel picture a sample would be 15,000 MB per 100,000.
"""

import argparse
import collections
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import SyntheticDataset
from datasets.synthetic import dataset as synthetic
from datasets.synthetic import picture as synthetic_picture
from utils.errors import UserError, exit_on_user_error
from utils.paths import ASSETS, OPEN_BODY

WARM_UP = 100  # samples that compile, or load what was compiled before
READ_EVERY = 50  # samples, of the memory
STAGES = {
    synthetic: ("draw_subject", "render_picture", "normalize"),
    synthetic_picture: (
        "draw_people", "dress", "build_mesh", "rasterize", "draw_light", "look_along", "shade_people",
        "paint_background", "paint_occluders", "camera_faults", "compress",
    ),
}  # fmt: skip


class Stopwatch:
    """Seconds since it was made: wall and of this process's processor time."""

    def __init__(self):
        self.start = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        return time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def watch(spent):
    """Replace the stages' functions by ones that add up their processor time in `spent`."""
    for module, names in STAGES.items():
        for name in names:
            setattr(module, name, _timed(getattr(module, name), name, spent))


def _timed(function, name, spent):
    def timed(*args, **kwargs):
        start = time.process_time()
        result = function(*args, **kwargs)
        spent[name] += time.process_time() - start
        return result

    return timed


def memory_mb() -> float:
    """Resident memory of this process in MB: now where the system tells (Linux), else the most it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def line_fit(x, y) -> tuple[float, float]:
    """Slope of a line through points x (N,), y (N,), and how far it may be off (two standard errors)."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    x = x - x.mean()
    slope = (x @ y) / (x @ x)
    residual = y - y.mean() - slope * x
    return slope, 2 * np.sqrt(residual @ residual / max(len(x) - 2, 1) / (x @ x))


def measure_speed(dataset, count: int):
    clock = Stopwatch()
    for i in range(count):
        dataset[i]
    wall, cpu = clock.seconds()
    print(f"{count / cpu:.1f} samples/s per core by processor time, {1000 * cpu / count:.1f} ms each")
    print(f"{count / wall:.1f} samples/s by wall time: this process had {cpu / wall:.0%} of a core")


def measure_stages(dataset, count: int):
    parts = collections.Counter()
    watch(parts)
    for i in range(count):
        dataset[i]
    print("where the time goes, ms per sample (indented ones are parts of the one above)")
    for name, seconds in parts.items():
        inner = name in STAGES[synthetic_picture]
        print(f"  {'  ' if inner else ''}{name:18s} {1000 * seconds / count:6.2f}")


def measure_memory(dataset, count: int, max_seconds: float):
    clock, drawn, resident = Stopwatch(), [], []
    for i in range(count):
        dataset[i]
        if (i + 1) % READ_EVERY == 0:
            drawn.append(i + 1)
            resident.append(memory_mb())
            if clock.seconds()[0] > max_seconds:
                break
    wall, cpu = clock.seconds()
    if len(drawn) < 8:
        raise UserError(
            f"{drawn[-1] if drawn else 0} samples in {wall:.0f} s say nothing of memory: allow more seconds"
        )
    half = len(drawn) // 2
    slope, off = line_fit(drawn[half:], resident[half:])
    print(f"{drawn[-1]} samples, {wall:.0f} s wall, {cpu:.0f} s of processor time")
    shown = np.linspace(0, len(drawn) - 1, 9).round().astype(int)
    print("MB resident: " + ", ".join(f"{resident[k]:.0f} after {drawn[k]}" for k in shown))
    print(f"slope over the second half: {1e5 * slope:+.0f} +- {1e5 * off:.0f} MB per 100,000 samples")


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_samples", type=int, default=1000)
    parser.add_argument("--memory", action="store_true", help="watch the memory instead of the time")
    parser.add_argument("--max_seconds", type=float, default=float("inf"), help="of --memory; then it reports and ends")
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--body", type=Path, default=OPEN_BODY)
    args = parser.parse_args()
    if args.num_samples < 20:
        raise UserError("--num_samples must be 20 or more")
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    clock = Stopwatch()
    dataset = SyntheticDataset(args.body, "train", assets=args.assets, num_samples=max(args.num_samples, WARM_UP))
    for i in range(WARM_UP):
        dataset[i]
    wall, cpu = clock.seconds()
    print(
        f"set-up and {WARM_UP} samples: {cpu:.1f} s of processor time, {wall:.1f} s wall, {memory_mb():.0f} MB resident"
    )
    if args.memory:
        measure_memory(dataset, args.num_samples, args.max_seconds)
    else:
        measure_speed(dataset, args.num_samples)
        measure_stages(dataset, min(args.num_samples, 200))


if __name__ == "__main__":
    main()
