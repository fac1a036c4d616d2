import signal
from pathlib import Path

import pytest

# a shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start
signal.signal(signal.SIGINT, signal.default_int_handler)

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the numbers recorded from the published code; tests that need it skip where it is absent."""
    if not REFERENCE.is_dir():
        pytest.skip(f"recorded reference numbers not found at {REFERENCE}")
    return REFERENCE
