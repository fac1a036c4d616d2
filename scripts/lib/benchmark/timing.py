"""Compare methods that do the same work: they take turns in one process, so that other load disturbs all equally."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from utils.paths import ASSETS, OPEN_BODY


class Settings(NamedTuple):
    """Settings of all parts; the last five are for the part synthetic."""

    rounds: int  # calls of each method
    device: torch.device  # of the networks
    num_threads: int  # of torch on the CPU
    output: Path = Path("outputs/benchmark")  # folder of the plots
    num_samples: int = 1000
    memory: bool = False  # measure memory in place of time
    max_seconds: float = float("inf")  # of the memory run
    assets: str | Path = ASSETS
    body: Path = OPEN_BODY


class Row(NamedTuple):
    """One line of the table. ratio: how many times better than the plain method of the same case; None without one."""

    part: str
    case: str
    method: str
    value: float
    unit: str
    ratio: float | None
    notes: dict[str, Any]


def interleave(
    methods: dict[str, Callable[[], object]], rounds: int, device: torch.device | str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of `rounds` calls of each method, after one warm-up call of each.

    Each round calls every method once, in reverse order every other round, so that no method always follows the same
    other one.
    """
    device = torch.device(device)
    for method in methods.values():
        method()
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds):
        for name in list(methods)[:: -1 if number % 2 else 1]:
            seconds[name].append(_time(methods[name], device))
    return seconds


def _time(method: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    started = time.perf_counter()
    method()
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: torch.device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(
    part: str,
    case: str,
    methods: dict[str, Callable[[], object]],
    per_call: float,
    unit: str,
    settings: Settings,
    notes: dict[str, dict[str, Any]] | None = None,
) -> list[Row]:
    """A row for each method; the first one is the plain one. A call does `per_call` units of work.

    value: units per second of the median call; ratio: median over the rounds of the ratios within a round; notes: `ms`
    of the median call, `spread` between the quartiles as a share of it, and the given notes of the method.
    """
    seconds = interleave(methods, settings.rounds, settings.device)
    plain = next(iter(seconds.values()))
    rows = []
    for name, times in seconds.items():
        median = statistics.median(times)
        ratio = statistics.median(base / own for base, own in zip(plain, times, strict=True))
        spread = {"ms": 1000 * median, "spread": _quartile_range(times) / median}
        rows.append(Row(part, case, name, per_call / median, unit, ratio, spread | (notes or {}).get(name, {})))
    return rows


def _quartile_range(times: list[float]) -> float:
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low
