"""Synthetic people: samples per second on one core, the time of each stage, and whether memory stays constant.

Processor time is the time that this process ran; wall time also counts the time that it waited. The memory run fits a
line to the resident memory over the second half of the samples. A leak of one 224 x 224 picture per sample is a slope
of 15,000 MB per 100,000 samples.
"""

import collections
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.synthetic import SyntheticDataset
from datasets.synthetic import dataset as synthetic_dataset
from datasets.synthetic import picture as synthetic_picture
from scripts.lib.benchmark.machine import resident_memory
from scripts.lib.benchmark.timing import Row, Settings
from utils.errors import UserError

WARM_UP = 100  # samples; the first ones compile the drawing functions or load them
READ_EVERY = 50  # samples between two readings of the memory
STAGE_SAMPLES = 200
STAGES: dict[ModuleType, tuple[str, ...]] = {
    synthetic_dataset: ("draw_subject", "render_picture", "normalize"),
    synthetic_picture: (
        "draw_people", "rasterize", "draw_light", "shade_people", "paint_background", "paint_occluders",
        "camera_faults", "quantize", "compress",
    ),
}  # fmt: skip


class Stopwatch:
    """Time since construction."""

    def __init__(self):
        self.start = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """-> wall time, processor time of this process; seconds."""
        return time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def measure(settings: Settings) -> Iterator[Row]:
    if settings.num_samples < 20:
        raise UserError(f"--num_samples {settings.num_samples}: the part synthetic needs 20 or more")
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0), torch.set_num_threads(1)
    try:
        clock = Stopwatch()
        count = max(settings.num_samples, WARM_UP)
        people = SyntheticDataset(settings.body, "train", assets=settings.assets, num_samples=count)
        for i in range(WARM_UP):
            people[i]
        wall, processor = clock.seconds()
        notes = {"wall_s": wall, "memory_mb": resident_memory()}
        yield Row("synthetic", f"start and {WARM_UP} samples", "processor time", processor, "s", None, notes)
        if settings.memory:
            yield measure_memory(people, settings.num_samples, settings.max_seconds)
        else:
            yield measure_speed(people, settings.num_samples)
            yield from measure_stages(people, min(settings.num_samples, STAGE_SAMPLES))
    finally:
        cv2.setNumThreads(threads[0]), torch.set_num_threads(threads[1])


def measure_speed(people: Dataset, count: int) -> Row:
    """Samples per second of processor time, with the rate by wall time beside it."""
    clock = Stopwatch()
    for i in range(count):
        people[i]
    wall, processor = clock.seconds()
    notes = {
        "ms": 1000 * processor / count,
        "samples/s by wall time": count / wall,
        "share_of_a_core": processor / wall,
    }
    return Row("synthetic", f"{count} samples, one core", "processor time", count / processor, "samples/s", None, notes)


def measure_stages(people: Dataset, count: int) -> Iterator[Row]:
    """Processor time of each function of STAGES per sample; those of synthetic_picture are parts of render_picture."""
    with timed_stages() as spent:
        for i in range(count):
            people[i]
    for name, seconds in spent.items():
        case = "part of render_picture" if name in STAGES[synthetic_picture] else "stage"
        yield Row("synthetic", case, name, 1000 * seconds / count, "ms per sample", None, {})


@contextmanager
def timed_stages() -> Iterator[collections.Counter]:
    """Inside the block, the functions of STAGES add their processor time in seconds to the counter, by name."""
    spent = collections.Counter()
    plain = {(module, name): getattr(module, name) for module, names in STAGES.items() for name in names}
    for (module, name), function in plain.items():
        setattr(module, name, _timed(function, name, spent))
    try:
        yield spent
    finally:
        for (module, name), function in plain.items():
            setattr(module, name, function)


def _timed(function: Callable, name: str, spent: collections.Counter) -> Callable:
    def timed(*args, **kwargs):
        start = time.process_time()
        result = function(*args, **kwargs)
        spent[name] += time.process_time() - start
        return result

    return timed


def measure_memory(people: Dataset, count: int, max_seconds: float = float("inf")) -> Row:
    """Slope of the resident memory over the second half of the samples, MB per 100,000; ends after `max_seconds`."""
    clock, drawn, resident = Stopwatch(), [], []
    for i in range(count):
        people[i]
        if (i + 1) % READ_EVERY == 0:
            drawn.append(i + 1)
            resident.append(resident_memory())
            if clock.seconds()[0] > max_seconds:
                break
    wall, processor = clock.seconds()
    if len(drawn) < 8:
        raise UserError(
            f"{drawn[-1] if drawn else count} samples in {wall:.0f} s are too few to measure memory: "
            f"use at least --num_samples {8 * READ_EVERY} and a larger --max_seconds"
        )
    half = len(drawn) // 2
    slope, error = fit_slope(drawn[half:], resident[half:])
    notes = {"plus_or_minus": 1e5 * error, "wall_s": wall, "processor_s": processor}
    shown = np.linspace(0, len(drawn) - 1, 5).round().astype(int)
    notes |= {f"MB after {drawn[k]}": resident[k] for k in shown}
    case = f"memory over {drawn[-1]} samples"
    return Row("synthetic", case, "slope of the second half", 1e5 * slope, "MB per 100,000 samples", None, notes)


def fit_slope(x: list[float], y: list[float]) -> tuple[float, float]:
    """Slope of the least-squares line through the points (x, y), N each, and two standard errors of it."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    x = x - x.mean()
    slope = (x @ y) / (x @ x)
    residual = y - y.mean() - slope * x
    return float(slope), float(2 * np.sqrt(residual @ residual / max(len(x) - 2, 1) / (x @ x)))
