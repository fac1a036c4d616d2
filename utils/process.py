"""Which number format a network runs in, and whether a device is really faster with a short one."""

import functools
import time

import torch
import torch.nn.functional as F

from utils.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WORTH_IT = 1.3  # times faster, below which a short format is not worth its rounding
TRIALS = 20


def choose_precision(precision: str, device: torch.device | str) -> str:
    """`--precision` -> fp32, bf16 or fp16; `auto` takes the short format where this device is faster with it."""
    device = torch.device(device)
    if precision == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16 is for GPUs: CPUs compute it by way of fp32; use auto, bf16 or fp32")
    return _fastest(device) if precision == "auto" else precision


@functools.cache
def _fastest(device: torch.device) -> str:
    """Measured by a convolution of HRNet's, for some hundredths of a second."""
    short = "bf16"
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        short = "fp16"
    full, reduced = _convolution_seconds(device, ("fp32", short))
    return short if full > WORTH_IT * reduced else "fp32"


@torch.inference_mode()
def _convolution_seconds(device: torch.device, precisions: tuple[str, ...]) -> list[float]:
    """Least time of a call in each format, taken in turn: what else the machine does disturbs all alike."""
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
