"""Rank, device and number format of this process. No process group is needed.

A launcher (torchrun, or python -m torch.distributed.launch --use_env) sets RANK, WORLD_SIZE and LOCAL_RANK in the
environment. Without a launcher the run is a single process.
"""

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from utils.errors import UserError, printable

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MIN_SPEEDUP = 1.3  # a 16-bit format rounds, so it must be at least this many times faster
TRIALS = 20


def rank() -> int:
    """Number of this process among those of the run, from 0; 0 without a launcher."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes of the run; 1 without a launcher, which sets RANK too."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


def is_main() -> bool:
    """Whether this process, rank 0, prints and writes files."""
    return rank() == 0


def print_once(text: str):
    """Print on rank 0 only, see `printable`; flushed, so that a pipe gets the line at once."""
    if is_main():
        print(printable(text, keep="\n"), flush=True)


@contextmanager
def divided_cores(workers: int) -> Iterator[None]:
    """Within the block, each of `workers` Python threads gets its share of PyTorch's CPU threads.

    If each used all cores, they would wait for one another at the end of every operation.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose_device(device: str = "auto") -> torch.device:
    """`--device` -> device of this process: each local rank gets its own GPU. UserError if the device is missing."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"--device '{device}' is not a device: use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cpu":
        return chosen
    if chosen.type != "cuda" or not torch.cuda.is_available():
        raise UserError(f"--device {device}: this machine has no such device; use --device cpu")
    if chosen.index is not None and world_size() > 1:
        raise UserError(f"--device {device} puts every process on one GPU: use --device cuda, one GPU per process")
    index = int(os.environ.get("LOCAL_RANK", 0)) if chosen.index is None else chosen.index
    if index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"GPU {index} is requested, but this machine has {count}: lower --nproc_per_node or --device")
    return torch.device("cuda", index)


def choose_precision(precision: str, device: torch.device | str) -> str:
    """`--precision` -> fp32, bf16 or fp16; `auto` chooses a 16-bit format if this device is faster with it."""
    device = torch.device(device)
    if precision == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16 needs a GPU: a CPU converts it to fp32; use auto, bf16 or fp32")
    return _fastest(device) if precision == "auto" else precision


@functools.cache
def _fastest(device: torch.device) -> str:
    """Time one convolution of HRNet in both formats; takes some hundredths of a second."""
    reduced = "bf16"
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        reduced = "fp16"
    full_seconds, reduced_seconds = _convolution_seconds(device, ("fp32", reduced))
    return reduced if full_seconds > MIN_SPEEDUP * reduced_seconds else "fp32"


@torch.inference_mode()
def _convolution_seconds(device: torch.device, precisions: tuple[str, ...]) -> list[float]:
    """Shortest time of a call in each format, seconds. Formats alternate, so that other load disturbs all equally."""
    batch = 4 if device.type == "cpu" else 64
    operands = []
    for name in precisions:
        pair = (torch.ones(shape, device=device, dtype=DTYPES[name]) for shape in ((batch, 64, 28, 28), (64, 64, 3, 3)))
        operands.append([tensor.to(memory_format=torch.channels_last) for tensor in pair])
    seconds = [float("inf")] * len(precisions)
    for trial in range(TRIALS):
        for i, (maps, weight) in enumerate(operands):
            _synchronize(device)
            started = time.perf_counter()
            F.conv2d(maps, weight, padding=1)
            _synchronize(device)
            if trial:  # the first call chooses and compiles a kernel
                seconds[i] = min(seconds[i], time.perf_counter() - started)
    return seconds


def _synchronize(device: torch.device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which a network runs in bf16 or fp16; fp32 changes nothing."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
