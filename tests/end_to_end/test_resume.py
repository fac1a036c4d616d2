"""Runs that are stopped, cut off or starved, and what becomes of them. Processes that die: test_faults.py."""

import functools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import main as program
from tests.helpers.programs import run_main
from tests.helpers.tiny_run import FLAGS, make_place, outcome, same
from utils.checkpoint import read_checkpoint
from utils.paths import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def train(place, monkeypatch, capfd):
    """Run main() here -> exit code, stdout, stderr. at: {step of this run: what to do in it}."""
    monkeypatch.chdir(place)
    set_lr = program.set_lr
    capfd.readouterr()

    def run(*flags, at: dict | None = None):
        steps = iter(range(10**6))

        def set_lr_and_more(optimizer, lr):
            set_lr(optimizer, lr)
            if at and (step := next(steps)) in at:
                at[step]()

        monkeypatch.setattr(program, "set_lr", set_lr_and_more)
        return run_main(program, *FLAGS, *flags), *capfd.readouterr()

    return run


RECIPE = ("--num_epochs=3", "--save_steps=2", "--keep_last=1", "--lr_schedule=cosine", "--warmup_steps=3")


@pytest.fixture
def whole(train, place):
    """The run that nothing happens to: 3 epochs of 7 steps."""
    if not (place / "logs/whole").is_dir():
        assert train("--exp_name=whole", *RECIPE)[0] == 0
    return outcome(place / "logs/whole", 2)


def send(number):
    return lambda: os.kill(os.getpid(), number)


def test_a_run_stopped_by_every_signal_equals_one_that_was_not(train, whole, place):
    """Stopped after step 4 of the first epoch, at the end of it, and in the third; once with other workers."""
    flags = ["--exp_name=parts", "--auto_load=1", *RECIPE]
    folder = place / "logs/parts/checkpoints"
    for number, step, names, workers in (
        (signal.SIGTERM, 3, ["step_000_000002.pt", "step_000_000004.pt"], 1),
        (signal.SIGUSR1, 2, ["epoch_000.pt"], 0),
        (signal.SIGINT, 8, ["epoch_001.pt", "step_002_000002.pt"], 2),
    ):
        code, out, err = train(*flags, f"--num_workers={workers}", at={step: send(number)})
        assert code == 0, err
        assert f"stopped by {number.name}" in out and number.name in err
        assert sorted(path.name for path in folder.iterdir()) == names
    code, out, err = train(*flags)
    assert code == 0 and "loaded logs/parts/checkpoints/step_002_000002.pt" in out, err
    assert same(outcome(place / "logs/parts", 2), whole)
    code, out, _ = train(*flags)
    assert code == 0 and "raise --num_epochs" in out


def test_a_fast_run_goes_on_exactly_too(train, place, monkeypatch):
    """Compiled (by a compiler that costs no time), in bfloat16, in parts; other programs read what it saves."""
    compiled = functools.partialmethod(torch.nn.Module.compile, backend="eager")
    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    flags = ["--num_epochs=1", "--compile", "--precision=bf16", "--accumulate_steps=2", "--clip_grad=1"]
    assert train("--exp_name=fast", *flags)[0] == 0
    assert train("--exp_name=fast_parts", *flags, at={3: send(signal.SIGTERM)})[0] == 0
    code, out, err = train("--exp_name=fast_parts", *flags, "--auto_load=1")
    assert code == 0 and "step_000_000004.pt" in out, err
    assert same(outcome(place / "logs/fast_parts", 0), outcome(place / "logs/fast", 0))
    code, _, err = train("--exp_name=plain", "--load_checkpoint=logs/fast/checkpoints/epoch_000.pt", "--num_epochs=1")
    assert code == 0, err


def test_checkpoints_hold_all_that_a_run_depends_on(whole, place):
    content = read_checkpoint(place / "logs/whole/checkpoints/epoch_002.pt")
    assert content["epoch"] == 2 and content["step"] == content["num_steps"] == 7 and content["num_averaged"] == 21
    assert content["options"]["lr_schedule"] == "cosine" and len(content["code_version"]) == 12
    (rank,) = content["ranks"]
    assert {"torch", "numpy", "python", "cuda"} == rank["rng"].keys() and rank["totals"].shape == (6,)


def test_a_truncated_checkpoint_is_passed_over(train, whole, place):
    flags = ["--exp_name=cut", "--auto_load=1", *RECIPE]
    assert train(*flags, at={12: send(signal.SIGTERM)})[0] == 0
    newest = place / "logs/cut/checkpoints/step_001_000006.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    (newest.parent / ".epoch_000.123.pt").write_bytes(b"half of it")
    code, out, err = train(*flags)
    assert code == 0, err
    assert "warning: logs/cut/checkpoints/step_001_000006.pt is damaged" in out
    assert "loaded logs/cut/checkpoints/step_001_000005.pt" in out
    assert same(outcome(place / "logs/cut", 2), whole)
    assert not list(newest.parent.glob(".*"))


