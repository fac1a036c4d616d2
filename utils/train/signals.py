"""Signals that end a run: it finishes its step, saves a checkpoint and exits."""

import os
import signal
import threading
import time
from types import FrameType

# sent by clusters before they take a machine away, and by Ctrl-C
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))
SAME_REQUEST = 2.0  # seconds; a launcher passes on the Ctrl-C that its processes got as well


class Interrupt:
    """Inside its `with` block, `received` is the name of the first signal, or None. The program continues.

    A second Ctrl-C ends the program at once, except within the seconds in which a launcher repeats the first.
    """

    def __init__(self):
        self.received: str | None = None
        self._time = 0.0
        self._process = os.getpid()

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None):
        if os.getpid() != self._process:  # a loader worker that does not ignore signals yet
            return
        if self.received is None:
            self.received, self._time = signal.Signals(number).name, time.monotonic()
            # print() is not safe here: the signal may have interrupted another print()
            os.write(2, f"\n{self.received}: saving after this step, then ending\n".encode())
        elif number == signal.SIGINT and time.monotonic() > self._time + SAME_REQUEST:
            raise KeyboardInterrupt


def leave_signals_to_parent():
    """Call this in a loader worker: only its training process ends it, even if a signal reaches all processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # the parent ends its workers by SIGTERM, so the sender matters
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_for_parent, daemon=True).start()


def _end_for_parent():
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
