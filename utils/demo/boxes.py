"""Boxes of people by file name: the file of demo.py --boxes."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from utils.errors import UserError, printable
from utils.person import Box

FORM = "give .json {name: [[x, y, w, h], ...]} or .csv with rows name,x,y,w,h"
MAX_BYTES = 1 << 26  # boxes of a million people
LARGEST = 1e6  # pixels
SHOWN = 3  # names in a message


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """File name -> its people's boxes in pixels, from JSON {name: [[x, y, w, h], ...]} or CSV rows name,x,y,w,h.

    UserError if the file cannot be read or a box is not four finite numbers with an area.
    """
    boxes: dict[str, list[Box]] = {}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"--boxes {path} has over {MAX_BYTES >> 20} MB: {FORM}")
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before the first byte
        for name, *values in _json_rows(text) if path.suffix.lower() == ".json" else _csv_rows(text):
            boxes.setdefault(Path(name).name, []).append(_box(values, f"--boxes {path}: {name[:100]}"))
    except OSError as error:
        raise UserError(f"--boxes {path} cannot be read ({error.strerror}): {FORM}") from error
    except (ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise UserError(f"--boxes {path} is not a list of boxes: {FORM}") from error
    return boxes


def warn_of_unused_boxes(boxes: dict[str, list[Box]], paths: Iterable[Path]):
    """Name on stderr the files that have boxes but are not among the inputs."""
    unused = sorted(boxes.keys() - {path.name for path in paths})
    if unused:
        names = ", ".join(printable(name[:100]) for name in unused[:SHOWN])
        more = f" and {len(unused) - SHOWN} more" if len(unused) > SHOWN else ""
        print(f"warning: --boxes names {names}{more}, not among the inputs; check the names", file=sys.stderr)


def _json_rows(text: str) -> Iterator[tuple]:
    for name, several in json.loads(text).items():
        for box in several:
            yield name, *box


def _csv_rows(text: str) -> Iterator[list[str]]:
    for number, row in enumerate(row for row in csv.reader(text.splitlines()) if row):
        if number or row[1:2] != ["x"]:  # the first row may be a header
            yield row


def _box(values: list, where: str) -> Box:
    try:
        x, y, width, height = box = tuple(float(value) for value in values)
        if max(map(abs, box)) <= LARGEST and x == x and y == y and width > 0 and height > 0:
            return box
    except (ValueError, TypeError, OverflowError):
        pass
    raise UserError(f"{where} has a box that is not x, y, width, height in pixels, width and height above 0: {FORM}")
