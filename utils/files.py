"""Atomic writing: a file appears completely or not at all."""

import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; it replaces `path` if the block ends without an error.

    A reader gets the old file or the new one, never a part. UserError if the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # without this, a power cut could leave the new name on an empty file
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; check the folder and the disk") from error
    finally:
        with suppress(OSError):  # the error above is the one to report
            temporary.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    """A hidden name with the same suffix, no longer than the longest legal name: `name` itself may be that long."""
    path = Path(name)
    suffix = path.suffix if len(path.suffix) < 20 else ""
    return f".{path.stem[:20]}.{zlib.crc32(os.fsencode(name)):08x}.{os.getpid()}{suffix}"


def _sync_folder(folder: Path):
    """Bring a new name in a folder to the disk. Windows and some network disks cannot, and then it is left out."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: str | Path, text: str):
    """Write a text file (UTF-8) atomically; bytes of a name that is not UTF-8 are written as they are."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def find_file(folder: str | Path, names: Iterable[str]) -> Path | None:
    """The first of the names that is a file in a folder, in upper or lower case; None if there is none.

    UserError if two different files have the same name but for the case.
    """
    present: dict[str, list[Path]] = {}
    with suppress(OSError):  # no such folder
        for path in sorted(Path(folder).iterdir()):
            present.setdefault(path.name.lower(), []).append(path)
    for name in names:
        found = [path for path in present.get(name.lower(), ()) if path.is_file()]
        if len({path.resolve() for path in found}) > 1:
            both = " and ".join(path.name for path in found)
            raise UserError(f"{folder} has {both}, whose names differ only in case: keep one of them")
        if found:
            return found[0]
    return None


def make_folder(path: str | Path):
    """Create a folder for results. UserError if it cannot be written."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UserError(f"cannot write into {path} ({error.strerror}); choose another folder") from error
