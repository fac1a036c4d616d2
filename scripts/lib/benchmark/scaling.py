"""Time and memory for growing batches, data sets and numbers of processes, with a plot."""

import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.multiprocessing as mp
from matplotlib.figure import Figure

from datasets.build import build_loader
from datasets.feature_cache import LABELS, FeatureCache, shard_path, write_shard
from scripts.lib.benchmark.machine import own_memory, peak_memory, usable_cores
from scripts.lib.benchmark.timing import Row, Settings, interleave
from scripts.lib.benchmark.trainee import Trainee, random_features, random_rows
from utils.files import atomic_path
from utils.process import choose_device
from utils.train.batches import on_device
from utils.train.distributed import data_parallel, process_group

RECIPE = "w32"
BATCHES = {"cpu": (1, 2, 4, 6, 8, 12), "cuda": (8, 16, 32, 64, 100, 128)}
IMAGES, IMAGE_BATCH = (512, 1024, 2048, 4096), 32  # people in an epoch of cached features
SHARD = 256
PROCESSES = (1, 2, 4, 8)  # up to the number of cores or GPUs
PROCESS_STEPS, PROCESS_BATCH = 8, 64


class Curve(NamedTuple):
    """A measured value in `unit` and memory in MB for each size. Both should be linear in the size."""

    name: str
    unit: str
    sizes: tuple[int, ...]
    values: list[float]
    memory: list[float]


def measure(settings: Settings) -> Iterator[Row]:
    curves = []
    for over in (over_batches, over_images, over_processes):
        curves.append(over(settings))
        yield from rows_of(curves[-1])
    draw(curves, settings.output / "scaling.png")


def over_batches(settings: Settings) -> Curve:
    """Time of a training step in bfloat16, over the batch size."""
    trainee, sizes = Trainee(RECIPE, settings.device, "bf16"), BATCHES[settings.device.type]
    batches = {size: trainee.batch(size) for size in sizes}
    methods = {str(size): lambda batch=batch: trainee.step(batch) for size, batch in batches.items()}
    seconds = interleave(methods, settings.rounds, settings.device)
    memory = [peak_memory(method, settings.device) for method in methods.values()]
    return Curve("images in a batch", "s", sizes, [statistics.median(times) for times in seconds.values()], memory)


def over_images(settings: Settings) -> Curve:
    """Time of a training epoch on cached features from the disk, over the number of images; memory at its end."""
    trainee, seconds, memory = Trainee("movenet", settings.device, "bf16"), [], []
    with tempfile.TemporaryDirectory(prefix="benchmark_scaling_") as folder:
        write_people(Path(folder), IMAGES[-1])
        for size in (IMAGE_BATCH, *IMAGES):  # the first one warms up
            loader = build_loader(FeatureCache(folder, size), batch_size=IMAGE_BATCH, num_workers=0, train=True)
            started = time.perf_counter()
            for batch in on_device(loader, settings.device):
                trainee.step(batch)
            if settings.device.type == "cuda":
                torch.cuda.synchronize(settings.device)
            seconds.append(time.perf_counter() - started)
            memory.append(own_memory(settings.device))
    return Curve("images in an epoch", "s", IMAGES, seconds[1:], memory[1:])


def write_people(folder: Path, count: int):
    """Write a feature cache of random people."""
    for number in range(-(-count // SHARD)):
        rows = random_rows(SHARD)
        write_shard(shard_path(folder, number), random_features(SHARD), {name: rows[name] for name in LABELS}, {})


def over_processes(settings: Settings) -> Curve:
    """Images per second of data-parallel training with one thread or GPU per process; memory per process."""
    on_gpu = settings.device.type == "cuda"
    room = torch.cuda.device_count() if on_gpu else usable_cores()
    counts = tuple(count for count in PROCESSES if count <= room)
    queue, speed, memory = mp.get_context("spawn").SimpleQueue(), [], []
    for count in counts:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = mp.spawn(train, args=(count, port, settings.device.type, queue), nprocs=count, join=False)
        while not context.join():  # raises the error of a process that fails
            pass
        results = [queue.get() for _ in range(count)]
        speed.append(count * PROCESS_STEPS * PROCESS_BATCH / max(seconds for seconds, _ in results))
        memory.append(statistics.mean(used for _, used in results))
    return Curve("processes", "images/s", counts, speed, memory)


def train(rank: int, count: int, port: int, device_type: str, queue: mp.SimpleQueue):
    """One of `count` processes: put the seconds of PROCESS_STEPS and the MB in use after them into the queue."""
    environment = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in environment.items()})
    torch.set_num_threads(1)
    device = choose_device(device_type)
    with process_group(device):
        trainee = Trainee("movenet", device, "bf16")
        trainee.model, batch = data_parallel(trainee.model), trainee.batch(PROCESS_BATCH)
        trainee.step(batch)
        started = time.perf_counter()
        for _ in range(PROCESS_STEPS):
            trainee.step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        queue.put((time.perf_counter() - started, own_memory(device)))


def rows_of(curve: Curve) -> Iterator[Row]:
    """A row for each size. The notes of the last row have the slopes of fitted lines and their r2."""
    fits = {}
    if len(curve.sizes) > 2:
        for what, values in ((curve.unit, curve.values), ("mb", curve.memory)):
            fits[f"{what} for each more"], fits[f"{what} r2"] = line(curve.sizes, values)
    for size, value, memory in zip(curve.sizes, curve.values, curve.memory, strict=True):
        notes = {"memory_mb": memory} | (fits if size == curve.sizes[-1] else {})
        yield Row("scaling", f"{curve.name}: {size}", "bf16", value, curve.unit, None, notes)


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line through points, and r2: the share of the variance that it explains."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    slope, start = np.polyfit(x, y, 1)
    return float(slope), float(1 - np.var(y - slope * x - start) / max(np.var(y), 1e-12))


def draw(curves: list[Curve], path: Path):
    """Plot values above and memory below, one column per curve. Writes a PNG."""
    figure = Figure(figsize=(3.6 * len(curves), 5), layout="constrained")
    for axes, curve in zip(figure.subplots(2, len(curves), sharex="col", squeeze=False).T, curves, strict=True):
        for axis, values, label in zip(axes, (curve.values, curve.memory), (curve.unit, "MB"), strict=True):
            axis.plot(curve.sizes, values, "o-")
            axis.set_ylim(0, 1.15 * max(values))
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
        axes[1].set_xlabel(curve.name)
        axes[1].set_xticks(curve.sizes)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
