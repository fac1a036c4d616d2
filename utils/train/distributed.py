"""One process or many: the same few calls work in both cases.

A launcher (torchrun, or python -m torch.distributed.launch --use_env) says in the environment who we are. Without one
there is a single process and no process group.
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
from utils.train.heartbeat import RANK_ZERO_GRACE, Peers

# how gloo, NCCL and the launcher's store say that somebody has left
BROKEN_CONNECTION = re.compile(r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe", re.IGNORECASE)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes of a launcher (NCCL between GPUs, gloo between CPUs); nothing to do without one.

    An error inside is told in one line by one process, and ends all of them: see utils/train/heartbeat.py.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        yield
        return
    _connect("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    with Peers(rank(), world_size(), from_rank_zero(uuid.uuid4().hex), address) as peers:
        try:
            yield
        except UserError as error:
            peers.tell(error)
        except RuntimeError as error:
            if not BROKEN_CONNECTION.search(str(error)) and not isinstance(error, dist.DistError):
                raise
            peers.tell_who_is_lost()
    dist.destroy_process_group()


def _connect(backend: str):
    """Join the process group."""
    # A launcher may keep its store over restarts, where gloo would find the addresses of dead processes. Launchers of
    # several machines count restarts differently, so that each start needs a store of its own there.
    several = int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1
    attempt = "" if several else f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if several and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        print_once("hint: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, else it cannot restart the run")
    try:
        store, *who = next(rendezvous("env://"))
        dist.init_process_group(backend, store=dist.PrefixStore(attempt, store), rank=who[0], world_size=who[1])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"the {world_size()} processes cannot connect ({reason}); is one of them gone?") from error


def seed_everything(*key: int):
    """Seed Python, numpy and torch of this process from whole numbers >= 0: a stream of its own for every key."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def data_parallel(model: nn.Module, find_unused_parameters: bool = False) -> nn.Module:
    """The model, its gradients averaged over the processes where there are several."""
    if not dist.is_initialized():
        return model
    # Before each step rank 0's buffers go to the others. Batch norm needs that; the body model's 34 MB never change.
    constants = [name for name, _ in model.named_buffers() if name not in model.state_dict()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, constants)
    return DistributedDataParallel(model, find_unused_parameters=find_unused_parameters, gradient_as_bucket_view=True)


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, without its data-parallel wrapper: no communication, no `module.` in its keys."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def keep_gradients_here(model: nn.Module, keep: bool = True):
    """A context in which forward and backward passes add up gradients without averaging them over the processes."""
    return model.no_sync() if keep and isinstance(model, DistributedDataParallel) else nullcontext()


def broadcast_buffers(model: nn.Module):
    """Give every process the batch norm statistics of rank 0, which are those that checkpoints hold."""
    if dist.is_initialized():
        saved = model.state_dict(keep_vars=True)
        for name, buffer in model.named_buffers():
            if name in saved:
                dist.broadcast(buffer, src=0)


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes, known to each of them."""
    if not dist.is_initialized():
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / world_size()


def any_rank(*flags: bool) -> list[bool]:
    """Which of these flags are set on any process, known to each of them. Waits for all."""
    if not dist.is_initialized():
        return [bool(flag) for flag in flags]
    values = torch.tensor([int(bool(flag)) for flag in flags])
    dist.all_reduce(values, dist.ReduceOp.MAX)  # on the CPU, also beside NCCL
    return values.bool().tolist()


class SharedFlag:
    """Whether a flag is set on any process, told a call late, so that no process waits for another."""

    def __init__(self):
        self._value, self._sent = torch.zeros(1, dtype=torch.int32), None

    def __call__(self, flag: bool) -> bool:
        """What the processes said at the call before, known to each of them; alone, the flag itself."""
        if not dist.is_initialized():
            return bool(flag)
        if self._sent is not None:
            self._sent.wait()
        known = bool(self._value)
        self._value = torch.tensor([int(bool(flag))], dtype=torch.int32)
        self._sent = dist.all_reduce(self._value, dist.ReduceOp.MAX, async_op=True)  # on the CPU, also beside NCCL
        return known


def from_rank_zero(text: str) -> str:
    """The text that rank 0 gives, known to all."""
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
    """A dict of tensors and plain values from each process -> all of them on each, by rank."""
    if not dist.is_initialized():
        return [state]
    file = io.BytesIO()
    torch.save(state, file)
    data = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)[:, None]
    sizes = gather_rows(torch.tensor([[len(data)]]))[:, 0].tolist()
    parts = gather_rows(data).split(sizes)
    return [torch.load(io.BytesIO(part.numpy().tobytes()), weights_only=True) for part in parts]


def gather_rows(rows: Tensor) -> Tensor:
    """rows (N_rank, K), N_rank different on each process and possibly 0 -> (sum of N_rank, K) on all of them."""
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


def let_rank_zero_speak(main):
    """Decorate a command's main(): an error that all ranks run into is told once, by rank 0.

    For errors before the processes are connected (then process_group does it better). The others give it a moment; its
    exit makes the launcher end them. If it does not, the error is theirs alone.
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
