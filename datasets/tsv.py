"""METRO's TSV layout: rows of `key <tab> value` found by byte offset, tied together by a small yaml file.

A set `NAME` is `NAME.yaml`, which names `NAME.img.tsv` (value: base64 of a JPEG), `NAME.label.tsv` (value: JSON),
`NAME.hw.tsv` (height and width; not needed to read) and `NAME.linelist.tsv` (which rows, in which order; all if there
is none). A composite set lists several files of each kind, and each line of its linelist is `file <tab> row`. Beside
every `X.tsv` lies `X.lineidx`, one byte offset per row. Layout of Lin et al., CVPR 2021 (METRO).
"""

import base64
import json
import os
import warnings
from array import array
from binascii import a2b_base64
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from utils.errors import RowError, UserError
from utils.files import atomic_path, write_text

_REMEDY = "download or make the data set again"
MAX_ROW = 1 << 28  # bytes; a photograph of 150 million pixels has less
MAX_YAML = 1 << 20  # bytes


def build_offsets(path: str | Path) -> np.ndarray:
    """Find the first byte of every line of a file by reading it once -> (N,) int64."""
    starts, position = [np.zeros(1, dtype=np.int64)], 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            starts.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + position + 1)
            position += len(chunk)
    starts = np.concatenate(starts)
    return starts[starts < position]  # the last newline starts no line


def load_offsets(path: str | Path) -> np.ndarray:
    """Byte offsets of the rows of `X.tsv`, and its size, from `X.lineidx` -> (N + 1,) int64.

    An index that is missing or does not fit the file is built, and written where the folder allows it.
    """
    path = Path(path)
    size = path.stat().st_size
    index = path.with_suffix(".lineidx")
    try:
        offsets = _read_numbers(index)[:, 0]
    except UserError:
        offsets = None
    if offsets is None or not _fits(offsets, path, size):
        offsets = build_offsets(path)
        with suppress(UserError, OSError):  # a read-only data set: this process keeps the index to itself
            write_text(index, "".join(f"{offset}\n" for offset in offsets.tolist()))
    return np.append(offsets, size)


def _fits(offsets: np.ndarray, path: Path, size: int) -> bool:
    """Does the index look like this file's? Looks at the order of its entries and at the file's last row."""
    if len(offsets) == 0 or size == 0:
        return len(offsets) == size
    if offsets[0] != 0 or (np.diff(offsets) <= 0).any() or offsets[-1] >= size:
        return False
    with path.open("rb") as file:
        file.seek(max(offsets[-1] - 1, 0))
        tail = file.read(1 << 24)
    before, row = (tail[:1], tail[1:]) if offsets[-1] else (b"\n", tail)
    return before == b"\n" and b"\n" not in row[:-1]


def _read_numbers(path: Path) -> np.ndarray:
    """A text file of whole numbers, one row per line -> (N, columns) int64."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of empty files
            return np.loadtxt(path, dtype=np.int64, comments=None, ndmin=2)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {_REMEDY}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a list of whole numbers ({error}); delete it or {_REMEDY}") from error


class TSVFile:
    """Rows of one `X.tsv`, read by offset. Nothing but the offsets stays in memory.

    Each process opens the file for itself at its first read. The offsets are a tensor, so that forked workers see their
    parent's pages and spawned ones get them through shared memory: one copy, however many workers.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{self.path} is missing; {_REMEDY}")
        self.offsets = torch.from_numpy(load_offsets(self.path))
        self._file, self._process = None, None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None, "_process": None}

    def __getitem__(self, row: int) -> list[bytes]:
        """The columns of a row, as bytes."""
        if self._process != os.getpid():
            self._file, self._process = self.path.open("rb", buffering=0), os.getpid()
        start, end = self.offsets[row : row + 2].tolist()
        if end - start > MAX_ROW:
            raise RowError(f"{self.path} row {row} has {end - start} bytes, no row needs over {MAX_ROW}; {_REMEDY}")
        before = int(start > 0)  # one byte more, to see that the row begins where a line does
        try:
            line = os.pread(self._file.fileno(), end - start + before, start - before)
        except OSError as error:
            raise RowError(f"{self.path} row {row} cannot be read ({error.strerror}); check the disk") from error
        begins = line.startswith(b"\n") or not before
        ends = line.endswith(b"\n") or row + 1 == len(self)
        if len(line) != end - start + before or not begins or not ends or line.find(b"\n", before, -1) >= 0:
            index = self.path.with_suffix(".lineidx")
            raise RowError(f"{self.path} row {row} is not where {index.name} says; delete {index} and try again")
        columns = line.rstrip(b"\r\n").split(b"\t")
        columns[0] = columns[0][before:]
        return columns


