"""A recording of a webcam, its frames stamped by the clock: what cameras claim as their rate is often wrong."""

import time
from fractions import Fraction
from pathlib import Path

import cv2

from utils.errors import UserError
from utils.media.video_writer import write_video

RATE = Fraction(30)  # of the file's header; every frame has its own time


def record_webcam(number: int, path: Path, seconds: float) -> Path:
    """Record a camera of this computer (0 is the first) to an .mp4 file; UserError if there is none."""
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise UserError(f"webcam {number} not found, or not open to this user; --webcam 0 is the first")
        with write_video(path, RATE) as add:
            start, now = None, 0.0
            while start is None or now < seconds:
                there, frame = camera.read()
                if not there:
                    raise UserError(f"webcam {number} gives no picture; check that it is plugged in and not in use")
                start = time.monotonic() if start is None else start
                now = time.monotonic() - start
                if now < seconds or now == 0:
                    add(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), now)
    finally:
        camera.release()
    return path
