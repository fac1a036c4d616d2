"""The benchmark: order of the calls, ratios, table and file. No test checks a measured time."""

import json
import statistics

import pytest
import torch

from scripts import benchmark
from scripts.lib.benchmark import machine, scaling, timing, training
from scripts.lib.benchmark.timing import Row, Settings, compare, interleave
from scripts.lib.benchmark.trainee import Trainee
from utils.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """A clock that only `spend` advances."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    return spend


def test_methods_take_turns_and_each_warms_up_once():
    calls = []
    seconds = interleave({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_taken_within_a_round(clock):
    """A machine that slows down from round to round does not change the ratios."""
    load, calls = [1.0, 1.0, 7.0, 2.0, 30.0, 5.0], {"plain": 0, "fast": 0}  # the first of them is the warm-up

    def method(name, seconds):
        def run():
            clock(seconds * load[calls[name]])
            calls[name] += 1

        return run

    methods = {"plain": method("plain", 2.0), "fast": method("fast", 0.5)}
    plain, fast = compare("part", "case", methods, 8, "images/s", Settings(5, CPU, 1), {"fast": {"memory_mb": 3.0}})
    assert plain.ratio == 1 and fast.ratio == pytest.approx(4)
    assert fast.value == pytest.approx(8 / (0.5 * statistics.median(load[1:])))
    assert fast.notes["ms"] == pytest.approx(2500) and fast.notes["memory_mb"] == 3
    assert plain.notes["spread"] == pytest.approx((7 - 2) / 5) == fast.notes["spread"]


def test_table_and_file(tmp_path, capsys):
    rows = [Row("p", "c", "plain", 2000.4, "images/s", 1.0, {}), Row("p", "c", "fast", 3.14159, "s", None, {"mb": 1.5})]
    benchmark.benchmark({"p": lambda settings: rows[:1], "q": lambda settings: rows[1:]}, Settings(1, CPU, 1, tmp_path))
    printed = capsys.readouterr().out
    assert "| p | c | plain | 2000 images/s | 1.00 |  |" in printed and "| 3.14 s |  | mb 1.5 |" in printed
    record = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["method"] for row in record["rows"]] == ["plain", "fast"]
    assert {"cpu", "cores", "gpu", "torch", "threads", "date"} <= {*record["machine"]}


def test_flags_that_cannot_work():
    for flags, words in (
        (["--rounds", "0"], "--rounds: 0 is below 1"),
        (["--num_threads", "-1"], "--num_threads: -1 is below 1"),
        (["--max_seconds", "nan"], "--max_seconds: nan is not finite"),
        (["--body", "missing.npz"], "--body: no file missing.npz"),
    ):
        with pytest.raises(UserError, match=words):
            benchmark.parse_args(flags)


def test_memory_and_flops():
    held = []
    needed = machine.peak_memory(lambda: held.append(torch.ones(25_000_000)), CPU)
    assert 90 < needed < 200  # 100 MB of float32
    a = torch.ones(8, 16)
    assert machine.count_flops(lambda: a @ a.T) == 2 * 8 * 8 * 16


def test_lines_and_their_picture(tmp_path):
    curve = scaling.Curve("images", "s", (1, 2, 4), [1.5, 2.0, 3.0], [10.0, 10.0, 10.0])
    *_, last = scaling.rows_of(curve)
    assert last.case == "images: 4" and last.value == 3 and last.notes["memory_mb"] == 10
    assert last.notes["s for each more"] == pytest.approx(0.5) and last.notes["s r2"] == pytest.approx(1)
    assert last.notes["mb for each more"] == pytest.approx(0)
    scaling.draw([curve, curve._replace(sizes=(1,), values=[1.0], memory=[2.0])], tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_both_methods_train_the_same_network():
    trainee = Trainee("movenet", CPU)
    trainee.args.lr = 0.01
    batch, weight = trainee.batch(2), next(trainee.model.initial_tokens.parameters())
    for step in (training.plain_step(trainee, batch), training.fast_step(trainee, batch, "bf16")):
        before = weight.detach().clone()
        step()
        assert not torch.equal(weight, before) and weight.isfinite().all()
