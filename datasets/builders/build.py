"""From a reader to a set on disk: several processes, resume, report, contact sheet."""

import json
import multiprocessing
import shutil
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import cv2
from tqdm import tqdm

from datasets.builders.bodies import Bodies
from datasets.builders.complete import Completed, complete
from datasets.builders.journal import GrowingSet
from datasets.builders.pictures import read_picture
from datasets.builders.record import FAULTS, BadEntry, Dropped, PersonRecord, Reader, Unit
from datasets.builders.report import Report
from datasets.builders.sheet import write_contact_sheet
from datasets.labels import format_label
from datasets.tsv.writer import EncodedRow, encode_row
from utils.camera import Perspective
from utils.errors import UserError, printable
from utils.files import write_text

VERSION = 1  # of the rows that this code writes; a set of another version is built again
LABEL_BYTES = 8000
AHEAD = 3  # units per process that may wait to be written: bounds the memory
DIGITS = 6  # of numbers in labels: micrometres and millionths of a pixel


class BuildOptions(NamedTuple):
    """How to build a set."""

    num_workers: int = 1
    sheet_rows: int = 16  # people on the contact sheet; 0 for none
    overwrite: bool = False  # also if the set is there already
    quiet: bool = False  # no progress bar


class Share(NamedTuple):
    """What a process made of a unit."""

    rows: list[EncodedRow]
    measured: list[dict]
    dropped: list[dict]


_job: tuple[Reader, Bodies] | None = None  # what a worker process uses


def build_set(
    reader: Reader,
    yaml_file: Path,
    bodies: Bodies,
    options: BuildOptions | None = None,
    note: str | None = None,
) -> Report:
    """Write `yaml_file` and its files from a release; run again, an interrupted build resumes.

    Beside the set: NAME.report.json, NAME.rows.jsonl (numbers of each row), NAME.dropped.jsonl (each dropped entry),
    NAME.contact_sheet.jpg. note: see `datasets.tsv.read_note`. UserError where the release is missing, the disk is too
    small, or another set has this name.
    """
    options = options or BuildOptions()
    units = reader.units()
    fingerprint = {"version": VERSION, "reader": reader.fingerprint(), "units": len(units), "body": bodies.describe()}
    report_file = yaml_file.with_suffix(".report.json")
    if not options.overwrite and _is_built(yaml_file, report_file, fingerprint):
        print(f"{printable(yaml_file)} is there already, from the same files; --overwrite builds it again", flush=True)
        return _read_report(yaml_file, bodies, reader)
    if yaml_file.exists() and not options.overwrite:
        raise UserError(
            f"{yaml_file} is there already, from other files or other software; --overwrite replaces it, "
            "another --output keeps it"
        )
    with GrowingSet(yaml_file, fingerprint) as growing:
        left = units[growing.done :]
        _check_disk(yaml_file, left)
        if growing.done:
            print(f"{printable(yaml_file)}: resume after {growing.count} rows", flush=True)
        bar = tqdm(
            total=sum(unit.rows for unit in units),
            initial=sum(unit.rows for unit in units[: growing.done]),
            desc=printable(yaml_file),
            unit=" rows",
            disable=options.quiet or None,
            dynamic_ncols=True,
        )
        with bar:
            for unit, share in zip(left, _work_on(left, reader, bodies, options.num_workers), strict=True):
                growing.add(*share)
                bar.update(unit.rows)
        if growing.count == 0:
            first = growing.discard()
            raise UserError(
                f"{yaml_file} is not written, because no entry gives a row; the first: {first}; "
                "check that paths and flags fit this release (docs/data.md)"
            )
        growing.finish(note)
    report = _read_report(yaml_file, bodies, reader)
    content = report.as_dict() | {"fingerprint": json.loads(json.dumps(fingerprint))}
    write_text(report_file, json.dumps(content, indent=2) + "\n")
    if options.sheet_rows:
        write_contact_sheet(yaml_file, bodies, options.sheet_rows)
    return report


