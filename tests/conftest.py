import signal
from pathlib import Path

import hypothesis
import pytest

from utils.paths import ROOT

# a busy machine may take long for an example
hypothesis.settings.register_profile("no_deadline", deadline=None)
hypothesis.settings.load_profile("no_deadline")

# a shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start
signal.signal(signal.SIGINT, signal.default_int_handler)

# the only reasons for which a test may be skipped under --strict_skips
ALLOWED_SKIPS = ("needs a GPU", "needs Blender", "needs the annotated photographs")


def pytest_addoption(parser):
    parser.addoption("--strict_skips", action="store_true", help="fail if a test is skipped for any other reason than "
                     + ", ".join(ALLOWED_SKIPS))  # fmt: skip


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("strict_skips"):
        for nodeid, reason in _forbidden_skips(terminalreporter):
            terminalreporter.write_line(f"FORBIDDEN SKIP {nodeid}: {reason}", red=True)


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # none in the processes of -n
    if reporter and session.config.getoption("strict_skips") and _forbidden_skips(reporter) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _forbidden_skips(reporter) -> list[tuple[str, str]]:
    """-> (test, reason) of each skipped test whose reason is not in ALLOWED_SKIPS."""
    skipped = [(r.nodeid, r.longrepr[2].removeprefix("Skipped: ")) for r in reporter.stats.get("skipped", [])]
    return [(nodeid, reason) for nodeid, reason in skipped if not reason.startswith(ALLOWED_SKIPS)]


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the numbers recorded from the published code."""
    return ROOT / "tests" / "data" / "reference"