class TSVSet:
    """The rows that a yaml file selects from its image and label files, which lie under the folder `root`.

    root: by default the folder that holds the set's own, as in METRO's layout; None: files may lie anywhere. Raises
    UserError that names the file where one is missing or contradicts another, RowError where a row does.
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
            raise UserError(f"{self.yaml_file} selects no rows; {_REMEDY}")

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, i: int) -> tuple[str, bytes]:
        """Key and encoded image (JPEG or PNG) of sample i."""
        source, row = self.rows[i].tolist()
        columns = self.images[source][row]
        try:
            return columns[0].decode(), a2b_base64(columns[-1])  # early METRO files have columns in between
        except ValueError as error:
            raise RowError(f"{self.where(i)}: the image is not base64 text ({error}); {_REMEDY}") from error

    def label(self, i: int) -> dict:
        """Label of sample i as its file has it."""
        source, row = self.rows[i].tolist()
        columns = self.labels[source][row]
        try:
            label = json.loads(columns[1])
            label = label[0] if isinstance(label, list) else label  # METRO wraps the one person in a list
            if not isinstance(label, dict):
                raise TypeError("no dictionary")
        except (ValueError, IndexError, TypeError, RecursionError) as error:
            raise RowError(f"{self.where(i, 'label')}: the label is not JSON ({error}); {_REMEDY}") from error
        return label

    def where(self, i: int, kind: str = "img") -> str:
        """File and row of sample i, for messages."""
        source, row = self.rows[i].tolist()
        return f"{(self.images if kind == 'img' else self.labels)[source].path} row {row}"

    def _paths(self, spec: dict, kind: str) -> list[Path]:
        """The files of a kind: given as one TSV file, as a list, or as the path of a text file that lists them."""
        value = spec.get(kind)
        names = [value] if isinstance(value, str) else value
        if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(
                f"{self.yaml_file}: '{kind}' names no file, no list of files and no file that lists them; {_REMEDY}"
            )
        folder = self.yaml_file.parent
        if isinstance(value, str) and (folder / value).is_file():
            with (folder / value).open("rb") as file:
                is_list = b"\t" not in file.readline(1 << 16)  # every row of a TSV file has a tab near its start
            if is_list:
                lines = self._inside(value).read_text(errors="replace").splitlines()
                names = [line.strip() for line in lines if line.strip()]
        return [self._inside(name) for name in names]

    def _inside(self, name: str) -> Path:
        """The path of a file that the set names. UserError where it leaves the root by `..` or an absolute path.

        Links are followed: whoever keeps a set on another disk has made them.
        """
        path = os.path.normpath(self.yaml_file.parent / name)
        if self.root is not None and os.path.commonpath((self.root, os.path.abspath(path))) != self.root:
            raise UserError(
                f"{self.yaml_file} names {name}, which is outside of {self.root}; "
                "if you trust the set, allow it by --allow_outside_paths"
            )
        return Path(path)

    def _rows(self, linelist: str | None) -> Tensor:
        """File and row of every sample -> (N, 2) int32."""
        counts = np.array([[len(image), len(label)] for image, label in zip(self.images, self.labels, strict=True)])
        if linelist is None:
            rows = np.concatenate([np.stack((np.full(n, i), np.arange(n)), 1) for i, (n, _) in enumerate(counts)])
        else:
            if not isinstance(linelist, str):
                raise UserError(f"{self.yaml_file}: 'linelist' is not a file name; {_REMEDY}")
            rows = _read_numbers(self._inside(linelist))
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
            raise UserError(f"{self.yaml_file}: {origin} names file {source.max()} of {len(counts)}; {_REMEDY}")
        outside = np.flatnonzero((row < 0) | (row >= counts[source].min(1)))
        if len(outside):
            i = outside[0]
            have = ", ".join(f"{len(file)} in {file.path}" for file in (self.images[source[i]], self.labels[source[i]]))
            raise UserError(f"{self.yaml_file}: {origin} wants row {row[i]}, there are {have}; {_REMEDY}")
        return torch.from_numpy(rows.astype(np.int32))


def _read_yaml(path: Path) -> dict:
    """A data set's yaml -> dict."""
    try:
        if path.stat().st_size > MAX_YAML:
            raise ValueError(f"it has over {MAX_YAML} bytes")
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {_REMEDY}") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not readable as yaml ({' '.join(str(error).split())}); {_REMEDY}") from error
    if not isinstance(spec, dict):
        raise UserError(f"{path} has no 'img' and 'label' entries; {_REMEDY}")
    return spec


