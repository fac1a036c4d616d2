"""Video files as films: frames as the file shows them, each with its own time.

Time, shape and orientation are what the file says: presentation timestamps, sample aspect ratio, display matrix.
A film of any length takes the memory of a few pictures.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Disposition

from utils.errors import UserError
from utils.media.clock import DEFAULT_RATE, Clock, credible, rate_of
from utils.media.prefetch import prefetch

MAX_PIXELS = 36_000_000  # of a frame, over 8K; more is a decompression bomb or no video
AHEAD = 2  # frames decoded before they are asked for
SAMPLE_ASPECTS = (0.2, 5)  # width of a sample in heights; a file that says otherwise is wrong
# Containers and streams that hold their own pictures; not scripts (concat, hls, dash, ...), which open other files
FORMATS = (
    *(
        "mov",
        "mp4",
        "matroska",
        "webm",
        "avi",
        "mpegts",
        "mpeg",
        "mpegvideo",
        "asf",
        "flv",
        "ogg",
        "mxf",
        "gif",
        "apng",
    ),
    *("h261", "h263", "h264", "hevc", "m4v", "mjpeg", "mpjpeg", "dv", "ivf", "yuv4mpegpipe", "rm", "wtv", "nut", "vc1"),
    *("obu", "av1", "vvc", "swf", "smjpeg", "dhav"),
)
SAFE = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}


class VideoInfo(NamedTuple):
    """frames: how many the file says or suggests there are, at least 1; height and width as shown upright, pixels."""

    frames: int
    rate: Fraction  # per second, on average
    height: int
    width: int


class Frame(NamedTuple):
    """image (H, W, 3) uint8 RGB, upright, of square pixels; time in seconds since the first frame."""

    image: np.ndarray
    time: float


class VideoFile:
    """A video file as a film, whose frames may be read several times. UserError as for `open_video`, and if no frame
    can be read.

    times: of the frames that were reached so far, from the first on, seconds. start: the timestamp of the first.
    """

    def __init__(self, path: str | Path):
        self.path, self.times, self.start = Path(path), [], None
        self._timestamps: list[int | None] = []  # of the same frames, as the file has them
        with open_video(path) as container:
            self.info = _header(container, video_stream(container, path))
        height, width = next(self._from_start()).image.shape[:2]
        self.info = self.info._replace(height=height, width=width)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames number `start` to `stop` - 1, decoded in a thread; damaged ones are left out and have no number.

        If all of them were reached before, `start` is found without decoding the whole film.
        """
        return prefetch(self._between(start, stop), AHEAD)

    def _between(self, start: int, stop: int | None) -> Iterator[Frame]:
        if start > 0 and stop is not None and stop <= len(self.times):
            numbers = {timestamp: number for number, timestamp in enumerate(self._timestamps)}
            entered = False
            if None not in numbers and len(numbers) == len(self.times):
                for timestamp, _, image in _decode(self.path, self._timestamps[start]):
                    number = numbers.get(timestamp, -1)
                    if not entered and number > start:
                        break  # the file's index leads to a later frame
                    entered = entered or number >= 0
                    if number >= stop:
                        return
                    if number >= start:
                        yield Frame(fit(image, *self.info[2:]), self.times[number])
            if entered:
                return
        for number, frame in enumerate(self._from_start()):
            if number == stop:
                return
            if number >= start:
                yield frame

    def _from_start(self) -> Iterator[Frame]:
        clock, shape = Clock(self.info.rate), None
        for number, (timestamp, seconds, image) in enumerate(_decode(self.path)):
            shape = shape or image.shape[:2]
            time = clock(seconds)
            self.start = seconds if number == 0 else self.start
            if number == len(self.times):
                self.times.append(time)
                self._timestamps.append(timestamp)
            yield Frame(fit(image, *shape), time)
        if shape is None:
            raise UserError(f"{self.path} holds no frame that can be read; copy or export it again")


def read_video_info(path: str | Path) -> VideoInfo:
    """Length, rate and size of a video file; errors as for `VideoFile`."""
    return VideoFile(path).info


def read_frames(path: str | Path) -> Iterator[Frame]:
    """All frames of a video file, see `VideoFile.frames`."""
    return VideoFile(path).frames()


def open_video(path: str | Path) -> av.container.InputContainer:
    """UserError where the file is missing, damaged, or no video. Opens no other file, whatever is written in it."""
    path = Path(path)
    if not os.path.isfile(path):
        raise UserError(f"video not found: {path}; check the path")
    try:
        # with the protocol in front, a colon in the name is part of the name
        return av.open(f"file:{path}", metadata_errors="replace", options=SAFE)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path} is no video this program can read, or damaged; convert it to .mp4") from error


def video_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]  # no album covers
    if not streams:
        raise UserError(f"{path} holds no moving pictures; give a video")
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        raise UserError(f"the pictures in {path} have a format that this program cannot read; convert it to .mp4")
    if streams[0].width * streams[0].height > MAX_PIXELS:
        size = f"{streams[0].width} x {streams[0].height}"
        raise UserError(f"{path} is {size} pixels large; scale it down to 8K or less")
    return streams[0]


def fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (H, W, 3) scaled to lie inside height x width, black around it; unchanged if it has that size."""
    if image.shape[:2] == (height, width):
        return image
    zoom = min(height / image.shape[0], width / image.shape[1])
    size = [min(full, max(1, round(zoom * own))) for full, own in zip((height, width), image.shape, strict=False)]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    result = np.zeros((height, width, 3), np.uint8)
    result[top : top + size[0], left : left + size[1]] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return result


def _decode(path: Path, enter_at: int | None = None) -> Iterator[tuple[int | None, float | None, np.ndarray]]:
    """Timestamp as the file has it, the same in seconds, image upright with square pixels (H, W, 3) uint8 RGB.

    enter_at: a timestamp; begin at the last key frame that is not after it.
    """
    with open_video(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        if enter_at is not None:
            container.seek(enter_at, stream=stream)
        aspect = float(stream.sample_aspect_ratio or 1)
        aspect = aspect if SAMPLE_ASPECTS[0] <= aspect <= SAMPLE_ASPECTS[1] else 1
        for frame in _decode_packets(container, stream):
            image = frame.to_ndarray(format="rgb24")
            if aspect != 1:  # the shorter side of a sample grows: nothing is thrown away
                height, width = image.shape[:2]
                size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
                image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
            seconds = None if frame.pts is None else float(frame.pts * frame.time_base)
            yield frame.pts, seconds, _turn(image, frame)


def _decode_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    with suppress(av.FFmpegError):  # of the container itself: it ends here
        for packet in packets:
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            yield from frames


def _turn(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """The image as the frame's display matrix wants it shown: in quarter turns, mirrored or not."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float)  # (x, y) is shown at (ax + cy, bx + dy)
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _header(container: av.container.InputContainer, stream: av.VideoStream) -> VideoInfo:
    """Length and rate by the file's header, or, if that is incomplete or contradicts itself, by all its timestamps."""
    rate, count = stream.average_rate, stream.frames
    seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / av.time_base
    if credible(rate) and count and seconds and 0.8 < count / seconds / rate < 1.25:
        return VideoInfo(count, rate, stream.height, stream.width)
    times = []
    with suppress(av.FFmpegError):
        times += [float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None]
    rate = rate_of(times) if len(times) > 1 else rate if credible(rate) else DEFAULT_RATE
    return VideoInfo(max(1, len(times)), rate, stream.height, stream.width)
