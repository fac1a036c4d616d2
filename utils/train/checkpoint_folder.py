"""The folder of a run's checkpoints: the newest intact one, saving, and deleting old ones."""

import os
import re
import shutil
import zipfile
from pathlib import Path

from utils.checkpoint import load_checkpoint, write_checkpoint
from utils.errors import UserError, printable
from utils.files import atomic_path
from utils.process import is_main
from utils.train.distributed import any_rank, from_rank_zero
from utils.train.run_state import check_resumable

NAME = re.compile(r"epoch_(?P<epoch>\d+)\.pt|step_(?P<in_epoch>\d+)_(?P<step>\d+)\.pt")
STEPS_KEPT = 2  # one more than needed, in case the newest gets damaged


def checkpoint_name(epoch: int, step: int | None = None) -> str:
    """epoch_049.pt after epoch 49; step_049_001200.pt after 1200 of its steps."""
    return f"epoch_{epoch:03d}.pt" if step is None else f"step_{epoch:03d}_{step:06d}.pt"


class CheckpointFolder:
    """`logs/EXP/checkpoints`. Only rank 0 writes; all ranks call the same methods and get the same results.

    keep_last: number of finished epochs to keep; 0: all. Within an epoch, the newest two checkpoints are kept until
    it is finished. `best.pt` has the best validation result.
    """

    def __init__(self, folder: Path, keep_last: int = 0):
        self.folder, self.keep_last = folder, keep_last
        self.saved: Path | None = None
        self.failed: str | None = None  # why the last save failed

    def oldest_to_newest(self) -> list[Path]:
        """All checkpoints in training order, intact or not."""
        return sorted((path for path in self.folder.glob("*.pt") if NAME.fullmatch(path.name)), key=_position)

    def newest_intact(self) -> Path | None:
        """The newest intact checkpoint, or None. Damaged ones are reported and skipped."""
        for path in reversed(self.oldest_to_newest() if is_main() else []):
            reason = why_damaged(path)
            if reason is None:
                found = path
                break
            damage = printable(f"{path} is damaged or incomplete ({reason})")
            print(f"warning: {damage}; using the one before it", flush=True)
        else:
            found = None
        name = from_rank_zero(found.name if found else "")
        if not name:
            return None
        if not (self.folder / name).is_file():
            raise UserError(f"{self.folder / name} is not on this machine: all machines need the same logs/ folder")
        return self.folder / name

    def save(self, content: dict):
        """Write a checkpoint (RunState.content). If that fails, print a warning and keep the older ones."""
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
            print(f"warning: {error}; training continues, the newest checkpoint is {newest[0]}", flush=True)

    def keep_best(self):
        """Make best.pt the checkpoint just saved; a hard link if the file system has them."""
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
        """UserError on all ranks if the last state of the run could not be written."""
        if any_rank(self.failed is not None)[0]:
            reason = self.failed or "see the warning of rank 0"
            raise UserError(f"the last state of this run is not saved: {reason}; then resume with --auto_load 1")

    def resume_from(self, path: Path | None):
        """Remember that this checkpoint exists already; delete temporary files of killed runs."""
        self.saved = path
        for leftover in self.folder.glob(".*.pt") if is_main() else ():
            leftover.unlink(missing_ok=True)

    def _tidy(self):
        # files beyond the one just saved are damaged, and were skipped when the run was resumed
        paths = [path for path in self.oldest_to_newest() if _position(path) <= _position(self.saved)]
        epochs = [path for path in paths if path.name.startswith("epoch")]
        steps = [path for path in paths if path.name.startswith("step")]
        over = paths.index(epochs[-1]) if epochs else -1
        gone = [path for path in steps if paths.index(path) < over] + steps[:-STEPS_KEPT]
        gone += epochs[: -self.keep_last] if self.keep_last else []
        for path in gone:
            path.unlink(missing_ok=True)


def why_damaged(path: Path) -> str | None:
    """Why a run cannot be resumed from a file: checksums, contents or random number states; None if it can."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        if damaged:
            return f"checksum of {damaged}"
        check_resumable(load_checkpoint(path))
    except UserError as error:
        return str(error).removeprefix(f"{path} ")
    except Exception as error:  # zip files can be damaged in a dozen ways
        return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return None


def _position(path: Path) -> tuple[int, int]:
    """Finished epochs and steps of a checkpoint."""
    match = NAME.fullmatch(path.name)
    if match["epoch"]:
        return int(match["epoch"]) + 1, 0
    return int(match["in_epoch"]), int(match["step"])
