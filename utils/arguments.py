"""Command-line arguments that are checked while they are read: a bad value is one clear line, before any work."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError
from utils.network_config import BACKBONE_NAMES, is_backbone
from utils.paths import ASSETS, ROOT

LARGEST_INT = 2**63 - 1  # of Python's sizes and of torch


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UserErrors of one line. Flags must be written in full."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"allow_abbrev": False} | kwargs)

    def error(self, message: str):
        raise UserError(f"{message}; {self.prog} --help lists every flag")


def script_parser(documentation: str) -> Parser:
    """The parser of a script whose --help shows its docstring as it is written."""
    return Parser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)


def default_path(path: Path) -> str:
    """Help on a default: the path relative to the repository."""
    return f"default: {path.relative_to(ROOT).as_posix()}"


def number(
    kind: type[int] | type[float], at_least: float | None = None, above: float | None = None, below: float | None = None
) -> Callable[[str], float]:
    """A parser of finite numbers in a range."""

    def parse(text: str) -> float:
        value = kind(text)
        if value != value or abs(value) == float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not finite")
        if kind is int and abs(value) > LARGEST_INT:
            raise argparse.ArgumentTypeError(f"{text} is too large")
        if at_least is not None and value < at_least:
            raise argparse.ArgumentTypeError(f"{text} is below {at_least}")
        if above is not None and value <= above:
            raise argparse.ArgumentTypeError(f"{text} is not above {above}")
        if below is not None and value >= below:
            raise argparse.ArgumentTypeError(f"{text} is not below {below}")
        return value

    parse.__name__ = {int: "whole number", float: "number"}[kind]  # argparse names it in "invalid ... value"
    return parse


def backbone_name(text: str) -> str:
    """The name of a backbone, see `utils.network_config.is_backbone`."""
    if not is_backbone(text):
        raise argparse.ArgumentTypeError(f"{text} is not {BACKBONE_NAMES} with a network of the installed timm")
    return text


def weighted_file(text: str) -> str:
    """FILE, or FILE:WEIGHT, as it is written, see `split_weight`."""
    split_weight(text)
    return text


def split_weight(text: str) -> tuple[Path, float]:
    """FILE, or FILE:WEIGHT -> the file, which exists, and its weight, by default 1."""
    path, colon, weight = text.rpartition(":")
    if not colon or Path(text).is_file():
        return input_file(text), 1.0
    try:
        return input_file(path), number(float, above=0, below=1000)(weight)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: the weight '{weight}' is not a number; write FILE:2") from error


def input_file(text: str) -> Path:
    """A file that exists."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{path} is a folder, not a file" if path.is_dir() else f"no file {path}")
    return path


def input_folder(text: str) -> Path:
    """A folder that exists."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a file, not a folder" if path.exists() else f"no folder {path}")
    return path


def pattern(text: str) -> str:
    """A regular expression with one group."""
    try:
        count = re.compile(text).groups
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text} is no regular expression ({error})") from None
    if count != 1:
        raise argparse.ArgumentTypeError(f"{text} has {count} groups in round brackets, one is needed")
    return text


def add_assets_flag(parser: argparse.ArgumentParser):
    """Add --assets, the folder of the pictures that synthetic people use. Without --assets it may be missing."""

    def parse(text: str) -> str:
        return text if text == "none" else str(input_folder(text))

    text = "folder of scripts/fetch_synthetic_assets.sh, or none (default: assets, if it exists)"
    parser.add_argument("--assets", type=parse, default=ASSETS, metavar="DIR", help=text)


def output_file(*endings: str) -> Callable[[str], Path]:
    """A parser of the name of a file to write: with one of these endings, if any are given, where it can be written."""

    def parse(text: str) -> Path:
        path = Path(text)
        if endings and path.suffix.lower() not in endings:
            raise argparse.ArgumentTypeError(f"{path}: the name must end in {' or '.join(endings)}")
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{path} is a folder: give the name of a file")
        output_folder(path.parent)
        return path

    return parse


def check_not_input(output: str | Path, *inputs: str | Path | None):
    """UserError if a file to write is one of the files that are read, by whatever name."""
    for path in inputs:
        if path and os.path.exists(path) and os.path.exists(output) and os.path.samefile(path, output):
            raise UserError(f"{output} is an input and would be overwritten: choose another name for the output")


def output_folder(text: str | Path) -> Path:
    """A folder that can be written, or that can be made."""
    path = Path(text)
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write into {path}: {nearest} is not a writable folder")
    return path
