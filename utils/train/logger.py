"""What a run leaves behind: options.json, log.jsonl, TensorBoard curves and pictures. Rank 0 alone writes."""

import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from torch.utils.data import DataLoader
from tqdm import tqdm

from utils.errors import UserError
from utils.files import write_text
from utils.process import is_main


class Logger:
    """Writes into logs/EXP on rank 0 and does nothing elsewhere, so that callers need not ask who they are.

    options: flags by name, kept in options.json. fresh: a new run; what an older one of the same name has left
    there is moved aside, not mixed in or lost. Once the run is under way, a full disk is told and costs no more than
    curves: lines of log.jsonl are written later if they can be.
    """

    def __init__(self, folder: Path, options: dict, fresh: bool):
        self.folder = folder
        self.records: list[dict] = []
        self.events = None
        self._troubles: set[str] = set()
        if not is_main():
            return
        if fresh and (folder / "checkpoints").is_dir():
            moved = folder.with_name(f"{folder.name}_until_{datetime.now():%Y%m%d-%H%M%S}")
            folder.rename(moved)
            print(f"an older run of this name is now {moved}; to go on from it, use --auto_load 1 with its --exp_name")
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (folder / "tensorboard").mkdir(exist_ok=True)
            write_text(folder / "options.json", json.dumps(options, indent=2, default=str) + "\n")
            self.records = _read_records(folder / "log.jsonl")
            self.events = EventsWriter(str(folder / "tensorboard" / "events"))
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; check the folder and the disk") from error

    def go_on_from(self, epoch: int, step: int):
        """Forget what an earlier start of this run logged of this epoch and the later ones, steps included."""
        self.records = [record for record in self.records if record["epoch"] < epoch]
        self._add(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def has(self, epoch: int) -> bool:
        """Whether log.jsonl has this epoch; rank 0 knows."""
        return any(record["epoch"] == epoch for record in self.records)

    def is_best(self, metric: str, value: float | None) -> bool:
        """Whether a validation metric is smaller than after all epochs that were saved so far; rank 0 knows."""
        values = [(record.get("val") or {}).get(metric) for record in self.records if record.get("saved")]
        return value is not None and all(value < other for other in values if other is not None)

    def scalars(self, group: str, values: dict[str, float | None], step: int):
        """Add points to TensorBoard's curves `group/name`; None is no point."""
        for name, value in values.items():
            if value is not None:
                self._add(Event(step=step, summary=summary.scalar(f"{group}/{name}", value)))

    def picture(self, name: str, image: np.ndarray, step: int):
        """Add an image (H, W, 3) uint8 to TensorBoard."""
        if self.events:
            self._add(Event(step=step, summary=summary.image(name, image, dataformats="HWC")))

    def epoch(self, record: dict):
        """Add one line to log.jsonl and bring the curves to the disk."""
        self.records.append(record)
        if self.events:
            with self._bear("log.jsonl"):
                write_text(self.folder / "log.jsonl", "".join(to_json(record) + "\n" for record in self.records))
            with self._bear("curves"):
                self.events.flush()

    def close(self):
        if self.events:
            with self._bear("curves"):
                self.events.close()

    def _add(self, event: Event):
        if self.events:
            event.wall_time = time.time()
            with self._bear("curves"):
                self.events.write_event(event)

    @contextmanager
    def _bear(self, what: str) -> Iterator[None]:
        """Say once that the disk does not take something, and go on."""
        try:
            yield
        except (OSError, UserError) as error:
            if what not in self._troubles:
                print(f"warning: cannot write the {what} of {self.folder} ({error}); training goes on", flush=True)
            self._troubles.add(what)


def _read_records(path: Path) -> list[dict]:
    """The lines of log.jsonl that are whole."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict) and isinstance(record.get("epoch"), int)]


def to_json(value, indent: int | None = None) -> str:
    """Valid JSON, which has no way to write infinities and nan: they become null."""

    def finite(item):
        if isinstance(item, dict):
            return {key: finite(entry) for key, entry in item.items()}
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(finite(value), indent=indent, allow_nan=False)


def progress(loader: DataLoader, name: str, done: int = 0) -> tqdm:
    """The batches of a loader, with a progress bar on rank 0 that starts at the batches done before."""
    return tqdm(
        _batches(loader),
        desc=name,
        total=len(loader),
        initial=done,
        disable=not is_main(),
        dynamic_ncols=True,
        mininterval=1.0,
    )


def _batches(loader: DataLoader) -> Iterator[dict]:
    """What is wrong with a file comes back from a worker wrapped in its traceback: keep the one line that helps."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(re.split(r"(?:User|Row)Error: ", str(error))[-1].strip()) from error
