"""Commands of the repository within the process of the tests."""

from pathlib import Path
from types import ModuleType
from unittest import mock


def run_main(module: ModuleType, *arguments: object) -> int:
    """Run main() of a command with these arguments -> exit code."""
    with mock.patch("sys.argv", [Path(module.__file__).name, *map(str, arguments)]):
        try:
            module.main()
        except SystemExit as stop:
            return stop.code
    return 0
