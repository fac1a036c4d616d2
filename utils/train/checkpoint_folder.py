"""The checkpoints of a run: which there are, which is the newest whole one, which may go."""

import os
import re
import shutil
import zipfile
from pathlib import Path

from utils.checkpoint import write_checkpoint
from utils.errors import UserError
from utils.files import atomic_path
from utils.process import is_main
from utils.train.distributed import any_rank, from_rank_zero

NAME = re.compile(r"epoch_(?P<epoch>\d+)\.pt|step_(?P<in_epoch>\d+)_(?P<step>\d+)\.pt")
STEPS_KEPT = 2  # one more than needed, in case the disk damages the newest


def checkpoint_name(epoch: int, step: int | None = None) -> str:
    """epoch_049.pt after epoch 49; step_049_001200.pt after 1200 of its steps."""
    return f"epoch_{epoch:03d}.pt" if step is None else f"step_{epoch:03d}_{step:06d}.pt"


class CheckpointFolder:
    """`logs/EXP/checkpoints`. Rank 0 alone writes; the others call the same methods and get the same answers.

    keep_last: how many finished epochs stay; 0: all. Of those inside an epoch the newest two stay until it is over.
    `best.pt` is the one whose validation was best.
    """

    def __init__(self, folder: Path, keep_last: int = 0):
        self.folder, self.keep_last = folder, keep_last
        self.saved: Path | None = None
        self.failed: str | None = None  # why the last attempt to save did not succeed

    def oldest_to_newest(self) -> list[Path]:
        """All checkpoints by what they had behind them, whole or not."""
        matches = {path: NAME.fullmatch(path.name) for path in self.folder.glob("*.pt")}
        return sorted((path for path, match in matches.items() if match), key=lambda path: _position(matches[path]))

    def newest_intact(self) -> Path | None:
        """The newest that is whole, None where there is none. Damaged ones are named and passed over."""
        for path in reversed(self.oldest_to_newest() if is_main() else []):
            if is_intact(path):
                found = path
                break
            print(f"warning: {path} is damaged or cut short, the one before it is taken", flush=True)
        else:
            found = None
        name = from_rank_zero(found.name if found else "")
        if not name:
            return None
        if not (self.folder / name).is_file():
            raise UserError(f"{self.folder / name} is not on this machine: all machines need the same logs/ folder")
        return self.folder / name

    def save(self, content: dict):
        """Write a checkpoint (RunState.content). Where that fails, say so and keep what there is."""
        within = content["step"] if content["step"] < content["num_steps"] else None
        path = self.folder / checkpoint_name(content["epoch"], within)
        if path == self.saved or not is_main():
            return
        try:
            write_checkpoint(path, content)
            self.saved, self.failed = path, None
            self._tidy()
        except UserError as error:
            self.failed = str(error)
            newest = self.oldest_to_newest()[-1:] or ["none"]
            print(f"warning: {error}; training goes on, the newest checkpoint is {newest[0]}", flush=True)

    def keep_best(self):
        """Make best.pt the one just saved; costs no room where the file system has hard links."""
        if not is_main() or self.failed or self.saved is None:
            return
        try:
            with atomic_path(self.folder / "best.pt") as temporary:
                try:
                    os.link(self.saved, temporary)
                except OSError:
                    shutil.copyfile(self.saved, temporary)
        except UserError as error:
            print(f"warning: {error}; best.pt stays as it was", flush=True)

    def require_saved(self):
        """At the end of a run: UserError on all ranks where its last state could not be written."""
        if any_rank(self.failed is not None)[0]:
            raise UserError(f"the end of this run is not saved: {self.failed or 'see the warning of rank 0'}")

    def go_on_from(self, path: Path | None):
        """This one need not be saved again; what killed runs left half written goes away."""
        self.saved = path
        for leftover in self.folder.glob(".*.pt") if is_main() else ():
            leftover.unlink(missing_ok=True)

    def _tidy(self):
        paths = self.oldest_to_newest()
        epochs = [path for path in paths if path.name.startswith("epoch")]
        steps = [path for path in paths if path.name.startswith("step")]
        over = paths.index(epochs[-1]) if epochs else -1
        gone = [path for path in steps if paths.index(path) < over] + steps[:-STEPS_KEPT]
        gone += epochs[: -self.keep_last] if self.keep_last else []
        for path in gone:
            path.unlink(missing_ok=True)


def is_intact(path: Path) -> bool:
    """Whether a file of torch.save is whole: its table of contents at the end, every part with its checksum."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False


def _position(match: re.Match) -> tuple[int, int]:
    """Epochs and steps behind a checkpoint."""
    if match["epoch"]:
        return int(match["epoch"]) + 1, 0
    return int(match["in_epoch"]), int(match["step"])
