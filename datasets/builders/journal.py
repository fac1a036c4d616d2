"""Files that grow row by row and survive an interruption; they get their names when all are complete."""

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import yaml

from datasets.tsv.writer import KINDS, EncodedRow
from utils.errors import UserError
from utils.files import write_text

SECONDS = 5.0  # between two entries of the journal: at most so much work is done again
LINES = ("rows", "dropped")  # lines of JSON beside the set: numbers of each row, and each dropped entry


class GrowingSet:
    """A plain METRO set `NAME.yaml` that grows in the folder `.NAME.building`.

    `done` units of the release are in it. A journal remembers how long each file was at the end of the last unit; what
    is beyond is cut off at the next start. fingerprint: plain values; where the journal has others, the set is started
    again.
    """

    def __init__(self, yaml_file: Path, fingerprint: dict):
        self.yaml_file = yaml_file
        self.folder = yaml_file.parent / f".{yaml_file.stem}.building"
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self.names = [f"{kind}.{end}" for kind in KINDS for end in ("tsv", "lineidx")]
        self.names += [f"{name}.jsonl" for name in LINES]

    def __enter__(self) -> "GrowingSet":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            state = self._read_journal()
            self.done, self.count = state["done"], state["count"]
            self.files = {}
            for name in self.names:
                path = self.folder / name
                self.files[name] = path.open("r+b" if path.exists() else "w+b")
                self.files[name].truncate(state["sizes"].get(name, 0))
                self.files[name].seek(0, os.SEEK_END)
        except OSError as error:
            raise UserError(
                f"cannot write to {self.folder} ({error.strerror}); check the folder and the disk"
            ) from error
        self.saved = time.monotonic()
        return self

    def add(self, rows: list[EncodedRow], measured: list[dict], dropped: list[dict]):
        """All rows and dropped entries of the next unit."""
        try:
            for row in rows:
                for kind, line in row.lines(self.count).items():
                    file = self.files[f"{kind}.tsv"]
                    self.files[f"{kind}.lineidx"].write(b"%d\n" % file.tell())
                    file.write(line)
                self.count += 1
            for name, entries in (("rows", measured), ("dropped", dropped)):
                self.files[f"{name}.jsonl"].write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
        except OSError as error:
            raise UserError(
                f"cannot write to {self.folder} ({error.strerror}); make room and run the same command again"
            ) from error
        self.done += 1
        if time.monotonic() - self.saved > SECONDS:
            self.save()

    def save(self):
        """Bring all rows so far to the disk, then remember them."""
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
        sizes = {name: file.tell() for name, file in self.files.items()}
        state = {"fingerprint": self.fingerprint, "done": self.done, "count": self.count, "sizes": sizes}
        write_text(self.folder / "journal.json", json.dumps(state))
        self.saved = time.monotonic()

    def finish(self, note: str | None):
        """Give all files their names, the yaml last."""
        self.save()
        for file in self.files.values():
            file.close()
        stem, parent = self.yaml_file.stem, self.yaml_file.parent
        self.yaml_file.unlink(missing_ok=True)  # an older set of this name must not be read half replaced
        for name in self.names:
            os.replace(self.folder / name, parent / f"{stem}.{name}")
            (parent / f"{stem}.{name}.bin").unlink(missing_ok=True)
        spec = {kind: f"{stem}.{kind}.tsv" for kind in KINDS} | ({"note": note} if note else {})
        write_text(self.yaml_file, yaml.safe_dump(spec))
        self._unlock()
        shutil.rmtree(self.folder)

    def discard(self) -> str:
        """Remove all of it -> the first dropped entry, in words."""
        for file in self.files.values():
            file.close()
        with (self.folder / "dropped.jsonl").open() as file:
            line = file.readline()
        self._unlock()
        shutil.rmtree(self.folder)
        if not line:
            return "the release has no entries"
        entry = json.loads(line)
        return f"{entry['where']}: {entry['reason']} {entry['detail']}".strip()

    def __exit__(self, kind: type | None, *_):
        if any(not file.closed for file in self.files.values()):
            with suppress(OSError, UserError):
                self.save()
            for file in self.files.values():
                with suppress(OSError):
                    file.close()
            self._unlock()

    def _read_journal(self) -> dict:
        empty = {"done": 0, "count": 0, "sizes": {}}
        try:
            state = json.loads((self.folder / "journal.json").read_text())
            whole = all((self.folder / name).stat().st_size >= size for name, size in state["sizes"].items())
        except (OSError, ValueError, KeyError, TypeError):
            return empty
        return state if whole and state.get("fingerprint") == self.fingerprint else empty

    def _lock(self):
        """UserError if another process builds the same set. Not on Windows, which has no such locks."""
        self._lock_file = (self.folder / "lock").open("a")
        try:
            import fcntl

            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            self._lock_file.close()
            raise UserError(f"another process builds {self.yaml_file}; wait for it or end it") from error

    def _unlock(self):
        self._lock_file.close()
