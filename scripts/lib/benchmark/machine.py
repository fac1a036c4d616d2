"""Description of the machine, and the memory and FLOPs of a call."""

import contextlib
import ctypes
import datetime
import os
import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts.lib.benchmark.timing import interleave

PEAK_SIZE = {"cpu": 2048, "cuda": 8192}  # of square matrices, so large that arithmetic dominates


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Names and versions of hardware and software."""
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "device": device.type,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def peak_memory(call: Callable[[], object], device: torch.device) -> float:
    """Peak memory of a call beyond the memory in use before it, MB: of the GPU, or of this process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    _forget_peak()
    before = resident_memory()
    call()
    return max(0.0, peak_resident() - before)


def resident_memory() -> float:
    """Resident memory of this process in MB; on systems other than Linux its maximum so far."""
    return _status("VmRSS:") or peak_resident()


def own_memory(device: torch.device) -> float:
    """Memory in use, MB: of the GPU, or of this process without mapped files, whose share varies."""
    return (
        torch.cuda.memory_allocated(device) / 1e6 if device.type == "cuda" else _status("RssAnon:") or peak_resident()
    )


def peak_resident() -> float:
    """Largest memory of this process so far, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _status(key: str) -> float | None:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(key)), None)


def _forget_peak():
    """Return freed memory to the system and reset the peak. Only Linux supports this."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def matmul_peak(device: torch.device, dtype: torch.dtype, rounds: int = 5) -> float:
    """FLOP/s of a large square matrix product: the practical peak of this device, format and number of threads."""
    size = PEAK_SIZE[device.type]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(interleave({"matmul": lambda: a @ b}, rounds, device)["matmul"])
