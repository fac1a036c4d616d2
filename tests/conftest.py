import signal
from pathlib import Path

import pytest

from utils.paths import ROOT

# a shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the numbers recorded from the published code."""
    return ROOT / "tests" / "data" / "reference"
