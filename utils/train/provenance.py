"""How a run was started: command line, code and packages, for its options.json."""

import platform
import subprocess
import sys
from importlib import metadata

from utils.paths import ROOT

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "opencv-python-headless")


def provenance() -> dict:
    """Command line, git commit ("unknown" without git), whether files differ from it, Python and package versions."""
    return {
        "command": sys.argv,
        "git_commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _git(*words: str) -> str:
    try:
        result = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
