"""Videos in and out, frame by frame: a film of any length takes the memory of a few pictures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from utils.errors import UserError
from utils.files import atomic_path
from utils.media.prefetch import background, prefetch

MAX_PIXELS = 36_000_000  # of a frame, over 8K; more is a decompression bomb or no video
AHEAD = 2  # frames decoded before they are asked for, and encoded after they are given
DEFAULT_RATE = Fraction(25)  # where a file does not tell
QUALITY = {"crf": "20", "preset": "veryfast"}
BT709 = 1  # the code of HD's colours in the H.264 standard


class VideoInfo(NamedTuple):
    """frames: how many the file says or suggests there are, at least 1; height and width as shown upright, pixels."""

    frames: int
    rate: Fraction  # per second
    height: int
    width: int


def read_video_info(path: str | Path) -> VideoInfo:
    """UserError where the file is missing, damaged, no video, or has no frame that can be read."""
    with _open(path) as container:
        stream = _video_stream(container, path)
        rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        seconds = (container.duration or 0) / av.time_base
        frames = stream.frames or round(seconds * rate)
    first = next(read_frames(path))
    return VideoInfo(max(1, int(frames)), Fraction(rate).limit_denominator(1001), *first.shape[:2])


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB, upright, in the order they are shown; damaged ones are left out.

    They are decoded in a thread. UserError as for `read_video_info`.
    """
    return prefetch(_decode(path), AHEAD)


def _decode(path: str | Path) -> Iterator[np.ndarray]:
    shape = None
    with _open(path) as container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                turns = round(frame.rotation / 90) % 4  # counter-clockwise, as in phones' films
                image = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
                shape = shape or image.shape
                if image.shape != shape:  # some streams change their size on the way
                    image = cv2.resize(image, shape[1::-1], interpolation=cv2.INTER_AREA)
                yield image
    if shape is None:
        raise UserError(f"{path} holds no frame that can be read; copy or export it again")


@contextmanager
def write_video(path: str | Path, rate: Fraction) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that adds a frame (H, W, 3) uint8 RGB to an .mp4 file, which appears when the block ends well.

    H.264, as browsers and editors play it; where a side is odd, its last line is shown twice. All frames have one size.
    They are encoded in a thread: a frame that was given must not be changed.
    """
    options = {"movflags": "faststart"}
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options=QUALITY)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = BT709

        def encode(image: np.ndarray):
            height, width = image.shape[:2]
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=BT709)))

        with background(encode, AHEAD) as add:
            yield add
        container.mux(stream.encode())


def record_webcam(number: int, path: Path, seconds: float) -> Path:
    """Record a camera of this computer (0 is the first) to an .mp4 file; UserError where there is none."""
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise UserError(f"webcam {number} not found, or not open to this user; --webcam 0 is the first")
        rate = camera.get(cv2.CAP_PROP_FPS) or 25
        with write_video(path, Fraction(rate).limit_denominator(1001)) as add:
            for _ in range(max(1, round(seconds * rate))):
                there, frame = camera.read()
                if not there:
                    raise UserError(f"webcam {number} gives no picture; check that it is plugged in and not in use")
                add(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    finally:
        camera.release()
    return path


def _open(path: str | Path):
    path = Path(path)
    if not path.is_file():
        raise UserError(f"video not found: {path}; check the path")
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path} is no video this program can read, or damaged; convert it to .mp4") from error


def _video_stream(container, path: str | Path):
    if not container.streams.video:
        raise UserError(f"{path} holds no moving pictures; give a video")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise UserError(f"{path} is {stream.width} x {stream.height} pixels large; scale it down to 8K or less")
    return stream
