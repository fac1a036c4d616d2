"""Moving batches to the device, and splitting them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor

from utils.errors import UserError


def to_device(batch: dict, device: torch.device) -> dict:
    """Move all tensors of a batch to the device, also those of inner dicts."""

    def move(value):
        if isinstance(value, dict):
            return to_device(value, device)
        return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

    return {name: move(value) for name, value in batch.items()}


def on_device(batches: Iterable[dict], device: torch.device) -> Iterator[dict]:
    """Move batches to the device. A GPU copies the next batch from pinned memory while it computes."""
    if device.type != "cuda":
        for batch in batches:
            yield to_device(batch, device)
        return
    stream, ahead = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(stream):
            copied, done = to_device(batch, device), torch.cuda.Event()
            done.record()
        if ahead is not None:
            yield _arrived(*ahead)
        ahead = copied, done
    if ahead is not None:
        yield _arrived(*ahead)


def _arrived(batch: dict, done: torch.cuda.Event) -> dict:
    """Let the computation wait for a batch that was copied on another stream."""
    computation = torch.cuda.current_stream()
    computation.wait_event(done)
    for tensor in _tensors(batch):
        tensor.record_stream(computation)  # keeps its memory until the computation is done
    return batch


def _tensors(batch: dict) -> Iterator[Tensor]:
    for value in batch.values():
        if isinstance(value, dict):
            yield from _tensors(value)
        elif isinstance(value, Tensor):
            yield value


@contextmanager
def loader_errors() -> Iterator[None]:
    """Context in which the death of a data loading process becomes a UserError. PyTorch may raise it at any place."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"DataLoader worker .*(exited unexpectedly|is killed by signal)", str(error)):
            raise
        raise UserError(
            "a data loading process was killed, perhaps for lack of memory: lower --num_workers or --batch_size, "
            "then resume with --auto_load 1"
        ) from error


def split_batch(batch: dict, num_parts: int) -> list[tuple[dict, float]]:
    """Split a batch into parts of nearly equal size -> (part, share of the rows) each; at most one part per row."""
    num_rows = len(next(_tensors(batch)))
    sizes = [len(range(i, num_rows, num_parts)) for i in range(min(num_parts, num_rows))]
    columns = _split(batch, sizes)
    return [({name: column[i] for name, column in columns.items()}, size / num_rows) for i, size in enumerate(sizes)]


def _split(batch: dict, sizes: list[int]) -> dict[str, list]:
    columns = {}
    for name, value in batch.items():
        if isinstance(value, dict):
            inner = _split(value, sizes)
            columns[name] = [{key: column[i] for key, column in inner.items()} for i in range(len(sizes))]
        elif isinstance(value, Tensor):
            columns[name] = value.split(sizes)
        else:
            rows = iter(value)
            columns[name] = [list(islice(rows, size)) for size in sizes]
    return columns
