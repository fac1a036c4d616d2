"""Images per second of the network: each optimisation alone, and all together."""

import copy
import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.inference.fused_conv import fold_batch_norm
from models.inference.prepare import InferenceNetwork, prepare_for_inference
from models.mesh_recovery import MeshRecovery
from scripts.lib.benchmark.machine import count_flops, matmul_peak, peak_memory
from scripts.lib.benchmark.published import NETWORKS, published, random_network
from scripts.lib.benchmark.timing import Row, Settings, compare

BATCHES = {"cpu": (1, 8, 32), "cuda": (1, 8, 32, 128)}
PEAKS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def measure(settings: Settings) -> Iterator[Row]:
    peaks = {name: matmul_peak(settings.device, getattr(torch, PEAKS[name])) for name in formats(settings.device)}
    for name in NETWORKS:
        yield from measure_network(name, peaks, settings)


@torch.inference_mode()
def measure_network(name: str, peaks: dict[str, float], settings: Settings) -> Iterator[Row]:
    """peaks: FLOP/s of the device by format."""
    device = settings.device
    runs = methods_of(random_network(name), device)
    flops = count_flops(functools.partial(runs["plain"], torch.randn(1, 3, 224, 224, device=device)))
    for batch in BATCHES[device.type]:
        image = torch.randn(batch, 3, 224, 224, device=device)
        methods = {method: functools.partial(run, image) for method, run in runs.items()}
        notes = {method: {"memory_mb": peak_memory(call, device)} for method, call in methods.items()}
        for row in compare("forward", f"{name}, batch {batch}", methods, batch, "images/s", settings, notes):
            peak = peaks[next((precision for precision in peaks if precision in row.method), "fp32")]
            # relative to the FLOPs of the published code, also for methods that need fewer
            share = {"gflop_per_sample": flops / 1e9, "share_of_peak": flops * row.value / peak}
            yield row._replace(notes=row.notes | share)


def formats(device: torch.device) -> tuple[str, ...]:
    """Formats that the device supports in hardware."""
    return ("fp32", "bf16") if device.type == "cpu" else ("fp32", "bf16", "fp16")


def methods_of(model: MeshRecovery, device: torch.device) -> dict[str, Callable[[Tensor], dict]]:
    """Methods to run a network, by name. The first is plain: it computes everything that the published code does."""
    model = model.to(device)
    plain = published(model)
    channels_last = published(model).to(memory_format=torch.channels_last)
    prepared = {name: prepare_for_inference(model, device, name) for name in formats(device)}
    found = {
        "plain": plain,
        "last stage alone": lambda image: plain(image, all_stages=False),
        "channels_last": lambda image: channels_last(image.contiguous(memory_format=torch.channels_last)),
        "bf16 autocast": lambda image: autocast(plain, image),
        "batch norms folded": fold_batch_norm(published(model)),
        "convolutions fused": with_parts(published(model), prepared["fp32"], "backbone"),
        "attention folded": with_parts(model, prepared["fp32"], "blocks"),
    }
    found |= {f"all, {name}": network for name, network in prepared.items()}
    if device.type == "cuda":  # compilation takes minutes on a CPU
        found["all, bf16, compiled"] = prepare_for_inference(model, device, "bf16", compile=True)
    return found


def autocast(network: MeshRecovery, image: Tensor) -> dict:
    with torch.autocast(image.device.type, torch.bfloat16):
        return network(image)


def with_parts(model: MeshRecovery, prepared: InferenceNetwork, part: str) -> MeshRecovery:
    """The network with one part taken from the prepared network."""
    mixed = copy.copy(model)
    mixed._modules = {**model._modules, part: getattr(prepared.network, part)}
    return mixed
