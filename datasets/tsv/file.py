"""The rows of one TSV file, read by byte offset."""

import os
from pathlib import Path

import numpy as np

from datasets.locate import REMEDY
from datasets.tsv.index import load_offsets
from utils.errors import RowError, UserError

MAX_NAME = 400  # characters of a name in a message
MAX_ROW = 1 << 28  # bytes; a photograph of 150 million pixels has less


class TSVFile:
    """Rows of one `X.tsv`, read from disk by offset.

    The offsets are mapped from a file, so that all processes of a machine share them. Each process opens the TSV file
    at its first read. UserError if the file is missing, RowError if a row cannot be read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not os.path.isfile(self.path):  # also False for a name that no file can have
            raise UserError(f"{str(self.path)[:MAX_NAME]} is missing; {REMEDY}")
        self.offsets = load_offsets(self.path)
        self._file, self._process = None, None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getstate__(self) -> dict:
        own = None if isinstance(self.offsets, np.memmap) else self.offsets  # pickling would copy a memory map
        return {"path": self.path, "offsets": own, "_file": None, "_process": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        if self.offsets is None:
            self.offsets = load_offsets(self.path)

    def __getitem__(self, row: int) -> list[bytes]:
        """The columns of a row."""
        line, start, end = self.find(row)
        return line[start:end].split(b"\t")

    def find(self, row: int) -> tuple[bytes, int, int]:
        """A row without copies -> bytes that contain it, its start and its end in them."""
        if self._process != os.getpid():
            self._file, self._process = self.path.open("rb", buffering=0), os.getpid()
        start, end = self.offsets[row : row + 2].tolist()
        if end - start > MAX_ROW:
            raise RowError(f"{self.path} row {row} has {end - start} bytes, more than the allowed {MAX_ROW}; {REMEDY}")
        before = int(start > 0)  # the byte before the row has to be a newline
        try:
            line = os.pread(self._file.fileno(), end - start + before, start - before)
        except OSError as error:
            raise RowError(f"{self.path} row {row} cannot be read ({error.strerror}); check the disk") from error
        begins = line.startswith(b"\n") or not before
        ends = line.endswith(b"\n") or row + 1 == len(self)
        if len(line) != end - start + before or not begins or not ends or line.find(b"\n", before, -1) >= 0:
            index = self.path.with_suffix(".lineidx")
            raise RowError(f"{self.path} row {row} is not at its offset in {index.name}; delete {index} and try again")
        stop = len(line)
        while stop > before and line[stop - 1] in b"\r\n":
            stop -= 1
        return line, before, stop
