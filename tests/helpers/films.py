"""Films made on the spot: any times, any geometry, with or without sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = Fraction(1, 60_000)


def make_film(
    path: Path,
    images: list[np.ndarray],
    times: list[float],
    codec: str = "libx264",
    claimed_rate: int = 30,
    aspect: Fraction | None = None,
    degrees: float | None = None,
    mirror: bool = False,
    sound: str | None = None,
) -> Path:
    """Write images (H, W, 3) uint8 RGB at `times`, seconds.

    aspect: width of a sample in heights. degrees, mirror: the display matrix turns counter-clockwise, then mirrors left
    and right. sound: an audio codec; one second of it has a click at 0.5 s.
    """
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(codec, rate=claimed_rate)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = TICKS
        if codec == "libx264":
            stream.options = {"crf": "12", "preset": "veryfast"}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if degrees is not None:
            stream.set_display_rotation(degrees, hflip=mirror)
        track = container.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round(time / TICKS), TICKS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if track is not None:
            wave = np.zeros((1, 48_000), np.float32)
            wave[0, 24_000:24_100] = 0.9
            for start in range(0, 48_000, 1024):
                part = np.ascontiguousarray(wave[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(track.encode(frame))
            container.mux(track.encode())
    return path
