"""Processes that die or stall in the midst of a run, under real launchers. SMPL_POSE_KILLS=20 makes it a long test."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.tiny_run import FLAGS, make_place, outcome, same
from utils.paths import ROOT

KILLS = int(os.environ.get("SMPL_POSE_KILLS", 2))
EPOCHS = 2 + KILLS // 3
RECIPE = (
    f"--num_epochs={EPOCHS}",
    "--save_steps=1",
    "--batch_size=1",
    "--num_workers=1",
)  # 7 steps an epoch on 2 processes
LIMIT = 600  # seconds


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("faults"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def launch(place: Path, name: str, *flags: str, torchrun: tuple[str, ...] = (), log: str = "") -> subprocess.Popen:
    """torchrun main.py with a process group of its own; its words go to NAME.log."""
    torchrun = torchrun or ("--nproc_per_node=2", f"--master_port={free_port()}")
    command = [sys.executable, "-m", "torch.distributed.run", *torchrun, str(ROOT / "main.py"), *FLAGS, *RECIPE, *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with (place / (log or f"{name}.log")).open("w") as words:
        return subprocess.Popen(
            [*command, f"--exp_name={name}"],
            cwd=place, env=environment, stdout=words, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def workers_of(launcher: subprocess.Popen) -> list[int]:
    """The training processes that a launcher has started."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    workers = []
    for pid in children:
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end just now
            if "main.py" in Path(f"/proc/{pid}/cmdline").read_text():
                workers.append(int(pid))
    return workers


def end(launcher: subprocess.Popen):
    """Kill a launcher and all that it has started, at once, as a power cut does."""
    if launcher.poll() is None:
        workers = workers_of(launcher)  # each leads a group of its own
        for pid in (launcher.pid, *workers):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        launcher.wait()


def wait_for(condition, launcher: subprocess.Popen):
    """Until something is there or the launcher has ended."""
    deadline = time.monotonic() + LIMIT
    while not (found := condition()) and launcher.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def checkpoints(place: Path, name: str) -> list[Path]:
    return list((place / "logs" / name / "checkpoints").glob("[es]*.pt"))


@pytest.fixture(scope="module")
def whole(place):
    launcher = launch(place, "whole")
    assert launcher.wait(LIMIT) == 0, (place / "whole.log").read_text()
    return outcome(place / "logs/whole", EPOCHS - 1)


def kill_one(place: Path, name: str, launcher: subprocess.Popen, chance: random.Random) -> bool:
    """Wait until both processes have saved something, and up to a second more, and kill one; False at the run's end."""

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in checkpoints(place, name)}

    before = times()
    victims = wait_for(lambda: len(pids := workers_of(launcher)) == 2 and pids, launcher)
    if not victims or not wait_for(lambda: times() != before, launcher):
        return False
    time.sleep(chance.random())
    with suppress(ProcessLookupError):
        os.kill(chance.choice(victims), signal.SIGKILL)
    wait_for(lambda: not {*victims} & {*workers_of(launcher)}, launcher)
    return True


def test_a_run_whose_processes_are_killed_again_and_again_equals_one_that_was_left_alone(place, whole):
    """The launcher starts the processes anew by itself; any moment may be the last, that of writing included."""
    torchrun = ("--nproc_per_node=2", f"--master_port={free_port()}", f"--max_restarts={KILLS}")
    launcher = launch(place, "killed", torchrun=torchrun)
    chance, killed = random.Random(0), 0
    try:
        while killed < KILLS and kill_one(place, "killed", launcher, chance):
            killed += 1
        assert launcher.wait(LIMIT) == 0, (place / "killed.log").read_text()[-5000:]
    finally:
        end(launcher)
    assert killed > 0
    assert same(outcome(place / "logs/killed", EPOCHS - 1), whole)
    words = (place / "killed.log").read_text()
    assert words.count("died without an error message") <= killed and "gloo" not in words


def test_a_machine_that_goes_and_comes_back(place, whole):
    """Two launchers meet at an address, as on two machines; one is killed with its process and started again."""
    meet = ("--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free_port()}")
    torchrun = (*meet, "--rdzv_id=two", "--max_restarts=3", "--local_addr=127.0.0.1")
    first = launch(place, "two", "--auto_load=1", torchrun=torchrun, log="two_a.log")
    wait_for(lambda: "main.py" in Path(f"/proc/{first.pid}/cmdline").read_text(), first)
    time.sleep(1)  # the first to come keeps the list of who is there
    second = launch(place, "two", "--auto_load=1", torchrun=torchrun, log="two_b.log")
    launchers = [first, second]
    try:
        assert wait_for(lambda: checkpoints(place, "two"), first), (place / "two_a.log").read_text()
        end(second)
        launchers.append(launch(place, "two", "--auto_load=1", torchrun=torchrun, log="two_c.log"))
        assert first.wait(LIMIT) == 0, (place / "two_a.log").read_text()[-5000:]
        assert launchers[-1].wait(LIMIT) == 0, (place / "two_c.log").read_text()[-5000:]
    finally:
        for launcher in launchers:
            end(launcher)
    assert same(outcome(place / "logs/two", EPOCHS - 1), whole)
    words = (place / "two_a.log").read_text()  # rank 0 may be on either side after the restart
    assert "died without an error message" in words and "gloo" not in words
    words += (place / "two_c.log").read_text()
    assert "loaded logs/two/checkpoints/" in words


def test_a_signal_to_one_process_ends_both_with_a_checkpoint(place):
    launcher = launch(place, "asked", "--num_epochs=1000", "--save_steps=0")
    try:
        wait_for(lambda: checkpoints(place, "asked"), launcher)
        os.kill(workers_of(launcher)[1], signal.SIGUSR1)
        assert launcher.wait(LIMIT) == 0, (place / "asked.log").read_text()[-5000:]
    finally:
        end(launcher)
    words = (place / "asked.log").read_text()
    assert "SIGUSR1: saving after this step" in words and "stopped by another process after step" in words
    step, steps, epoch = re.search(r"after step (\d+) of (\d+) of epoch (\d+)", words).groups()
    name = f"epoch_{int(epoch):03d}.pt" if step == steps else f"step_{int(epoch):03d}_{int(step):06d}.pt"
    assert (place / "logs/asked/checkpoints" / name).is_file()


def stalled_process_ends_the_job_by_name_within_a_minute(place):
    launcher = launch(place, "stalled", "--num_epochs=1000")
    try:
        wait_for(lambda: checkpoints(place, "stalled"), launcher)
        victim = workers_of(launcher)[1]
        os.kill(victim, signal.SIGSTOP)
        started = time.monotonic()
        other = workers_of(launcher)[0]
        wait_for(lambda: "died without an error message" in (place / "stalled.log").read_text(), launcher)
        assert time.monotonic() - started < 60
        os.kill(victim, signal.SIGCONT)
        assert launcher.wait(LIMIT) != 0
    finally:
        end(launcher)
    words = (place / "stalled.log").read_text()
    assert f"error: rank 1 (process {victim} on" in words and "gloo" not in words
    assert not Path(f"/proc/{other}").exists()


if KILLS >= 20:  # it waits for a minute, which only the long test can afford
    test_a_stalled_process_ends_the_job = stalled_process_ends_the_job_by_name_within_a_minute
