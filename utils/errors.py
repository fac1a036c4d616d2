"""Errors a user can mend: one clear line, exit code 2, no traceback."""

import functools
import re
import sys


class UserError(Exception):
    """Bad input. The message says what is wrong, where, and what to do about it, in one line."""


class RowError(UserError):
    """One row of a data set cannot be used. A run may leave it out and go on, see datasets/sampler.py."""


def exit_with(error: UserError | str):
    """One line on stderr and exit code 2."""
    sys.stdout.flush()
    message = re.split(r"(?:User|Row)Error: ", str(error))[-1].strip()  # loader workers wrap theirs in a traceback
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
