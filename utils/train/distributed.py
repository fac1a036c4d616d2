"""Communication between processes. With a single process, every function works without communication.

A launcher (torchrun, or python -m torch.distributed.launch --use_env) sets rank and world size in the environment.
"""

import functools
import io
import os
import random
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from utils.errors import UserError
from utils.process import is_main, print_once, rank, world_size
from utils.train.heartbeat import RANK_ZERO_GRACE, Heartbeat

# messages of gloo, NCCL and the launcher's store when a process is gone
BROKEN_CONNECTION = re.compile(r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe", re.IGNORECASE)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes of a launcher, by NCCL between GPUs and gloo between CPUs; without one, do nothing.

    An error inside is reported in one line by one process and ends all of them (heartbeat.py).
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        yield
        return
    _connect("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    with Heartbeat(rank(), world_size(), from_rank_zero(uuid.uuid4().hex), address) as heartbeat:
        try:
            yield
        except UserError as error:
            heartbeat.report(error)
        except RuntimeError as error:
            if not BROKEN_CONNECTION.search(str(error)) and not isinstance(error, dist.DistError):
                raise
            heartbeat.report_lost_process()
    dist.destroy_process_group()


def _connect(backend: str):
    """Join the process group."""
    # A launcher may keep its store over restarts, and gloo would then find the addresses of dead processes: a prefix
    # for each restart avoids this. Launchers of several machines count restarts differently: they need new stores.
    several = int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1
    attempt = "" if several else f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if several and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        print_once("hint: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, or torchrun cannot restart this run")
    try:
        store, *who = next(rendezvous("env://"))
        dist.init_process_group(backend, store=dist.PrefixStore(attempt, store), rank=who[0], world_size=who[1])
    except (RuntimeError, ValueError) as error:  # ValueError: a variable of the launcher is missing
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"the {world_size()} processes cannot connect ({reason}); check that all of them are running"
        ) from error


def seed_everything(*key: int):
    """Seed Python, numpy and torch from a key of integers >= 0; each key gives an independent stream."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def data_parallel(model: nn.Module, find_unused_parameters: bool = False) -> nn.Module:
    """The model, wrapped so that gradients are averaged over the processes, if there are several."""
    if not dist.is_initialized():
        return model
    # DDP broadcasts rank 0's buffers before each step. Batch norm needs that; the body model's constant 34 MB do not.
    saved = model.state_dict(keep_vars=True)  # once: it costs 20 ms, and there are 900 buffers
    constants = [name for name, _ in model.named_buffers() if name not in saved]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, constants)
    return DistributedDataParallel(model, find_unused_parameters=find_unused_parameters, gradient_as_bucket_view=True)


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch norm over the batches of all processes, as the published network is trained.

    Only on several GPUs. PyTorch has no such layer for gloo: there the model stays, and rank 0 prints a notice.
    """
    if world_size() == 1 or not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return model
    if device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # unlike PyTorch's, it keeps activations inside timm's layers

        return convert_sync_batchnorm(model)
    print_once(
        "notice: batch norm is not synchronised between CPU processes; use a larger --batch_size, or --freeze_backbone"
    )
    return model


def unwrap(model: nn.Module) -> nn.Module:
    """The model without its data-parallel wrapper: no communication, no `module.` in its keys."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def without_gradient_sync(model: nn.Module, active: bool = True):
    """Context in which backward passes add up gradients without averaging them over the processes."""
    return model.no_sync() if active and isinstance(model, DistributedDataParallel) else nullcontext()


def broadcast_buffers(model: nn.Module):
    """Broadcast the batch norm statistics of rank 0, which checkpoints hold."""
    if dist.is_initialized():
        saved = model.state_dict(keep_vars=True)
        for name, buffer in model.named_buffers():
            if name in saved:
                dist.broadcast(buffer, src=0)


def mean_over_ranks(values: Tensor) -> Tensor:
    """Mean of a tensor over all processes, on each of them."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / world_size()


def any_rank(*flags: bool) -> list[bool]:
    """For each flag, whether it is set on any process. Waits for all processes."""
    if not dist.is_initialized():
        return [bool(flag) for flag in flags]
    values = torch.tensor([int(bool(flag)) for flag in flags])
    dist.all_reduce(values, dist.ReduceOp.MAX)  # on the CPU, also with NCCL
    return values.bool().tolist()


class SharedFlag:
    """Whether a flag is set on any process, one call late, so that no process waits for another."""

    def __init__(self):
        self._value, self._sent = torch.zeros(1, dtype=torch.int32), None

    def __call__(self, flag: bool) -> bool:
        """Set the flag of this process -> whether any process set it at the previous call; alone: the flag itself."""
        if not dist.is_initialized():
            return bool(flag)
        if self._sent is not None:
            self._sent.wait()
        known = bool(self._value)
        self._value = torch.tensor([int(bool(flag))], dtype=torch.int32)
        self._sent = dist.all_reduce(self._value, dist.ReduceOp.MAX, async_op=True)  # on the CPU, also with NCCL
        return known


def from_rank_zero(text: str) -> str:
    """The text of rank 0, on all processes."""
    if not dist.is_initialized():
        return text
    size = torch.tensor([len(text.encode())])
    dist.broadcast(size, src=0)
    data = torch.zeros(int(size), dtype=torch.uint8)
    if is_main():
        data.copy_(torch.tensor(list(text.encode()), dtype=torch.uint8))
    dist.broadcast(data, src=0)
    return data.numpy().tobytes().decode()


def gather_states(state: dict) -> list[dict]:
    """A dict of tensors and plain values of each process -> the list of all of them, by rank."""
    if not dist.is_initialized():
        return [state]
    file = io.BytesIO()
    torch.save(state, file)
    data = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)[:, None]
    sizes = gather_rows(torch.tensor([[len(data)]]))[:, 0].tolist()
    parts = gather_rows(data).split(sizes)
    return [torch.load(io.BytesIO(part.numpy().tobytes()), weights_only=True) for part in parts]


def gather_rows(rows: Tensor) -> Tensor:
    """rows (N_rank, K), where N_rank may differ between processes and be 0 -> (sum of N_rank, K) on all of them."""
    if not dist.is_initialized():
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    counts = [int(count) for count in counts]
    padded = rows.new_zeros(max(counts), rows.shape[1])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def report_error_once(main):
    """Decorator of a command's main(): an error that all ranks raise is reported once, by rank 0.

    This is for errors before process_group connects the processes. The other ranks wait a few seconds: when rank 0
    exits with the same error, the launcher ends them. If it does not, they report their own error.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except UserError as error:
            if is_main():
                raise
            time.sleep(RANK_ZERO_GRACE)
            raise UserError(f"{error} (on rank {rank()})") from error

    return wrapper
