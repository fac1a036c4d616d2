"""Work for visitors of the web page: one job at a time, the others wait in line."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from utils.errors import UserError


class Progress(NamedTuple):
    """What a job does, and how many of its frames are done."""

    step: str = ""
    done: int = 0
    total: int = 0


class Stopped(Exception):
    """Raised inside a job that nobody waits for any longer."""


class Job:
    """One job of `Jobs`. progress: the latest report of the work."""

    def __init__(self):
        self.progress = Progress()
        self._stopped = threading.Event()
        self._future: Future

    def report(self, progress: Progress):
        """For the work: say how far it is. Raises Stopped if the job was stopped."""
        if self._stopped.is_set():
            raise Stopped
        self.progress = progress

    def wait(self, seconds: float) -> bool:
        """Wait at most this long -> whether the job has ended."""
        return not wait([self._future], seconds).not_done

    def stop(self):
        """A job in line leaves it; a job at work ends at its next report; a job that has ended stays as it is."""
        self._stopped.set()
        self._future.cancel()

    def result(self) -> Any:
        """What the work returned; its error is raised. UserError if the job was stopped."""
        try:
            return self._future.result()
        except (Stopped, CancelledError) as error:
            raise UserError("this request was stopped") from error


class Jobs:
    """Runs jobs one after the other in one thread; at most `waiting` jobs are in line."""

    def __init__(self, waiting: int):
        self.waiting = waiting
        self._pool = ThreadPoolExecutor(1)
        self._line: list[Job] = []
        self._lock = threading.Lock()

    def submit(self, work: Callable[[Job], Any], cleanup: Callable[[], None] = lambda: None) -> Job:
        """Put work(job) at the end of the line. cleanup: called when the job has ended, also if it never began.

        UserError if the line is full; then `cleanup` is called at once.
        """
        job = Job()
        with self._lock:
            full = len(self._line) > self.waiting
            if not full:
                self._line.append(job)
                job._future = self._pool.submit(work, job)
        if full:
            cleanup()
            raise UserError(f"{self.waiting} requests are waiting already; try again in a few minutes")
        job._future.add_done_callback(lambda _: self._end(job, cleanup))
        return job

    def place(self, job: Job) -> int:
        """How many jobs are before this one; 0 if it is at work or has ended."""
        with self._lock:
            return self._line.index(job) if job in self._line else 0

    def close(self):
        """Stop all jobs, and wait for the one at work."""
        with self._lock:
            line = list(self._line)
        for job in line:
            job.stop()
        self._pool.shutdown(cancel_futures=True)

    def _end(self, job: Job, cleanup: Callable[[], None]):
        with self._lock:
            self._line.remove(job)
        cleanup()
