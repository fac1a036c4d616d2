"""Times of frames from the timestamps of a file, which may be missing, repeated or jump back."""

from collections.abc import Sequence
from fractions import Fraction

DEFAULT_RATE = Fraction(25)  # per second, where nothing else is known
RATES = (Fraction(1, 1000), Fraction(480))  # frames per second that are believed without a look at the timestamps
TICK = 0.001  # seconds between frames whose timestamps are equal
JUMP = 0.5  # seconds backwards from which on a timestamp belongs to a new count, not to a frame out of order


class Clock:
    """Call it with each frame's timestamp in seconds (None: it has none) -> seconds since the first frame, increasing.

    rate: frames per second, for frames without a timestamp.
    """

    def __init__(self, rate: Fraction):
        self.step = float(1 / rate)
        self.zero = self.last = None

    def __call__(self, timestamp: float | None) -> float:
        if self.last is None:
            self.zero, self.last = timestamp, 0.0
            return self.last
        if timestamp is None or self.zero is None:
            self.last += self.step
            self.zero = self.zero if timestamp is None else timestamp - self.last
            return self.last
        time = timestamp - self.zero
        if time <= self.last - JUMP:  # the file starts to count again
            time = self.last + self.step
            self.zero = timestamp - time
        self.last = max(time, self.last + TICK)
        return self.last


def credible(rate: Fraction | None) -> bool:
    return rate is not None and RATES[0] <= rate <= RATES[1]


def rate_of(times: Sequence[float]) -> Fraction:
    """Frames per second of frames at these times, on average; 25 where there is one frame."""
    span = max(times) - min(times) if len(times) > 1 else 0
    if span <= 0:
        return DEFAULT_RATE
    rate = Fraction((len(times) - 1) / span)
    return rate.limit_denominator(1001) if rate >= 1 else 1 / (1 / rate).limit_denominator(1001)
