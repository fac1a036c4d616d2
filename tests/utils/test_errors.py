"""Errors of the user end a command with one line and exit code 2."""

import pytest

from utils.errors import RowError, UserError, exit_on_user_error


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
