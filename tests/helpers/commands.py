"""The commands that the documentation shows, and the --help texts of the project's commands."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from utils.paths import ROOT

STARTS = ("python ", "python3 ", "torchrun ", "bash ", "export ", "SMPL_POSE_")


class Command(NamedTuple):
    """One command line of a documentation page."""

    page: str
    program: str  # repository path of the .py or .sh file, or "" if it is another program's command
    flags: tuple[str, ...]  # what the program gets: --name
    subcommand: str  # the first word after the program, if it is plain
    text: str


def pages() -> list[Path]:
    """All Markdown pages of the repository."""
    folders = ("", "docs", "pretrained", "meta_data", "meta_data/joint_prior", "samples")
    return [page for folder in folders for page in sorted((ROOT / folder).glob("*.md"))]


def commands_of(page: Path) -> list[Command]:
    """Commands in bash blocks and in code spans of a page."""
    text = page.read_text()
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.M | re.S)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()] + spans
    commands = [command for line in lines if line.strip().startswith(STARTS) for command in _split(line)]
    return [_parse(page, words) for words in commands if " ".join(words).startswith(STARTS)]


def _split(line: str) -> list[list[str]]:
    """A shell line -> the words of each of its commands."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;")
    lexer.whitespace_split = True
    commands = [[]]
    for word in lexer:
        commands.append([]) if word in ("&&", ";") else commands[-1].append(word)
    return commands


def _parse(page: Path, words: list[str]) -> Command:
    text = " ".join(words)
    at = next((i for i, word in enumerate(words) if word.endswith((".py", ".sh")) and not word.startswith("-")), None)
    if at is None:
        return Command(page.name, "", (), "", text)
    flags = tuple(word.split("=")[0] for word in words[at + 1 :] if re.match(r"--[a-z]", word))
    subcommand = words[at + 1] if len(words) > at + 1 and words[at + 1].isalpha() else ""
    return Command(page.name, words[at].removeprefix("PATH_to_SMPL-Pose/"), flags, subcommand, text)


@functools.cache
def help_text(program: str, *subcommand: str) -> str:
    """What `python PROGRAM [SUBCOMMAND] --help` prints; AssertionError if it fails."""
    result = subprocess.run(
        [sys.executable, program, *subcommand, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, f"{program} --help: {result.stderr[-2000:]}"
    return result.stdout
