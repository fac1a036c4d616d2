"""A lock on the folder of a run, so that two runs cannot write into it at the same time."""

import os
import socket
from datetime import datetime
from pathlib import Path

from utils.errors import UserError
from utils.process import is_main
from utils.train.distributed import from_rank_zero

try:
    import fcntl
except ImportError:  # Windows: runs are not locked there
    fcntl = None


class RunLock:
    """Held by rank 0 from its creation until `release` or the end of the process, however it ends.

    folder: of the run; the lock is a hidden file beside it, because the folder itself may be moved aside. All processes
    must create one. UserError on all of them if a living process holds the lock.
    """

    def __init__(self, folder: Path):
        self._file = None
        refusal = from_rank_zero(self._acquire(folder) if is_main() else "")
        if refusal:
            raise UserError(refusal)

    def _acquire(self, folder: Path) -> str:
        """Take the lock -> "", or why it cannot be taken."""
        path = folder.with_name(f".{folder.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            return f"cannot write to {path.parent}: {error.strerror}; check the folder and the disk"
        try:
            if fcntl is not None:
                # a lock of the process, not of the file: loader workers, which are forks, do not inherit it
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            file.close()
            return f"{folder} is in use by {holder}: choose another --exp_name, or wait until that run has ended"
        except OSError as error:
            print(f"warning: cannot lock {path} ({error.strerror}); do not start a second run with this --exp_name")
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
            file.flush()
        except OSError:  # a full disk: the lock holds without its text
            pass
        self._file = file
        return ""

    def release(self):
        """Let other processes have the folder."""
        if self._file is not None:
            self._file.close()
            self._file = None
