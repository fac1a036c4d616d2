"""Output of a training run: options.json, log.jsonl, TensorBoard curves and pictures. Only rank 0 writes."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from utils.errors import UserError
from utils.evaluation.details import format_details
from utils.files import write_text
from utils.metrics import format_table
from utils.process import is_main, print_once
from utils.train.curves import check_logger, open_curves


class Logger:
    """Writes into logs/EXP on rank 0 and does nothing on other ranks.

    options: flags by name, kept in options.json. fresh: a new run; an older run of the same name is moved aside.
    curves: where curves and pictures go: tensorboard, csv or wandb. A full disk is reported once, and training
    continues: curves are lost, lines of log.jsonl are written later if possible.
    """

    def __init__(self, folder: Path, options: dict, fresh: bool, curves: str = "tensorboard"):
        check_logger(curves)
        self.folder, self.curves = folder, curves
        self.records: list[dict] = []
        self._events = None  # writer of the curves, made when something is logged
        self._purge: tuple[int | None, int | None] = None, None  # from this step, and this epoch of validation, on
        self._reported: set[str] = set()
        if not is_main():
            return
        if fresh and (folder / "checkpoints").is_dir():
            moved = folder.with_name(f"{folder.name}_until_{datetime.now():%Y%m%d-%H%M%S}")
            folder.rename(moved)
            print(f"moved an older run of this name to {moved}; to resume it, use --auto_load 1 with its --exp_name")
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            write_text(folder / "options.json", json.dumps(options, indent=2, default=str) + "\n")
            self.records = read_records(folder / "log.jsonl")
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; check the folder and the disk") from error

    def resume_from(self, epoch: int, step: int):
        """Drop what an earlier start of this run logged from this epoch and from this step on."""
        self.records = [record for record in self.records if record["epoch"] < epoch]
        self._purge = step, epoch

    def has(self, epoch: int) -> bool:
        """Whether log.jsonl has this epoch; only rank 0 has the answer."""
        return any(record["epoch"] == epoch for record in self.records)

    def is_best(self, metric: str, value: float | None) -> bool:
        """Whether a validation metric is smaller than at all epochs saved so far; only rank 0 has the answer."""
        values = [(record.get("val") or {}).get(metric) for record in self.records if record.get("saved")]
        return value is not None and all(value < other for other in values if other is not None)

    def scalars(self, group: str, values: dict[str, float | None], step: int):
        """Add points to TensorBoard's curves `group/name`; None adds no point."""
        for name, value in values.items():
            if value is not None:
                self._add("add_scalar", f"{group}/{name}", value, step)

    def picture(self, name: str, image: np.ndarray | None, step: int):
        """Add an image (H, W, 3) uint8; None adds nothing."""
        if image is not None:
            self._add("add_image", name, image, step, dataformats="HWC")

    def epoch(self, record: dict):
        """Add one line to log.jsonl and write the curves to the disk."""
        self.records.append(record)
        if is_main():
            with self._tolerate("log.jsonl"):
                write_text(self.folder / "log.jsonl", "".join(to_json(record) + "\n" for record in self.records))
        if self._events:
            with self._tolerate("curves"):
                self._events.flush()

    def close(self):
        if self._events:
            with self._tolerate("curves"):
                self._events.close()

    def _add(self, method: str, name: str, value, step: int, **options):
        if not is_main():
            return
        with self._tolerate("curves"):
            if self._events is None:
                self._events = open_curves(self.curves, self.folder, *self._purge)
                self._purge = None, None
            getattr(self._events, method)(name, value, step, **options)

    @contextmanager
    def _tolerate(self, what: str) -> Iterator[None]:
        """Report once that the disk refuses something, and continue."""
        try:
            yield
        except (OSError, UserError) as error:
            if what == "curves":
                self._events = None  # its thread has ended: a new writer may succeed later
            if what not in self._reported:
                print(f"warning: cannot write the {what} of {self.folder} ({error}); training continues", flush=True)
            self._reported.add(what)


def report_metrics(report: dict, protocol: dict[str, str], path: Path | None, required: bool = True):
    """Print the table of an evaluation, and write it as JSON if path is given.

    UserError if the file is required and cannot be written; otherwise a warning.
    """
    print_once("\n".join(filter(None, (format_table(report, protocol), format_details(report)))))
    if not path or not is_main():
        return
    try:
        write_text(path, to_json({**report, "protocol": protocol}, indent=2) + "\n")
    except UserError as error:
        if required:
            raise
        print(f"warning: {error}; training continues", flush=True)


def read_records(path: Path) -> list[dict]:
    """The complete lines of log.jsonl."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict) and isinstance(record.get("epoch"), int)]


def to_json(value, indent: int | None = None) -> str:
    """Valid JSON: infinities and nan, which JSON does not have, become null."""

    def finite(item):
        if isinstance(item, dict):
            return {key: finite(entry) for key, entry in item.items()}
        if isinstance(item, list | tuple):
            return [finite(entry) for entry in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(finite(value), indent=indent, allow_nan=False)


def progress(loader: DataLoader, name: str, done: int = 0) -> tqdm:
    """Batches of a loader, with a progress bar on rank 0 that starts at `done` batches."""
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
    """Batches of a loader. A UserError of a worker comes wrapped in a traceback: only its own line is kept."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(re.split(r"(?:User|Row)Error: ", str(error))[-1].strip()) from error
