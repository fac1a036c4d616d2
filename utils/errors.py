"""Errors that a user can correct: one clear line, exit code 2, no traceback."""

import errno
import functools
import os
import re
import sys

# control characters could change the terminal or the order of the text; lone surrogates cannot be written as UTF-8
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, keep: str = "") -> str:
    """Text in which control characters and undecodable bytes are escaped, as in a Python string; `keep` stays.

    For names from files and the command line, which may contain terminal escape sequences.
    """

    def escape(match: re.Match) -> str:
        return match[0] if match[0] in keep else match[0].encode("unicode_escape").decode("ascii")

    return _UNPRINTABLE.sub(escape, str(text))


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do. Names in it become printable."""

    def __init__(self, message: object = ""):
        super().__init__(printable(message, keep="\n"))


class RowError(UserError):
    """One row of a data set cannot be used. A run may skip it and continue, see datasets/sampler.py."""


def exit_with(error: UserError | str):
    """Print one line to stderr and exit with code 2."""
    sys.stdout.flush()
    if "tqdm" in sys.modules:  # a progress bar that is still open would be drawn again below the error
        for bar in [*getattr(sys.modules["tqdm"].tqdm, "_instances", ())]:
            bar.close()
    message = re.split(r"(?:User|Row)Error: ", str(error))[-1]  # a loader worker wraps its error in a traceback
    message = " ".join(
        line.strip() for line in message.strip().splitlines()
    )  # a library's message may have several lines
    print(f"error: {printable(message)}", file=sys.stderr, flush=True)
    sys.exit(2)


def _discard_output():
    """Let what stdout still holds, and would write at the end of the process, vanish."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_on_user_error(main):
    """Decorate a command's main(): a UserError becomes one line on stderr and exit code 2.

    So does an OSError about a file, such as a name that is too long or a folder without permission.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by the shell, as in `2>&-`
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
            elif hasattr(getattr(sys, name), "reconfigure"):  # a terminal without UTF-8 shows escapes of other letters
                getattr(sys, name).reconfigure(errors="backslashreplace")
        try:
            result = main(*args, **kwargs)
            sys.stdout.flush()
            return result
        except UserError as error:
            exit_with(error)
        except KeyboardInterrupt:
            print("\nerror: stopped by Ctrl-C", file=sys.stderr, flush=True)
            sys.exit(130)
        except BrokenPipeError:  # the reader, such as `| head -1`, has all it wants
            _discard_output()
            sys.exit(1)
        except OSError as error:
            if error.filename is None and error.errno in FULL:  # `> FILE` on a full disk
                _discard_output()
                exit_with(f"the output cannot be written ({error.strerror}); check the disk")
            if error.filename is None:  # not about a file that the user chose
                raise
            exit_with(f"{error.filename}: {error.strerror}; check the name, the permissions and the disk")

    return wrapper
