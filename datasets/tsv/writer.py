"""Write data sets in METRO's TSV layout."""

import json
import os
from array import array
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from pybase64 import b64encode

from utils.files import atomic_path, make_folder, write_text

KINDS = ("img", "label", "hw", "linelist")


class EncodedRow(NamedTuple):
    """The columns of one sample as they stand in the files."""

    img: bytes
    label: bytes
    hw: bytes

    def lines(self, row: int) -> dict[str, bytes]:
        """Kind of file -> line, for row number `row`."""
        return {"img": self.img, "label": self.label, "hw": self.hw, "linelist": b"%d\n" % row}


def encode_row(key: str, image: bytes, label: dict, height: int, width: int) -> EncodedRow:
    """One sample: an encoded image of height x width pixels and its label (see `datasets.labels.format_label`)."""
    return EncodedRow(
        img=b"".join((f"{key}\t".encode(), b64encode(image), b"\n")),
        label=f"{key}\t{json.dumps([label])}\n".encode(),
        hw=f"{key}\t{json.dumps([{'height': height, 'width': width}])}\n".encode(),
    )


class TSVWriter:
    """Write one plain set next to its yaml file; all files appear at the end of the `with` block, none if it fails.

    note: remark on the labels that is printed with every metric on this set (see `read_note`).

    >>> with TSVWriter("human3.6m/valid.protocol2.yaml") as writer:
    ...     writer.add("S9_0001", jpeg, label, height=1000, width=1002)
    """

    def __init__(self, yaml_file: str | Path, note: str | None = None):
        self.yaml_file, self.note = Path(yaml_file), note
        self.names = {kind: f"{self.yaml_file.stem}.{kind}.tsv" for kind in KINDS}

    def __enter__(self) -> "TSVWriter":
        make_folder(self.yaml_file.parent)
        with ExitStack() as stack:
            # entered first, renamed last: the yaml never names a missing file
            self._yaml = stack.enter_context(atomic_path(self.yaml_file))
            paths = {kind: self.yaml_file.parent / name for kind, name in self.names.items()}
            self._indices = {
                kind: stack.enter_context(atomic_path(path.with_suffix(".lineidx"))) for kind, path in paths.items()
            }
            temporary = {kind: stack.enter_context(atomic_path(path)) for kind, path in paths.items()}
            self._files = {kind: stack.enter_context(path.open("wb")) for kind, path in temporary.items()}
            stack.push(self._finish)
            self._offsets = {kind: array("q") for kind in KINDS}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception) -> bool | None:
        return self._stack.__exit__(*exception)

    def add(self, key: str, image: bytes, label: dict, height: int, width: int) -> None:
        """Add a row, see `encode_row`."""
        row = encode_row(key, image, label, height, width)
        for kind, line in row.lines(len(self._offsets["img"])).items():
            self._offsets[kind].append(self._files[kind].tell())
            self._files[kind].write(line)

    def _finish(self, exception: type | None, *_) -> None:
        if exception is None:
            for kind, path in self._indices.items():
                path.write_text("".join(f"{offset}\n" for offset in self._offsets[kind]))
            self._yaml.write_text(yaml.safe_dump(self.names | ({"note": self.note} if self.note else {})))


def write_composite(yaml_file: str | Path, parts: list[str | Path], rows: np.ndarray) -> None:
    """Write a composite set: rows (N, 2) of (part, row) of the plain sets with the yaml files `parts`."""
    files = {kind: [Path(part).with_suffix(f".{kind}.tsv") for part in parts] for kind in ("img", "label", "hw")}
    join_files(Path(yaml_file), files, rows)


def join_files(yaml_file: Path, files: dict[str, list[Path]], rows: np.ndarray) -> None:
    """Write a composite set: rows (N, 2) of (file, row); files: those of img, label and hw, in one order."""
    make_folder(yaml_file.parent)
    linelist = f"{yaml_file.stem}.linelist.tsv"
    yaml_file.unlink(missing_ok=True)  # an older set of this name must not be read half replaced
    write_text(yaml_file.parent / linelist, "".join(f"{part}\t{row}\n" for part, row in np.asarray(rows).tolist()))
    spec = {kind: [os.path.relpath(path, yaml_file.parent) for path in paths] for kind, paths in files.items()}
    write_text(yaml_file, yaml.safe_dump({"composite": True, "linelist": linelist} | spec))
