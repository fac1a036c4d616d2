"""Errors that a user can correct: one clear line, exit code 2, no traceback."""

import functools
import re
import sys


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do."""


class RowError(UserError):
    """One row of a data set cannot be used. A run may skip it and continue, see datasets/sampler.py."""


def exit_with(error: UserError | str):
    """Print one line to stderr and exit with code 2."""
    sys.stdout.flush()
    message = re.split(r"(?:User|Row)Error: ", str(error))[-1]  # a loader worker wraps its error in a traceback
    message = " ".join(
        line.strip() for line in message.strip().splitlines()
    )  # a library's message may have several lines
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)


def exit_on_user_error(main):
    """Decorate a command's main(): a UserError becomes one line on stderr and exit code 2."""

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except UserError as error:
            exit_with(error)

    return wrapper