def spoil(content: dict, kind: str) -> dict:
    """A checkpoint with a value that no run writes."""
    if kind == "generator":
        content["ranks"][0]["rng"]["torch"] = content["ranks"][0]["rng"]["torch"][:-8]
        return content
    if kind == "moments":
        content["optimizer"]["state"][0] = {"step": "x"}
        return content
    if kind == "sums":
        content["ranks"][0]["totals"] = torch.zeros(99)
        return content
    if kind == "not finite":
        next(value for value in content["model"].values() if value.is_floating_point()).fill_(torch.nan)
        return content
    changes = {"word": {"epoch": "x"}, "negative": {"epoch": -7}, "huge": {"epoch": 2**40}, "fraction": {"step": 1.5}}
    changes |= {"scale": {"loss_scale": ["a"]}, "optimizer": {"optimizer": {}}, "averages": {"num_averaged": "x"}}
    changes |= {"no weights": {"model": {}}, "no averages": {"ema": {}}}
    return content | changes[kind]


DAMAGES = ("word", "negative", "fraction", "generator", "moments", "sums", "scale", "optimizer", "averages", "deflated")
DAMAGES += ("no weights", "no averages", "not finite", "huge")


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_checkpoint_with_impossible_contents_is_passed_over(train, place, kind):
    folder = place / "logs" / kind / "checkpoints"
    flags = [f"--exp_name={kind}", "--auto_load=1", "--num_epochs=1", "--save_steps=2"]
    assert train(*flags, at={4: send(signal.SIGTERM)})[0] == 0
    newest = max(folder.glob("step_*.pt"))
    if kind == "deflated":  # the entry's data are not what its method says
        data = newest.read_bytes()
        place_of_method = data.rindex(b"PK\x01\x02") + 10
        newest.write_bytes(data[:place_of_method] + b"\x08\0" + data[place_of_method + 2 :])
    else:
        torch.save(spoil(read_checkpoint(newest), kind), newest)
    code, out, err = train(*flags)
    assert code == 0 and f"{newest.name} is damaged" in out and "Traceback" not in err, out + err


def test_a_damaged_checkpoint_from_later_deletes_nothing(train, place):
    """It is not the newest one: what is saved before its place, and after it, stays."""
    folder, flags = place / "logs/later/checkpoints", ["--exp_name=later", *RECIPE, "--auto_load=1"]
    assert train(*flags, at={9: send(signal.SIGTERM)})[0] == 0  # in the second epoch
    (folder / "epoch_002.pt").write_bytes(b"damaged")
    code, out, err = train(*flags, at={1: send(signal.SIGTERM)})
    assert code == 0 and "epoch_002.pt is damaged" in out, out + err
    saved = sorted(path.name for path in folder.glob("*.pt"))
    assert {"epoch_000.pt", "epoch_002.pt"} < {*saved} and any(name.startswith("step_001") for name in saved), saved
    assert train(*flags)[0] == 0
    assert read_checkpoint(folder / "epoch_002.pt")["epoch"] == 2


def test_a_run_is_resumed_and_evaluated_with_the_reading_of_maps_that_it_was_trained_with(train, place):
    own = ["--exp_name=corners", "--num_epochs=1", "--align_corners=1"]
    assert train(*own)[0] == 0
    code, out, err = train("--exp_name=corners", "--num_epochs=2", "--auto_load=1")
    assert code == 0 and "notice" not in out and "--align_corners" not in out, out + err
    code, out, err = train("--exp_name=corners", "--num_epochs=2", "--auto_load=1", "--align_corners=0")
    assert code == 0 and "trained with --align_corners 1, this run has 0" in out, out + err


