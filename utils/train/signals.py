"""Signals that ask a run to end: it finishes its step, saves and leaves, instead of losing what it did."""

import os
import signal
import threading
import time
from types import FrameType

# what clusters send before they take a machine away, and Ctrl-C
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAME_REQUEST = 2.0  # seconds; a launcher passes on the Ctrl-C that its processes got as well


class Interrupt:
    """Inside its `with` block, `received` names the first signal that came, None before. Nothing is interrupted.

    A further Ctrl-C, after the moment in which a launcher repeats the first, ends the program at once.
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
        if os.getpid() != self._process:  # a loader worker, in the moment before it ignores signals
            return
        if self.received is None:
            self.received, self._time = signal.Signals(number).name, time.monotonic()
            # print() is not safe here: the signal may have come in the midst of another one
            os.write(2, f"\n{self.received}: saving after this step, then ending\n".encode())
        elif number == signal.SIGINT and time.monotonic() > self._time + SAME_REQUEST:
            raise KeyboardInterrupt


def leave_signals_to_parent():
    """In a loader worker: the training process decides when it ends, even where a signal goes to all processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # SIGTERM is how the parent itself ends its workers, so that it matters who sends it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_for_parent, daemon=True).start()


def _end_for_parent():
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
