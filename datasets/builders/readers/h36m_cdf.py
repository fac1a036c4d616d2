"""Human3.6M as its owners give it: CDF files of 3D and 2D joints, and videos. Needs `cdflib`.

S1/MyPoseFeatures/D3_Positions_mono/ACTION.CAMERA.cdf has 32 joints in millimetres in the camera's frame, D2_Positions
the same in pixels; S1/Videos/ACTION.CAMERA.mp4 has 50 frames a second (Ionescu et al., TPAMI 2014).
"""

import functools
import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from datasets.builders.boxes import crop_of_points
from datasets.builders.pictures import encode_jpeg
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import numbers
from utils.errors import UserError

CAMERAS = ("54138969", "55011271", "58860488", "60457274")  # numbers 1 to 4 of the JSON release
# of the 32 joints, and their places in J24
KEPT = (11, 6, 7, 8, 1, 2, 3, 12, 24, 14, 15, 17, 18, 19, 25, 26, 27)
TO_J24 = (14, 3, 4, 5, 2, 1, 0, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6)
FRAMES = 64  # of a unit: pictures of a video take memory until they are written


class Human36MOfficial:
    """Frames of subjects; every: step between frames; cameras: numbers 1..4, None for all."""

    def __init__(self, root: Path, subjects: tuple[int, ...], every: int = 5, cameras: tuple[int, ...] | None = None):
        self.every = every
        names = [CAMERAS[camera - 1] for camera in cameras or (1, 2, 3, 4)]
        self.files = [
            file
            for subject in subjects
            for file in sorted((root / f"S{subject}/MyPoseFeatures/D3_Positions_mono").glob("*.cdf"))
            if file.stem.split(".")[-1] in names and not file.name.startswith("_ALL")
        ]
        if not self.files:
            raise UserError(
                f"no .cdf of subjects {', '.join(map(str, subjects))} in {root}/S*/MyPoseFeatures/D3_Positions_mono; "
                "unpack Poses_D3_Positions_mono, Poses_D2_Positions and Videos of Human3.6M there"
            )

    def fingerprint(self) -> dict:
        return {"format": "h36m official", "files": file_state(*self.files), "every": self.every}

    def notes(self) -> list[str]:
        return ["the official release has no SMPL fits: rows have 2D and 3D keypoints alone"]

    def units(self) -> list[Unit]:
        units = []
        for file in self.files:
            try:
                chosen = len(range(0, len(read_cdf(file)), self.every))
            except UserError as error:
                units.append(Unit(0, (file, 0, str(error))))
                continue
            units += [Unit(min(FRAMES, chosen - i), (file, i, "")) for i in range(0, chosen, FRAMES)]
        return units

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        file, start, fault = unit.arguments
        if fault:
            yield Dropped(str(file), "joints cannot be read", fault)
            return
        subject = file.parents[2]
        video = subject / "Videos" / f"{file.stem}.mp4"
        frames = [i * self.every for i in range(start, start + unit.rows)]
        try:
            joints = read_cdf(file)
            pixels = read_cdf(subject / "MyPoseFeatures/D2_Positions" / file.name)
            pictures = decode_frames(video, frames)
        except UserError as error:
            for frame in frames:
                yield Dropped(f"{file} frame {frame}", "video or joints cannot be read", str(error))
            return

        def make(frame: int) -> PersonRecord:
            if frame not in pictures:
                raise BadEntry("video ends before its joints")
            points = numbers(joints[frame], (32, 3), "D3_Positions")[list(KEPT)] / 1000
            places = numbers(pixels[frame], (32, 2), "D2_Positions")[list(KEPT)]
            center, scale = crop_of_points(places)
            keypoints_2d, keypoints_3d = np.zeros((24, 3)), np.zeros((24, 4))
            keypoints_2d[list(TO_J24)] = np.column_stack((places, np.ones(17)))
            keypoints_3d[list(TO_J24)] = np.column_stack((points, np.ones(17)))
            picture = pictures.pop(frame)
            return PersonRecord(
                key=f"{subject.name}_{file.stem}_{frame + 1:06d}.jpg".replace(" ", "_"),
                where=f"{file} frame {frame}",
                image=lambda: encode_jpeg(picture),
                center=center,
                scale=scale,
                keypoints_2d=keypoints_2d,
                keypoints_3d=keypoints_3d,
                more={"subject": subject.name, "frame": frame},
            )

        yield from records(frames, make, lambda frame: f"{file} frame {frame}")


@functools.lru_cache(maxsize=4)
def read_cdf(path: Path) -> np.ndarray:
    """Variable Pose of a CDF file, [1, F, 96] or [1, F, 64] -> (F, 32, 3) or (F, 32, 2)."""
    try:
        import cdflib
    except ImportError as error:
        raise UserError("the official Human3.6M files need cdflib: pip install -r requirements-builders.txt") from error
    try:
        pose = np.asarray(cdflib.CDF(path).varget("Pose"), np.float64)
    except Exception as error:  # damaged files fail in a dozen ways
        raise UserError(f"{path} is missing or not a CDF file of Human3.6M ({error}); download it again") from error
    columns = pose.shape[-1]
    if columns % 32:
        raise UserError(f"{path}: Pose has shape {pose.shape}, expected 32 joints; download it again")
    return pose.reshape(-1, 32, columns // 32)


def decode_frames(video: Path, wanted: list[int]) -> dict[int, np.ndarray]:
    """Frames of a video by number, counted from 0 -> (H, W, 3) uint8 RGB of each that is there."""
    found, missing = {}, set(wanted)
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            start, rate = stream.start_time or 0, float(stream.average_rate)
            seconds = wanted[0] / rate
            container.seek(start + math.floor(seconds / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                number = round(float((frame.pts - start) * stream.time_base) * rate)
                if number in missing:
                    found[number] = frame.to_ndarray(format="rgb24")
                    missing.remove(number)
                if number >= wanted[-1]:
                    break
    except (OSError, IndexError, ValueError, av.error.FFmpegError) as error:
        raise UserError(f"{video} is missing or not a video ({error}); unpack Videos of Human3.6M again") from error
    return found
