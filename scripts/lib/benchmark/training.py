"""Training steps: samples per second of main.py and of a plain step."""

from collections.abc import Callable, Iterator

import torch

from models.features import Features, network_input
from scripts.lib.benchmark.machine import count_flops, matmul_peak, peak_memory
from scripts.lib.benchmark.timing import Row, Settings, compare
from scripts.lib.benchmark.trainee import Trainee

BATCH = {"w32": {"cpu": 8, "cuda": 100}, "movenet": {"cpu": 64, "cuda": 100}}
PRECISIONS = ("fp32", "bf16")


def measure(settings: Settings) -> Iterator[Row]:
    device = settings.device
    for recipe, sizes in BATCH.items():
        size = sizes[device.type]
        trainee = Trainee(recipe, device)
        batch = trainee.batch(size)
        methods = {"plain": plain_step(trainee, batch)}
        methods |= {f"fast, {precision}": fast_step(trainee, batch, precision) for precision in PRECISIONS}
        if device.type == "cuda":
            methods["fast, bf16, compiled"] = fast_step(trainee, batch, "bf16", compiled=True)
        for method in methods.values():
            method()  # allocates the state of the optimiser
        flops = count_flops(methods["plain"])
        notes = {name: {"memory_mb": peak_memory(method, device)} for name, method in methods.items()}
        rows = compare("training", f"{recipe}, batch {size}", methods, size, "samples/s", settings, notes)
        peaks = {name: matmul_peak(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
        for row in rows:
            peak = peaks["bfloat16" if "bf16" in row.method else "float32"]
            share = {"gflop_per_sample": flops / size / 1e9, "share_of_peak": flops / size * row.value / peak}
            yield row._replace(notes=row.notes | share)


def plain_step(trainee: Trainee, batch: dict) -> Callable[[], None]:
    """The published step: float32, channels first, Adam without fused kernels, the loss read after every step.

    The network is that of main.py, so the ratio does not contain the gain of its attention.
    """
    model, criterion, args = trainee.model, trainee.criterion, trainee.args
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, weight_decay=args.weight_decay)

    def step():
        given = network_input(batch)
        if not isinstance(given, Features):
            given = given.contiguous(memory_format=torch.contiguous_format)
        loss = criterion(model(given), batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        if args.clip_grad:
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip_grad)
        optimizer.step()
        loss.item()

    return step


def fast_step(trainee: Trainee, batch: dict, precision: str, compiled: bool = False) -> Callable[[], None]:
    """The step of main.py in this precision; it shares the weights of the plain step."""
    fast = trainee.at(precision)
    if compiled:
        fast.model = torch.compile(trainee.model)
    return lambda: fast.step(batch)
