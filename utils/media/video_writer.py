"""Films written as .mp4: every frame at its own time, with the sound of the film they come from."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np

from utils.errors import UserError
from utils.files import atomic_path
from utils.media.prefetch import background
from utils.media.video import VideoFile, open_video

BEHIND = 2  # frames encoded after they are given
QUALITY = {"crf": "20", "preset": "veryfast"}
BT709 = 1  # the code of HD's colours in the H.264 standard
FINEST = 10_000  # ticks per second at least, by which times are rounded
COPIED = (
    "aac",
    "mp3",
    "mp3float",
    "ac3",
    "eac3",
    "alac",
    "opus",
    "flac",
)  # sound that .mp4 files hold as it is; other sound becomes AAC


@contextmanager
def write_video(path: str | Path, rate: Fraction, sound_of: VideoFile | None = None) -> Iterator[Callable[..., None]]:
    """Give a function `add(image, time=None)` that adds a frame (H, W, 3) uint8 RGB to an .mp4 file, which appears when
    the block ends well.

    time: seconds since the first frame, increasing; by default the next one at `rate`. sound_of: a video whose sound is
    kept. H.264, as browsers and editors play it; if a side is odd, its last line is shown twice. All frames have one
    size. They are encoded in a thread: a frame that was given must not be changed.
    """
    options = {"movflags": "faststart"}
    rate = Fraction(rate).limit_denominator(100_000)
    ticks = rate.numerator * -(-FINEST // rate.numerator)
    with (
        _as_user_error(path),
        atomic_path(path) as temporary,
        av.open(f"file:{temporary}", "w", format="mp4", options=options) as container,
    ):
        stream = container.add_stream("libx264", rate=rate, options=QUALITY)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = BT709
        stream.codec_context.time_base = Fraction(1, ticks)
        sound = None if sound_of is None else _Sound(sound_of, container)
        durations: dict[int, int] = {}
        number, waiting, step = 0, None, round(ticks / rate)  # the last frame is shown as long as the one before it

        def mux(packets: list[av.Packet]):
            for packet in packets:  # the encoder gives all of them the duration of its rate
                packet.duration = durations.pop(packet.pts, packet.duration)
                container.mux(packet)

        def encode(job: tuple[np.ndarray, int, int]):
            image, timestamp, duration = job
            height, width = image.shape[:2]
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", dst_colorspace=BT709)
            frame.pts, frame.duration, frame.time_base = timestamp, duration, Fraction(1, ticks)
            durations[timestamp] = duration
            mux(stream.encode(frame))
            if sound:
                sound.copy_until((timestamp + duration) / ticks)

        with background(encode, BEHIND) as hand_over:

            def add(image: np.ndarray, time: float | None = None):
                nonlocal number, waiting, step
                timestamp = round((number / rate if time is None else time) * ticks)
                if waiting:
                    timestamp = max(timestamp, waiting[1] + 1)
                    step = timestamp - waiting[1]
                    hand_over((*waiting, step))
                waiting, number = (image, timestamp), number + 1

            yield add
            if waiting:
                hand_over((*waiting, step))
        mux(stream.encode())
        if sound:
            sound.close()


@contextmanager
def _as_user_error(path: str | Path) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise UserError(f"{path} cannot be encoded ({error}); give a film of another size or rate") from error


class _Sound:
    """Copies the first sound track of a video, if there is one, into a container, in step with its pictures."""

    def __init__(self, film: VideoFile, container: av.container.OutputContainer):
        self.container, self.film, self.source, self.packets = container, film, None, iter(())
        with suppress(UserError, av.FFmpegError, ValueError):  # a film without sound is better than none
            self.source = open_video(film.path)
            tracks = [track for track in self.source.streams.audio if track.codec_context is not None]
            if tracks:
                copied = tracks[0].codec_context.name in COPIED and self._can_be_copied(tracks[0])
                self.packets = self._copied(tracks[0]) if copied else self._encoded(tracks[0])
        self.waiting = self._next()

    def copy_until(self, seconds: float):
        """Add what sounds before a time since the first frame."""
        while self.waiting is not None and self.waiting.pts * self.waiting.time_base < seconds:
            try:
                self.container.mux(self.waiting)
            except av.FFmpegError:  # damaged sound ends here
                self.waiting = None
            else:
                self.waiting = self._next()

    def close(self):
        if self.source is not None:
            self.source.close()

    def _next(self) -> av.Packet | None:
        with suppress(av.FFmpegError):  # damaged sound ends here
            return next(self.packets, None)

    def _can_be_copied(self, track: av.AudioStream) -> bool:
        """Whether an .mp4 file of this sound alone can be begun and ended: a damaged header is found at the end."""
        try:
            with open_video(self.film.path) as source, av.open(io.BytesIO(), "w", format="mp4") as trial:
                target = trial.add_stream_from_template(source.streams[track.index])
                packet = next(source.demux(source.streams[track.index]))
                packet.stream = target
                trial.mux(packet)
        except (av.FFmpegError, ValueError):
            return False
        return True

    def _copied(self, track: av.AudioStream) -> Iterator[av.Packet]:
        target = self.container.add_stream_from_template(track)
        return self._shifted(self.source.demux(track), lambda packet: [packet], target)

    def _encoded(self, track: av.AudioStream) -> Iterator[av.Packet]:
        target = self.container.add_stream("aac", rate=track.rate or 48000)
        target.layout = "mono" if track.channels == 1 else "stereo"
        return chain(self._shifted(self.source.decode(track), target.encode, target), self._rest(target))

    def _rest(self, target: av.AudioStream) -> Iterator[av.Packet]:
        """What the encoder still holds at the end."""
        for packet in target.encode(None):
            packet.stream = target
            yield packet

    def _shifted(self, items: Iterator, packets_of: Callable, target: av.AudioStream) -> Iterator[av.Packet]:
        for item in items:
            if item.pts is None:
                continue
            item.pts -= round((self.film.start or 0) / item.time_base)
            if isinstance(item, av.Packet):
                item.dts = item.pts
            if item.pts < 0:
                continue
            for packet in packets_of(item):
                packet.stream = target
                yield packet
