"""Batches on their way to the device and through the network."""

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor


def to_device(batch: dict, device: torch.device) -> dict:
    """All tensors of a batch on the device, those of an inner dict, too; the rest as it is."""

    def move(value):
        if isinstance(value, dict):
            return to_device(value, device)
        return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

    return {name: move(value) for name, value in batch.items()}


def on_device(batches: Iterable[dict], device: torch.device) -> Iterator[dict]:
    """The batches on the device. A GPU copies the next one, from pinned memory, while it computes with this one."""
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
    """A batch that was copied beside the computation, for which the computation waits."""
    computation = torch.cuda.current_stream()
    computation.wait_event(done)
    for tensor in _tensors(batch):
        tensor.record_stream(computation)  # its memory is not given away while still in use
    return batch


def _tensors(batch: dict) -> Iterator[Tensor]:
    for value in batch.values():
        if isinstance(value, dict):
            yield from _tensors(value)
        elif isinstance(value, Tensor):
            yield value


def split_batch(batch: dict, num_parts: int) -> list[tuple[dict, float]]:
    """A batch in parts as equal as can be, each with its share of the rows; no more parts than rows."""
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