def _is_built(yaml_file: Path, report_file: Path, fingerprint: dict) -> bool:
    try:
        built = json.loads(report_file.read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return yaml_file.exists() and built == json.loads(json.dumps(fingerprint))


def _read_report(yaml_file: Path, bodies: Bodies, reader: Reader) -> Report:
    notes = [bodies.describe(), *getattr(reader, "notes", list)()]
    files = (yaml_file.with_suffix(f".{name}.jsonl") for name in ("rows", "dropped"))
    return Report.read(*files, notes, getattr(reader, "problems", list)())


def _check_disk(yaml_file: Path, units: list[Unit]):
    """Print how much room the set takes; UserError where there is less."""
    need, known = 0.0, 0
    pictures = [unit for unit in units if unit.picture is not None and unit.picture.exists()]
    for unit in pictures[:: max(1, len(pictures) // 200)]:
        need, known = need + unit.picture.stat().st_size, known + 1
    rows = sum(unit.rows for unit in units)
    total = rows * ((need / known if known else 2e5) * 4 / 3 + LABEL_BYTES)
    free = shutil.disk_usage(yaml_file.parent).free
    space = f"about {total / 1e9:.2f} GB; {free / 1e9:.1f} GB are free"
    print(f"{printable(yaml_file)}: up to {rows} rows, {space}", flush=True)
    if total > free:
        raise UserError(
            f"{yaml_file.parent} has {free / 1e9:.1f} GB free, the set needs about {total / 1e9:.1f} GB; "
            "choose another --output"
        )


def _work_on(units: list[Unit], reader: Reader, bodies: Bodies, num_workers: int) -> Iterator[Share]:
    """The shares of all units, in order."""
    if num_workers <= 1:
        _start(reader, bodies, in_main=True)
        yield from map(_work, units)
        return
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start, initargs=(reader, bodies))
    try:
        waiting, following = deque(), iter(units)
        for _ in range(AHEAD * num_workers):
            if (unit := next(following, None)) is not None:
                waiting.append(pool.submit(_work, unit))
        while waiting:
            yield waiting.popleft().result()
            if (unit := next(following, None)) is not None:
                waiting.append(pool.submit(_work, unit))
    except BrokenProcessPool as error:
        raise UserError(
            "a process of the build was ended from outside, often for lack of memory; "
            "run the same command again, with fewer --num_workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(reader: Reader, bodies: Bodies, in_main: bool = False):
    global _job
    _job = reader, bodies
    if not in_main:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the parent ends the others
        cv2.setNumThreads(0)


def _work(unit: Unit) -> Share:
    """Read, complete and encode a unit."""
    reader, bodies = _job
    share = Share([], [], [])

    def drop(entry: Dropped):
        share.dropped.append(entry._asdict())

    records = []
    for entry in reader.read(unit):
        if isinstance(entry, Dropped):
            drop(entry)
        else:
            records.append(entry)
    for record, result in zip(records, complete(records, bodies), strict=True):
        try:
            if isinstance(result, BadEntry):
                raise result
            row = _encode(record)
        except BadEntry as error:
            drop(Dropped(record.where, error.reason, error.detail))
            continue
        except FAULTS as error:  # a name that is no path, a picture too large for a JPEG
            drop(Dropped(record.where, "picture cannot be read", str(error)[:200]))
            continue
        share.rows.append(row)
        share.measured.append(_numbers(result))
    return share


def _encode(record: PersonRecord) -> EncodedRow:
    data, height, width = read_picture(record.image)
    if record.size is not None and tuple(record.size) != (height, width):
        given = f"{record.size[1]} x {record.size[0]}"
        raise BadEntry("picture has another size than its annotation", f"{width} x {height}, annotated {given}")
    more = dict(record.more) | {"gender": record.gender}
    if record.translation is not None:
        more["translation"] = record.translation.round(DIGITS).tolist()
    if record.camera is not None:
        more["camera"] = [round(float(value), DIGITS) for value in record.camera]
    label = format_label(
        record.center.round(DIGITS),
        round(record.scale, 8),
        *(
            None if values is None else values.round(DIGITS)
            for values in (record.keypoints_2d, record.keypoints_3d, record.pose, record.betas)
        ),
        **more,
    )
    return encode_row(record.key.replace("\t", " ").replace("\n", " "), data, label, height, width)


def _numbers(result: Completed) -> dict:
    record = result.record
    is_pinhole = isinstance(record.camera, Perspective)
    rounded = {name: round(value, 4) for name, value in result.measured.items()}
    return rounded | {"has_body": record.pose is not None, "pinhole": is_pinhole, "gender": record.gender}
