"""Byte offsets of the rows of a TSV file: computed once, saved next to the file, memory-mapped by every process."""

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

from datasets.locate import REMEDY
from utils.errors import UserError
from utils.files import atomic_path, write_text

INTEGER = np.dtype("<i8")


def build_offsets(path: str | Path) -> np.ndarray:
    """Offset of the first byte of every line of a file, by reading it once -> (N,) int64."""
    starts, position = [np.zeros(1, dtype=np.int64)], 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            starts.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + position + 1)
            position += len(chunk)
    starts = np.concatenate(starts)
    return starts[starts < position]  # the last newline starts no line


def load_offsets(path: str | Path) -> np.ndarray:
    """Byte offsets of the rows of `X.tsv`, and its size -> (N + 1,) int64, mapped from `X.lineidx.bin`.

    A missing or outdated `X.lineidx.bin` is made from `X.lineidx`, and a missing or wrong `X.lineidx` from `X.tsv`.
    Both are saved if the folder is writable; otherwise the offsets are an array of this process.
    """
    path = Path(path)
    size = path.stat().st_size
    text, mapped = path.with_suffix(".lineidx"), path.with_suffix(".lineidx.bin")
    if _is_newest(mapped, text, path):
        with suppress(OSError, ValueError):
            offsets = np.memmap(mapped, INTEGER, "r")
            if _fits(offsets, path, size):
                return offsets
    may_write = bool(path.parent.stat().st_mode & 0o222)  # root may write anywhere, but respects read-only folders here
    try:
        offsets = np.append(read_numbers(text)[:, 0], size)
    except UserError:
        offsets = np.empty(0)
    if not _fits(offsets, path, size):
        offsets = np.append(build_offsets(path), size)
        with suppress(UserError, OSError):
            if may_write:
                write_text(text, "".join(f"{offset}\n" for offset in offsets[:-1].tolist()))
    with suppress(UserError, OSError):
        if may_write:
            with atomic_path(mapped) as temporary:
                temporary.write_bytes(offsets.astype(INTEGER).tobytes())
            offsets = np.memmap(mapped, INTEGER, "r")
    return offsets


def _is_newest(mapped: Path, *sources: Path) -> bool:
    """Whether all files exist and `mapped` is not older than the sources; to delete the text forces a new index."""
    try:
        return mapped.stat().st_mtime_ns >= max(source.stat().st_mtime_ns for source in sources)
    except OSError:
        return False


def _fits(offsets: np.ndarray, path: Path, size: int) -> bool:
    """Whether the offsets may belong to the file: they increase, and the last row begins and ends with a line."""
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != size or (np.diff(offsets) <= 0).any():
        return False
    if size == 0:
        return True
    start = int(offsets[-2])
    with path.open("rb") as file:
        file.seek(max(start - 1, 0))
        tail = file.read(1 << 24)
    before, row = (tail[:1], tail[1:]) if start else (b"\n", tail)
    return before == b"\n" and b"\n" not in row[:-1]


def read_numbers(path: Path) -> np.ndarray:
    """Read a text file of integers, one row per line -> (N, columns) int64."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            # numpy would cut off the digits after a point, with this warning alone
            warnings.filterwarnings("error", category=DeprecationWarning)
            return np.loadtxt(path, dtype=np.int64, comments=None, ndmin=2)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {REMEDY}") from error
    except (OSError, ValueError, OverflowError, DeprecationWarning) as error:
        raise UserError(f"{path} is not a list of integers ({str(error)[:200]}); delete it or {REMEDY}") from error
