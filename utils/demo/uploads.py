"""Photographs that visitors of the web page upload: a copy for each request, and nothing kept."""

import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from utils.errors import UserError

GRACE = 3.0  # seconds in which a file counts as being uploaded by another visitor


class Uploads:
    """Files below a folder in which Gradio names them by content: equal photographs of two visitors are one file.

    A visitor's upload is announced (`add`) and later used (`copy`) once. The file goes when nobody who announced it
    still has to use it.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._waiting: dict[Path, int] = {}
        self._lock = threading.Lock()

    def add(self, path: str | Path):
        """A visitor has uploaded this file."""
        with self._lock:
            self._waiting[Path(path)] = self._waiting.get(Path(path), 0) + 1

    def copy(self, path: str | Path) -> Path:
        """A copy of its own for one request, in a new folder. UserError if the file is gone."""
        folder = Path(tempfile.mkdtemp(prefix="request-", dir=self.folder))
        try:
            return Path(shutil.copyfile(path, folder / Path(path).name))
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UserError(f"{Path(path).name} is gone: upload it again") from error

    def done(self, path: str | Path, copy: Path | None):
        """A request has ended: delete its copy, and the upload if no other visitor waits for it."""
        if copy is not None:
            shutil.rmtree(copy.parent, ignore_errors=True)
        with self._lock:
            self._waiting[Path(path)] = max(self._waiting.get(Path(path), 0) - 1, 0)
        self._delete(Path(path))
        self._later(GRACE, self._sweep)

    def _sweep(self):
        """Delete the empty files and folders that Gradio leaves behind each upload."""
        for entry in self.folder.iterdir():
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime < GRACE:
                    continue
                if entry.is_dir():
                    entry.rmdir()  # only if it is empty
                elif not entry.stat().st_size:
                    entry.unlink()

    @staticmethod
    def _later(seconds: float, function, *arguments):
        timer = threading.Timer(seconds + 0.1, function, arguments)
        timer.daemon = True
        timer.start()

    def _delete(self, path: Path):
        with self._lock:
            if self._waiting.get(path):
                return
            with suppress(OSError):
                left = GRACE - (time.time() - path.stat().st_mtime)
                if left > 0:  # perhaps just uploaded again, and not announced yet
                    self._later(left, self._delete, path)
                    return
                path.unlink()
                path.parent.rmdir()
            self._waiting.pop(path, None)
