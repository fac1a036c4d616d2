"""The demo as its command runs it, within the process of the tests."""

import demo


def run_demo(monkeypatch, capsys, *flags) -> tuple[int, str, str]:
    """Run `demo.py` with these flags -> exit code, stdout, stderr."""
    monkeypatch.setattr("sys.argv", ["demo.py", *map(str, flags)])
    try:
        demo.main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()