HOLD = """
import sys
from pathlib import Path
from utils.train.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_in_use_is_refused_until_its_process_ends(train, place):
    command = [sys.executable, "-c", HOLD, str(place / "logs/busy")]
    other = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        for auto_load in ("0", "1"):
            code, _, err = train("--exp_name=busy", "--num_epochs=1", f"--auto_load={auto_load}")
            assert code == 2 and f"in use by process {other.pid} on" in err and len(err.strip().splitlines()) == 1
    finally:
        other.kill()
        other.wait()
    assert train("--exp_name=busy", "--num_epochs=1")[0] == 0


def loader_workers(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(pid) for pid in children if "pt_data_worker" in Path(f"/proc/{pid}/comm").read_text()]


def test_a_killed_loader_worker_is_one_line(place):
    """In a process of its own: PyTorch raises the error again and again in a process that goes on."""
    command = [
        sys.executable,
        str(ROOT / "main.py"),
        *FLAGS,
        "--exp_name=starved",
        "--num_epochs=1000",
        "--save_steps=1",
    ]
    run = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not list((place / "logs/starved/checkpoints").glob("*.pt")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(loader_workers(run.pid)[0], signal.SIGKILL)
        _, err = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 2 and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("error: a data loading process was killed")


def test_other_options_and_sizes_are_told(train, place):
    assert train("--exp_name=other", "--num_epochs=1", at={3: send(signal.SIGTERM)})[0] == 0
    code, out, err = train("--exp_name=other", "--num_epochs=1", "--auto_load=1", "--lr=1e-3", "--batch_size=4")
    assert code == 0, err
    assert "--batch_size 4 (was 2); --lr 0.001 (was 0.0002)" in out and "number of processes" in out
    content = read_checkpoint(place / "logs/other/checkpoints/epoch_000.pt")
    assert content["num_averaged"] == 5  # 4 steps of 2 rows, and the third and last of 4: two are done, one is left


def test_a_full_disk_is_told_and_borne(train, place):
    """Files over 1 MB cannot be written from step 2 to step 6: no checkpoint, but training goes on."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def limit(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    flags = ["--exp_name=full", "--num_epochs=1", "--save_steps=2"]
    try:
        code, out, err = train(*flags, at={2: limit(1 << 20), 6: limit(hard)})
        assert code == 0, err
        assert "warning: cannot write logs/full/checkpoints/step_000_000004.pt" in out
        assert "training continues, the newest checkpoint is logs/full/checkpoints/step_000_000002.pt" in out
        assert [path.name for path in (place / "logs/full/checkpoints").iterdir()] == ["epoch_000.pt"]
        code, _, err = train(*flags, "--exp_name=full_to_the_end", at={2: limit(1 << 20)})
    finally:
        limit(hard)()
    assert code == 2 and err.splitlines()[-1].startswith("error: the last state of this run is not saved: cannot write")
    assert [path.name for path in (place / "logs/full_to_the_end/checkpoints").iterdir()] == ["step_000_000002.pt"]


def test_numbers_that_are_not_finite_are_skipped_and_listed(train, place, tmp_path):
    """One of 14 people has no finite pose: two steps are left out in two epochs, and weights stay finite."""
    pose = torch.zeros(14, 72)
    pose[5, 3] = torch.nan
    make_place(tmp_path / "one", pose=pose)
    code, _, err = train("--exp_name=odd", "--num_epochs=2", f"--feature_cache={tmp_path}/one/cache")
    assert code == 0, err
    lines = [json.loads(line) for line in (place / "logs/odd/not_finite_rank0.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(5 in line["images"] and line["losses"]["loss"] is None for line in lines)
    content, records = outcome(place / "logs/odd", 1)
    assert content["num_averaged"] == 12 and all(torch.isfinite(v).all() for v in content["model"].values())
    assert all(isinstance(record["train"]["loss"], float) for record in records)

    make_place(tmp_path / "all", pose=torch.full((14, 72), torch.inf))
    flags = ["--exp_name=never", "--num_epochs=9", "--max_not_finite=3", f"--feature_cache={tmp_path}/all/cache"]
    code, _, err = train(*flags)
    error = err.strip().splitlines()[-1]
    assert code == 2 and error.startswith("error: loss or gradient nonfinite in 3 steps in a row, up to step 2")
    assert "not_finite_rank0.jsonl" in error and Path("logs/never/not_finite_rank0.jsonl").is_file()


def test_a_trace_of_a_few_steps(train, place):
    code, out, err = train("--exp_name=traced", "--num_epochs=2", "--profile")
    assert code == 0 and "wrote logs/traced/trace.json" in out, err
    assert json.loads((place / "logs/traced/trace.json").read_text())["traceEvents"]


def test_overfitting_evaluates_on_the_rows_of_training(train, place):
    flags = ["--exp_name=few", "--overfit=4", "--num_epochs=60", "--eval_epochs=30", "--lr=1e-3", "--ema=0"]
    code, out, err = train(*flags, "--save_epochs=60")
    assert code == 0 and "the first 4 samples of training" in out, err
    records = [json.loads(line) for line in (place / "logs/few/log.jsonl").read_text().splitlines()]
    before, after = (record["val"] for record in records if "val" in record)
    assert before["count"] == after["count"] == 4
    assert records[-1]["train"]["loss"] < 0.5 * records[0]["train"]["loss"]
    options = json.loads((place / "logs/few/options.json").read_text())
    assert options["dropout"] == options["regressor_dropout"] == 0 and options["no_augment"]
    assert options["run"]["command"][0] == "main.py" and "torch" in options["run"]["packages"]
    assert train("--exp_name=none", "--overfit=15")[0] == 2
