"""Rows a second that one core builds of 3DPW, against the mere copy of its JPEGs; memory over 10,000 rows."""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from pybase64 import b64encode

from datasets.builders import BuildOptions, build_set
from datasets.builders.readers.threedpw import ThreeDPW
from scripts.lib.benchmark.timing import Row, Settings, compare
from scripts.lib.builders.bodies import load_bodies
from utils.paths import OPEN_BODY, ROOT, SAMPLES

SIZE = (1920, 1080)  # of 3DPW's pictures
NUM_ROWS = 256
FRAMES = 1000  # of a sequence, when memory is measured
MEMORY_ROWS = (1000, 10000)


def measure(settings: Settings) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="benchmark_builders_") as folder:
        root = Path(folder)
        size = write_release(root, sequences=1, frames=NUM_ROWS)
        pictures = sorted((root / "imageFiles/s_00").iterdir())
        bodies = load_bodies(OPEN_BODY, None)
        methods = {"copy of JPEGs": lambda: copy(pictures, root / "copy.tsv"), "build": lambda: build(root, bodies)}
        case = f"3DPW, {SIZE[0]} x {SIZE[1]} JPEG of {size / 1000:.0f} kB, one core"
        yield from compare("builders", case, methods, NUM_ROWS, "rows/s", settings)
    for rows in MEMORY_ROWS:
        yield Row("builders", "3DPW, peak memory", f"{rows} rows", peak_memory(rows), "MB", None, {})


def copy(pictures: list[Path], target: Path):
    with target.open("wb") as file:
        for picture in pictures:
            file.write(b64encode(picture.read_bytes()) + b"\n")


def build(root: Path, bodies):
    reader = ThreeDPW(root / "imageFiles", root / "sequenceFiles", ("train",), bodies)
    build_set(reader, root / "out/3dpw/train.yaml", bodies, BuildOptions(1, 0, overwrite=True, quiet=True))


def write_release(root: Path, sequences: int, frames: int) -> float:
    """A release of made-up motion with enlarged photographs as pictures -> mean bytes of a JPEG."""
    rng, files = np.random.default_rng(0), []
    for i, path in enumerate(sorted(SAMPLES.glob("im0*.png"))[:4]):
        image = cv2.resize(cv2.imread(str(path)), SIZE, interpolation=cv2.INTER_CUBIC)
        files.append(root / f"{i}.jpg")
        cv2.imwrite(str(files[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    (root / "sequenceFiles/train").mkdir(parents=True)
    for number in range(sequences):
        name = f"s_{number:02d}"
        (root / "imageFiles" / name).mkdir(parents=True)
        for frame in range(frames):
            os.link(files[frame % len(files)], root / f"imageFiles/{name}/image_{frame:05d}.jpg")
        camera = np.diag([1.0, -1, -1, 1])
        camera[2, 3] = 4
        detections = rng.uniform(300, 900, (frames, 3, 18))
        detections[:, 2] = 0.9
        content = {
            "sequence": name,
            "poses": [rng.normal(0, 0.2, (frames, 72))],
            "trans": [rng.normal(0, 0.1, (frames, 3))],
            "betas": [rng.normal(0, 1, 10)],
            "genders": ["m"],
            "cam_poses": np.repeat(camera[None], frames, 0),
            "cam_intrinsics": np.array([[1961.0, 0, 540], [0, 1969.0, 960], [0, 0, 1]]),
            "campose_valid": [np.ones(frames, int)],
            "poses2d": [detections],
            "jointPositions": [rng.normal(0, 1, (frames, 72))],
        }
        (root / f"sequenceFiles/train/{name}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return float(np.mean([file.stat().st_size for file in files]))


def peak_memory(rows: int) -> float:
    """MB of a process that builds so many rows alone."""
    with tempfile.TemporaryDirectory(prefix="benchmark_builders_") as folder:
        write_release(Path(folder), sequences=max(1, rows // FRAMES), frames=min(rows, FRAMES))
        code = (
            "import sys, torch; from pathlib import Path\n"
            "from scripts.lib.benchmark.builders import build; from scripts.lib.builders.bodies import load_bodies\n"
            "from utils.paths import OPEN_BODY\n"
            "torch.set_num_threads(1); build(Path(sys.argv[1]), load_bodies(OPEN_BODY, None))\n"
            "from scripts.lib.benchmark.machine import peak_resident\n"
            "print(peak_resident())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return float(done.stdout.split()[-1])
