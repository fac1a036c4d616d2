"""What the processes of a run know of each other: who lives, who failed, and that one line tells it.

Each process beats its heart into the launcher's key-value store. Whoever stops without a word, killed or cut off, is
named by the others, who end instead of waiting for it; whoever stops with an error has told it, and the others are
silent.
"""

import functools
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from utils.errors import exit_with

BEAT = 3.0  # seconds between heartbeats
PATIENCE = 40.0  # seconds of silence after which a process counts as dead
RANK_ZERO_GRACE = 5.0  # seconds that the others wait for rank 0 to tell the same error
STORE_TIMEOUT = 20.0  # seconds


class Peers:
    """The watch of one process over all of its run; `with Peers(...)` starts and ends it.

    run_name: known to all processes of this start of the run and of no other; address: the store's host and port.
    """

    def __init__(self, rank: int, world_size: int, run_name: str, address: tuple[str, int]):
        self.rank, self.world_size = rank, world_size
        connect = timedelta(seconds=STORE_TIMEOUT)
        # a connection of its own: the one of the process group may be waiting for somebody
        self.store = dist.TCPStore(*address, is_master=False, timeout=connect, wait_for_workers=False)
        self.keys = [f"peers/{run_name}/{i}" for i in range(world_size)]
        self.told_key = f"peers/{run_name}/told"
        self._over, self._beats = threading.Event(), 0
        self._lock = threading.Lock()
        self._failed = False  # has somebody ended with an error, which it tells by itself?
        self._seen: dict[int, tuple[str, float]] = {}  # rank -> its last sign of life, and when it changed

    def __enter__(self) -> "Peers":
        self._sign("alive")
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_):
        self._over.set()
        with suppress(RuntimeError):  # the launcher went first
            self._sign("failed" if kind else "done")

    def tell(self, error: Exception):
        """End this process with an error that one process tells: rank 0 where it has the same, else the first."""
        if self.rank:
            deadline = time.monotonic() + RANK_ZERO_GRACE
            while not self._told() and time.monotonic() < deadline:
                time.sleep(0.1)
        if not self._claim():
            sys.exit(2)
        exit_with(f"{error} (on rank {self.rank})" if self.rank else str(error))

    def tell_who_is_lost(self):
        """End this process, whose connection broke, and name the one that ended without a word, if one did."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher tidies up already
        deadline = time.monotonic() + PATIENCE + 2 * BEAT
        dead = None
        with suppress(RuntimeError):  # the launcher went first
            while not self._told() and time.monotonic() < deadline:
                if dead := self.find_dead():
                    break
                if self._failed:
                    sys.exit(2)
                time.sleep(0.2)
        if self._told() or not self._claim():
            sys.exit(2)
        exit_with(_lost(dead or "another process, or a launcher,"))

    def _claim(self) -> bool:
        """True for the one process that is to print the error."""
        try:
            with self._lock:
                return self.store.add(self.told_key, 1) == 1
        except RuntimeError:
            return True

    def _told(self) -> bool:
        try:
            with self._lock:
                return self.store.check([self.told_key])
        except RuntimeError:
            return False

    def find_dead(self) -> str | None:
        """Describe the first process that ended without a word, None while there is none."""
        with self._lock:
            signs = [sign.decode() for sign in self.store.multi_get(self.keys)]
        now = time.monotonic()
        for rank, sign in enumerate(signs):
            if rank not in self._seen or self._seen[rank][0] != sign:
                self._seen[rank] = sign, now
            state, host, machine, process, _ = sign.split()
            self._failed |= state == "failed"
            if rank == self.rank or state != "alive":
                continue
            silent = now - self._seen[rank][1]
            if silent > PATIENCE or (machine == _machine() and _is_gone(int(process))):
                return f"rank {rank} (process {process} on {host})"
        return None

    def _sign(self, state: str):
        self._beats += 1
        sign = f"{state} {socket.gethostname()} {_machine()} {os.getpid()} {self._beats}"
        with self._lock:
            self.store.set(self.keys[self.rank], sign)

    def _watch(self):
        """Beat and look around until the run is over. Ends the process where another is dead: it may never wake up."""
        failures = 0
        while not self._over.wait(BEAT):
            try:
                self._sign("alive")
                dead = self.find_dead() if self._beats > 2 else None  # all have signed by then
                failures = 0
            except RuntimeError:
                failures += 1
                dead = (
                    "what keeps the run together (the launcher or rank 0)" if failures * BEAT > PATIENCE / 2 else None
                )
            if dead and not self._over.wait(BEAT):  # time for the main thread to notice by itself
                if self._claim():
                    print(f"error: {_lost(dead)}", file=sys.stderr, flush=True)
                os._exit(2)


def _lost(who: str) -> str:
    """The line about a process that is gone."""
    return (
        f"{who} ended without a word (killed, out of memory, or its machine is gone), so the run ends; "
        "start it again with --auto_load 1 to go on from its newest checkpoint"
    )


@functools.cache
def _machine() -> str:
    """Where process numbers mean the same: this machine since its start, this container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _is_gone(process: int) -> bool:
    """Whether a process of this machine has ended, be it that its parent has not noticed yet."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
