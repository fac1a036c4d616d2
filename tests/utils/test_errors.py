"""Errors of the user end a command with one line and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from utils.errors import RowError, UserError, exit_on_user_error, printable
from utils.paths import ROOT


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("no file a.png; check the path"), "error: no file a.png; check the path"),
        (UserError("no archive (\n- gz: no\n- xz: no)"), "error: no archive ( - gz: no - xz: no)"),
        (RowError("Caught RowError.\nTraceback:\n ...\nutils.errors.RowError: row 3 is bad\n"), "error: row 3 is bad"),
    ],
)
def test_one_line_and_exit_code_2(capsys, error, line):
    @exit_on_user_error
    def main():
        print("before")
        raise error

    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert stop.value.code == 2 and printed.err == line + "\n" and printed.out == "before\n"


@pytest.mark.parametrize(("name", "reason"), [("x" * 300, "File name too long"), ("none/a.txt", "No such file")])
def test_a_file_that_cannot_be_opened_is_one_line(capsys, tmp_path, name, reason):
    @exit_on_user_error
    def main():
        (tmp_path / name).read_bytes()

    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and printed.count("\n") == 1
    assert str(tmp_path / name) in printed and reason in printed and "check the name" in printed


def test_an_error_of_the_system_without_a_file_is_no_mistake_of_the_user():
    @exit_on_user_error
    def main():
        raise OSError(22, "Invalid argument")

    with pytest.raises(OSError, match="Invalid"):
        main()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_that_is_full_is_one_line():
    code = "from utils.errors import exit_on_user_error\n@exit_on_user_error\ndef main(): print('x' * 99)\nmain()"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written (No space left on device); check the disk\n"


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\rb", "\x9b2J", "\u202egnp.exe", "caf\udce9", "\x00", "bell\x07"])
def test_names_never_control_the_terminal(capsys, name):
    @exit_on_user_error
    def main():
        raise UserError(f"{name}.png is not a picture")

    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().err
    assert printed == f"error: {printable(name)}.png is not a picture\n"
    assert printable(name).isprintable() and printable(name).encode("utf-8")


def test_printable_names_stay_as_they_are():
    for name in ("a b.png", "\u00e9t\u00e9/\u7167\u7247 \U0001f9cd.jpg", "C:\\folder\\a.png"):
        assert printable(name) == name
    assert printable("a\nb", keep="\n") == "a\nb" and printable("a\nb") == "a\\nb"
