"""Command-line arguments: good values pass, bad ones are one line that names the flag and the value."""

from pathlib import Path

import pytest

from utils.arguments import Parser, add_assets_flag, input_file, input_folder, number, output_file, output_folder
from utils.errors import UserError
from utils.files import make_folder
from utils.paths import ASSETS


def parse(kind, text: str):
    parser = Parser(prog="script.py")
    parser.add_argument("--flag", type=kind)
    return parser.parse_args([f"--flag={text}"]).flag


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (number(int, at_least=1), "1", 1),
        (number(float, above=0), "1e-9", 1e-9),
        (number(float, at_least=0, below=1), "0", 0.0),
        (number(float), "-3.5", -3.5),
    ],
)
def test_numbers_in_range(kind, text, value):
    assert parse(kind, text) == value and type(parse(kind, text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (number(int, at_least=1), "0", "0 is below 1"),
        (number(int, at_least=1), "-1", "-1 is below 1"),
        (number(int, at_least=1), "9" * 20, "9" * 20 + " is too large"),
        (number(int), "-" + "9" * 20, "-" + "9" * 20 + " is too large"),
        (number(int), "1.5", "invalid whole number value: '1.5'"),
        (number(float), "nan", "nan is not finite"),
        (number(float, at_least=0), "inf", "inf is not finite"),
        (number(float, above=0), "0", "0 is not above 0"),
        (number(float, below=1), "1", "1 is not below 1"),
        (number(float), "many", "invalid number value: 'many'"),
    ],
)
def test_numbers_out_of_range(kind, text, words):
    with pytest.raises(UserError, match=f"^argument --flag: {words}; script.py --help") as error:
        parse(kind, text)
    assert "\n" not in str(error.value)


def test_files_and_folders(tmp_path):
    file = tmp_path / "a.png"
    file.touch()
    assert parse(input_file, file) == parse(output_file(".png"), file) == file
    assert parse(input_folder, tmp_path) == parse(output_folder, tmp_path) == tmp_path
    new = tmp_path / "new/folder"
    assert parse(output_folder, new) == new and parse(output_file(), new / "b.txt") == new / "b.txt"
    assert parse(output_file(".png"), "A.PNG") == Path("A.PNG")
    assert not new.exists()  # reading a command line leaves no trace


@pytest.mark.parametrize(
    ("kind", "path", "words"),
    [
        (input_file, "missing.png", "no file"),
        (input_file, "", "is a folder, not a file"),
        (input_folder, "missing", "no folder"),
        (input_folder, "a.png", "is a file, not a folder"),
        (output_file(".png"), "b.jpg", "must end in .png"),
        (output_file(".onnx", ".pt2"), "b.jpg", "must end in .onnx or .pt2"),
        (output_file(), "", "is a folder: give the name of a file"),
        (output_file(), "a.png/b.png", "a.png is not a writable folder"),
        (output_folder, "a.png/b/c", "a.png is not a writable folder"),
    ],
)
def test_files_and_folders_that_cannot_be_used(tmp_path, kind, path, words):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=words):
        parse(kind, tmp_path / path)


def test_flags_must_be_written_in_full():
    parser = Parser()
    parser.add_argument("--output")
    with pytest.raises(UserError, match="unrecognized arguments: --out"):
        parser.parse_args(["--out=x"])


def test_a_folder_is_made_or_refused(tmp_path):
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir() and not any((tmp_path / "a/b").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write into"):
        make_folder(tmp_path / "file")
    with pytest.raises(UserError, match="cannot write into"):
        make_folder(tmp_path / "file/c")


def test_the_folder_of_assets(tmp_path):
    parser = Parser()
    add_assets_flag(parser)
    assert parser.parse_args([]).assets == ASSETS  # may be missing
    assert parser.parse_args(["--assets", "none"]).assets == "none"
    assert parser.parse_args(["--assets", str(tmp_path)]).assets == str(tmp_path)
    with pytest.raises(UserError, match="--assets: no folder"):
        parser.parse_args(["--assets", str(tmp_path / "missing")])
