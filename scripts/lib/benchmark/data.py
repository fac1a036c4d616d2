"""Rows per second that one core reads from JPEGs of 1000 x 1000 pixels: this project's reader and a plain reader."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.human_mesh import HumanMeshDataset, format_label
from datasets.tsv import TSVWriter
from scripts.lib.benchmark.plain_reader import PlainReader
from scripts.lib.benchmark.timing import Row, Settings, compare
from utils.paths import SAMPLES

SIDE = 1000  # pixels
QUALITIES = (75, 90)  # of JPEGs of 97 and 157 kB; decoding takes most of the time
NUM_ROWS = 48
CROPS = (2.2, 3.8)  # sides of crops / 200 pixels; people fill half to three quarters of the picture


def measure(settings: Settings) -> Iterator[Row]:
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1), torch.set_num_threads(1)  # as in a worker of the loader
    with tempfile.TemporaryDirectory(prefix="benchmark_data_") as folder:
        for quality in QUALITIES:
            yaml_file, size = write_set(Path(folder) / str(quality) / "a.yaml", quality)
            for case, augment in (("evaluation", False), ("training", True)):
                plain, fast = PlainReader(yaml_file, augment), HumanMeshDataset(yaml_file, augment)
                methods = {"plain": lambda rows=plain: read_all(rows), "fast": lambda rows=fast: read_all(rows)}
                case = f"{case}, {SIDE} x {SIDE} JPEG of {size / 1000:.0f} kB, one core"
                yield from compare("data", case, methods, NUM_ROWS, "rows/s", settings)
    cv2.setNumThreads(threads[0]), torch.set_num_threads(threads[1])


def read_all(rows: Dataset):
    for i in range(len(rows)):
        rows[i]


def write_set(yaml_file: Path, quality: int) -> tuple[Path, float]:
    """Write a set of enlarged photographs with random labels -> its yaml, mean size of its JPEGs in bytes."""
    rng, images = np.random.default_rng(0), []
    for path in sorted(SAMPLES.glob("im0*.png")):
        image = cv2.imread(str(path))
        scale = SIDE / min(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)[:SIDE, :SIDE]
        images.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    with TSVWriter(yaml_file) as writer:
        for i in range(NUM_ROWS):
            label = format_label(
                center=rng.uniform(0.4 * SIDE, 0.6 * SIDE, 2),
                scale=rng.uniform(*CROPS),
                keypoints_2d=np.column_stack((rng.uniform(0, SIDE, (24, 2)), np.ones(24))),
                keypoints_3d=np.column_stack((rng.normal(0, 0.5, (24, 3)), np.ones(24))),
                pose=rng.normal(0, 0.5, 72),
                betas=rng.normal(0, 1, 10),
            )
            writer.add(f"person_{i}", images[i % len(images)], label, SIDE, SIDE)
    return yaml_file, float(np.mean([len(image) for image in images]))
