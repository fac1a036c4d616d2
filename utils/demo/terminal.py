"""What the demo prints: labelled lines that fit a terminal of 80 columns."""

import os
import shutil
import textwrap
from pathlib import Path

from utils.errors import printable

WIDTH = 80  # columns; wider terminals are not filled, so that lines stay easy to read
LABEL = 9  # columns of the label in front of a line
NAME = 32  # characters of a file's name in a line about it


def labelled(label: str, text: str) -> str:
    """`label`, padded, and the text, wrapped after it. A word longer than a line, such as a path, stays whole."""
    width = max(40, min(WIDTH, shutil.get_terminal_size().columns))
    return textwrap.fill(
        text,
        width,
        initial_indent=f"{label:<{LABEL - 1}} ",
        subsequent_indent=" " * LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def written(paths: list[Path]) -> str:
    """The files that were written, one a line."""
    return "wrote    " + ("\n" + " " * LABEL).join(printable(short_path(path)) for path in paths)


def short_path(path: Path) -> str:
    """The path as it is, or from the current folder, whichever is shorter."""
    try:
        return min(str(path), os.path.relpath(path), key=len)
    except (ValueError, OSError):  # on another drive, or the current folder is gone
        return str(path)


def short_name(name: str, limit: int = NAME) -> str:
    """A file's name, printable, its middle left out if it is long; the ending stays."""
    name = printable(name)
    if len(name) <= limit:
        return name
    end = limit // 2 - 1
    return f"{name[: limit - end - 3]}...{name[-end:]}"
