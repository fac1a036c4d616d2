"""A data set of TSV files, as named by its yaml file."""

import json
import os
from pathlib import Path

import numpy as np
import torch
import yaml
from pybase64 import b64decode
from torch import Tensor

from datasets.locate import REMEDY
from datasets.tsv.file import MAX_NAME, TSVFile
from datasets.tsv.index import read_numbers
from utils.errors import RowError, UserError

MAX_YAML = 1 << 20  # bytes
MAX_NOTE = 1000  # characters


class TSVSet:
    """The rows that a yaml file selects from its image and label files.

    root: folder that has to contain these files, relative to the folder of the yaml file; None: they may lie anywhere.
    UserError names a file that is missing or contradicts another one, RowError a damaged row.
    """

    def __init__(self, yaml_file: str | Path, root: str | Path | None = ".."):
        self.yaml_file = Path(yaml_file)
        self.root = None if root is None else os.path.abspath(self.yaml_file.parent / root)
        spec = _read_yaml(self.yaml_file)
        self.images, self.labels = ([TSVFile(path) for path in self._paths(spec, kind)] for kind in ("img", "label"))
        if len(self.images) != len(self.labels):
            raise UserError(
                f"{self.yaml_file} lists {len(self.images)} img and {len(self.labels)} label files; make them pairs"
            )
        self.rows = self._rows(spec.get("linelist"))
        if len(self.rows) == 0:
            raise UserError(f"{self.yaml_file} selects no rows; {REMEDY}")

    def __len__(self) -> int:
        return len(self.rows)

    def files(self) -> list[Path]:
        """The TSV files that are read."""
        return [file.path for file in (*self.images, *self.labels)]

    def image(self, i: int) -> tuple[str, bytes]:
        """Key and encoded image (JPEG or PNG) of row i."""
        source, row = self.rows[i].tolist()
        line, start, end = self.images[source].find(row)
        tab = line.find(b"\t", start, end)
        value = max(line.rfind(b"\t", start, end) + 1, start)  # early METRO files have more columns in between
        try:
            return line[start : tab if tab >= 0 else end].decode(), b64decode(memoryview(line)[value:end])
        except ValueError as error:
            raise RowError(f"{self.where(i)}: the image is not base64 text ({error}); {REMEDY}") from error

    def label(self, i: int) -> dict:
        """Label of row i, see `datasets.labels.parse_label`."""
        source, row = self.rows[i].tolist()
        columns = self.labels[source][row]
        try:
            label = json.loads(columns[1])
            label = label[0] if isinstance(label, list) else label  # METRO wraps the one person in a list
            if not isinstance(label, dict):
                raise TypeError("no dictionary")
        except (ValueError, IndexError, TypeError, RecursionError) as error:
            raise RowError(f"{self.where(i, 'label')}: the label is not JSON ({error}); {REMEDY}") from error
        return label

    def where(self, i: int, kind: str = "img") -> str:
        """File and line of row i, for messages."""
        source, row = self.rows[i].tolist()
        return f"{(self.images if kind == 'img' else self.labels)[source].path} row {row}"

    def _paths(self, spec: dict, kind: str) -> list[Path]:
        """The files of a kind, given as one TSV file, a list of them, or a text file that lists them."""
        value = spec.get(kind)
        names = [value] if isinstance(value, str) else value
        if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(
                f"{self.yaml_file}: '{kind}' names no file, no list of files and no file that lists them; {REMEDY}"
            )
        folder = self.yaml_file.parent
        if isinstance(value, str) and os.path.isfile(folder / value):
            with (folder / value).open("rb") as file:
                is_list = b"\t" not in file.readline(1 << 16)  # every row of a TSV file has a tab near its start
            if is_list:
                lines = self._inside(value).read_text(errors="replace").splitlines()
                names = [line.strip() for line in lines if line.strip()]
        return [self._inside(name) for name in names]

    def _inside(self, name: str) -> Path:
        """The path of a file that the set names. UserError if `..` or an absolute path leads out of the root.

        Links are allowed: they are made by the user, to keep a set on another disk.
        """
        path = os.path.normpath(self.yaml_file.parent / name)
        if self.root is not None and os.path.commonpath((self.root, os.path.abspath(path))) != self.root:
            raise UserError(
                f"{self.yaml_file} names {name[:MAX_NAME]}, which is outside of {self.root}; "
                "if you trust the set, allow it by --allow_outside_paths"
            )
        return Path(path)

    def _rows(self, linelist: str | None) -> Tensor:
        """File number and line of every row -> (N, 2) int32."""
        counts = np.array([[len(image), len(label)] for image, label in zip(self.images, self.labels, strict=True)])
        if linelist is None:
            rows = np.concatenate([np.stack((np.full(n, i), np.arange(n)), 1) for i, (n, _) in enumerate(counts)])
        else:
            if not isinstance(linelist, str):
                raise UserError(f"{self.yaml_file}: 'linelist' is not a file name; {REMEDY}")
            rows = read_numbers(self._inside(linelist))
            if rows.shape[1] == 1 and len(self.images) == 1:
                rows = np.pad(rows, ((0, 0), (1, 0)))
        if rows.size == 0:
            return torch.zeros((0, 2), dtype=torch.int32)
        origin = linelist or "img"
        if rows.shape[1] != 2:
            raise UserError(
                f"{self.yaml_file}: {origin} has {rows.shape[1]} columns; write a file number and a row on each line"
            )
        source, row = rows.T
        if source.min() < 0 or source.max() >= len(counts):
            raise UserError(f"{self.yaml_file}: {origin} names file {source.max()} of {len(counts)}; {REMEDY}")
        outside = np.flatnonzero((row < 0) | (row >= counts[source].min(1)))
        if len(outside):
            i = outside[0]
            have = ", ".join(f"{len(file)} in {file.path}" for file in (self.images[source[i]], self.labels[source[i]]))
            raise UserError(f"{self.yaml_file}: {origin} selects row {row[i]}, but there are {have}; {REMEDY}")
        return torch.from_numpy(rows.astype(np.int32))


def _read_yaml(path: Path) -> dict:
    """Read the yaml file of a data set."""
    try:
        if path.stat().st_size > MAX_YAML:
            raise ValueError(f"it has over {MAX_YAML} bytes")
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {REMEDY}") from error
    except Exception as error:  # a value of another type than its tag says raises many kinds of errors
        raise UserError(f"{path} is not readable as yaml ({' '.join(str(error).split())}); {REMEDY}") from error
    if not isinstance(spec, dict):
        raise UserError(f"{path} has no 'img' and 'label' entries; {REMEDY}")
    return spec


def read_note(yaml_file: str | Path) -> str | None:
    """The note on the labels in the yaml file of a set, which is printed with every metric on them; None if absent.

    It is one line. Anything but text is no note.
    """
    note = _read_yaml(Path(yaml_file)).get("note")
    return " ".join(note.split())[:MAX_NOTE] or None if isinstance(note, str) else None