def read_note(yaml_file: str | Path) -> str | None:
    """What a set's maker says of its labels, to stand beside every number measured against them."""
    return _read_yaml(Path(yaml_file)).get("note")


class TSVWriter:
    """Write one plain set next to its yaml; its files appear together when the `with` block ends well.

    note: what whoever measures on the set should know of its labels (see `read_note`).

    >>> with TSVWriter("human3.6m/valid.protocol2.yaml") as writer:
    ...     writer.add("S9_0001", jpeg, label, height=1000, width=1002)
    """

    KINDS = ("img", "label", "hw", "linelist")

    def __init__(self, yaml_file: str | Path, note: str | None = None):
        self.yaml_file, self.note = Path(yaml_file), note
        self.names = {kind: f"{self.yaml_file.stem}.{kind}.tsv" for kind in self.KINDS}

    def __enter__(self) -> "TSVWriter":
        self.yaml_file.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # entered first, renamed last: a yaml never names a file that is not there yet
            self._yaml = stack.enter_context(atomic_path(self.yaml_file))
            paths = {kind: self.yaml_file.parent / name for kind, name in self.names.items()}
            self._indices = {
                kind: stack.enter_context(atomic_path(path.with_suffix(".lineidx"))) for kind, path in paths.items()
            }
            temporary = {kind: stack.enter_context(atomic_path(path)) for kind, path in paths.items()}
            self._files = {kind: stack.enter_context(path.open("wb")) for kind, path in temporary.items()}
            stack.push(self._finish)
            self._offsets = {kind: array("q") for kind in self.KINDS}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        return self._stack.__exit__(*exception)

    def add(self, key: str, image: bytes, label: dict, height: int, width: int):
        """One sample: an encoded image of height x width pixels and its label (see `human_mesh.format_label`)."""
        row = len(self._offsets["img"])
        values = {
            "img": f"{key}\t".encode() + base64.b64encode(image),
            "label": f"{key}\t{json.dumps([label])}".encode(),
            "hw": f"{key}\t{json.dumps([{'height': height, 'width': width}])}".encode(),
            "linelist": str(row).encode(),
        }
        for kind, value in values.items():
            self._offsets[kind].append(self._files[kind].tell())
            self._files[kind].write(value + b"\n")

    def _finish(self, exception: type | None, *_):
        if exception is None:
            for kind, path in self._indices.items():
                path.write_text("".join(f"{offset}\n" for offset in self._offsets[kind]))
            self._yaml.write_text(yaml.safe_dump(self.names | ({"note": self.note} if self.note else {})))


def write_composite(yaml_file: str | Path, parts: list[str | Path], rows: np.ndarray):
    """Write a composite set: rows (N, 2) = (part, row) out of the plain sets whose yaml files are `parts`."""
    yaml_file = Path(yaml_file)
    yaml_file.parent.mkdir(parents=True, exist_ok=True)
    linelist = f"{yaml_file.stem}.linelist.tsv"
    write_text(yaml_file.parent / linelist, "".join(f"{part}\t{row}\n" for part, row in np.asarray(rows).tolist()))
    spec = {"composite": True, "linelist": linelist}
    for kind in ("img", "label", "hw"):
        files = [Path(part).with_suffix(f".{kind}.tsv") for part in parts]
        spec[kind] = [os.path.relpath(file, yaml_file.parent) for file in files]
    write_text(yaml_file, yaml.safe_dump(spec))
