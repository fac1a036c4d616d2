"""Detection of dead processes in a distributed run, and errors reported by one process only.

Each process writes a heartbeat into the launcher's key-value store. If one stops without an error message (killed or
disconnected), the others name it and exit instead of waiting for it. If one stops with an error, it reports the error
and the others exit silently.
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
PATIENCE = 40.0  # seconds without a heartbeat after which a process counts as dead
RANK_ZERO_GRACE = 5.0  # seconds that other ranks wait for rank 0 to report the same error
STORE_TIMEOUT = 20.0  # seconds


class Heartbeat:
    """Heartbeat of one process, and a thread that checks those of the others; use it in a `with` block.

    run_name: equal on all processes of this start of the run, and unique to it. address: host and port of the store.
    """

    def __init__(self, rank: int, world_size: int, run_name: str, address: tuple[str, int]):
        self.rank, self.world_size = rank, world_size
        connect = timedelta(seconds=STORE_TIMEOUT)
        # a separate connection: that of the process group may be blocked
        self.store = dist.TCPStore(*address, is_master=False, timeout=connect, wait_for_workers=False)
        self.keys = [f"heartbeat/{run_name}/{i}" for i in range(world_size)]
        self.reported_key = f"heartbeat/{run_name}/reported"
        self._over, self._beats = threading.Event(), 0
        self._lock = threading.Lock()
        self._failed = False  # another process has ended with an error, which it reports
        self._seen: dict[int, tuple[str, float]] = {}  # rank -> its last heartbeat, and when it changed

    def __enter__(self) -> "Heartbeat":
        self._sign("alive")
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_):
        self._over.set()
        with suppress(RuntimeError):  # the launcher has ended
            self._sign("failed" if kind else "done")

    def report(self, error: Exception):
        """Exit with an error. One process prints it: rank 0 if it has the same error, else the first."""
        if self.rank:
            deadline = time.monotonic() + RANK_ZERO_GRACE
            while not self._reported() and time.monotonic() < deadline:
                time.sleep(0.1)
        if not self._claim():
            sys.exit(2)
        exit_with(f"{error} (on rank {self.rank})" if self.rank else str(error))

    def report_lost_process(self):
        """Exit after a broken connection, and name the process that died, if it is found."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher ends the processes already
        deadline = time.monotonic() + PATIENCE + 2 * BEAT
        dead = None
        with suppress(RuntimeError):  # the launcher has ended
            while not self._reported() and time.monotonic() < deadline:
                if dead := self.find_dead():
                    break
                if self._failed:
                    sys.exit(2)
                time.sleep(0.2)
        if self._reported() or not self._claim():
            sys.exit(2)
        exit_with(_lost(dead or "another process, or a launcher,"))

    def _claim(self) -> bool:
        """True for exactly one process: the one that prints the error."""
        try:
            with self._lock:
                return self.store.add(self.reported_key, 1) == 1
        except RuntimeError:
            return True

    def _reported(self) -> bool:
        try:
            with self._lock:
                return self.store.check([self.reported_key])
        except RuntimeError:
            return False

    def find_dead(self) -> str | None:
        """Description of the first dead process, or None."""
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
        """Thread: send heartbeats and check the others. Ends the process if another is dead, as it may be blocked."""
        failures = 0
        while not self._over.wait(BEAT):
            try:
                self._sign("alive")
                dead = self.find_dead() if self._beats > 2 else None  # all have sent one by then
                failures = 0
            except RuntimeError:
                failures += 1
                dead = "the launcher or rank 0" if failures * BEAT > PATIENCE / 2 else None
            if dead and not self._over.wait(BEAT):  # gives the main thread time to raise its own error
                if self._claim():
                    print(f"error: {_lost(dead)}", file=sys.stderr, flush=True)
                os._exit(2)


def _lost(who: str) -> str:
    """The error message about a dead process."""
    return (
        f"{who} died without an error message (killed, out of memory, or its machine is gone), so the run ends; "
        "start it again with --auto_load 1 to resume from its newest checkpoint"
    )


@functools.cache
def _machine() -> str:
    """Identity of the process namespace: this boot of this machine, this container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _is_gone(process: int) -> bool:
    """Whether a process of this machine has ended; a zombie counts as ended."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
