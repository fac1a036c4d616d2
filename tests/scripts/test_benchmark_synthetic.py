"""The part synthetic of the benchmark: speed by two clocks, time of the stages, and growth of memory."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from scripts.lib.benchmark import machine, synthetic
from scripts.lib.benchmark.synthetic import fit_slope, measure_memory, measure_speed
from scripts.lib.benchmark.timing import Settings
from utils.errors import UserError


def test_the_slope_of_a_line_and_its_error():
    x = np.arange(200.0)
    slope, error = fit_slope(x, 3 * x + 7)
    assert slope == pytest.approx(3) and error < 1e-9
    slope, error = fit_slope(x, 3 * x + np.random.default_rng(2).normal(0, 10, 200))
    assert abs(slope - 3) < 2 * error and error < 0.1


class Samples:
    """A data set without work, in a process whose memory grows by `leak` MB per sample."""

    def __init__(self, leak: float = 0.0):
        self.leak, self.drawn = leak, 0

    def __getitem__(self, index):
        self.drawn += 1
        return index

    def memory(self) -> float:
        return 900 + self.leak * self.drawn


@pytest.mark.parametrize("leak", [0, 0.05])
def test_a_leak_shows_as_a_slope(monkeypatch, leak):
    samples = Samples(leak)
    monkeypatch.setattr(synthetic, "resident_memory", samples.memory)
    row = measure_memory(samples, 2000)
    assert row.value == pytest.approx(1e5 * leak, abs=1e-6) and row.unit == "MB per 100,000 samples"
    assert row.notes["MB after 2000"] == 900 + leak * 2000 and row.notes["plus_or_minus"] < 1e-3


def test_resident_memory_is_the_number_of_the_kernel():
    status = Path("/proc/self/status").read_text().splitlines()
    kilobytes = int(next(line for line in status if line.startswith("VmRSS")).split()[1])
    assert machine.resident_memory() == pytest.approx(kilobytes * 1024 / 1e6, rel=0.05)


def test_a_memory_run_that_is_too_short_is_refused(monkeypatch):
    monkeypatch.setattr(synthetic, "READ_EVERY", 1)
    with pytest.raises(UserError, match="too few to measure memory"):
        measure_memory(Samples(), 20, 0.0)
    with pytest.raises(UserError, match="20 or more"):
        next(synthetic.measure(Settings(1, torch.device("cpu"), 1, num_samples=19)))


def test_speed_by_both_clocks():
    class Works:
        def __getitem__(self, index):
            return sum(range(20_000))

    row = measure_speed(Works(), 50)
    assert row.value > 0 and row.unit == "samples/s" and row.notes["ms"] == pytest.approx(1000 / row.value)
    assert row.notes["samples/s by wall time"] <= 1.2 * row.value


def test_rows_of_real_people(monkeypatch):
    """Every stage is measured, the functions and thread counts are restored, and the stages add up."""
    monkeypatch.setattr(synthetic, "WARM_UP", 3)
    before = {name: getattr(module, name) for module, names in synthetic.STAGES.items() for name in names}
    threads = cv2.getNumThreads(), torch.get_num_threads()
    start, speed, *stages = synthetic.measure(Settings(1, torch.device("cpu"), 1, num_samples=20, assets="none"))
    assert start.unit == "s" and start.notes["memory_mb"] > 50 and speed.value > 0
    spent = {row.method: row.value for row in stages}
    assert {"draw_subject", "render_picture", "draw_people", "rasterize", "shade_people"} <= {*spent}
    inner = [row.value for row in stages if row.case == "part of render_picture"]
    assert 0 < sum(inner) < 1.1 * spent["render_picture"]
    assert all(getattr(module, name) is before[name] for module, names in synthetic.STAGES.items() for name in names)
    assert threads == (cv2.getNumThreads(), torch.get_num_threads())
