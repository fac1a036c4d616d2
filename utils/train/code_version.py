"""Which code is running: a number that changes with every line of it, with or without git."""

import hashlib

from utils.paths import ROOT


def code_version() -> str:
    """The first 12 digits of a SHA-256 over main.py, models, datasets and utils."""
    digest = hashlib.sha256()
    for path in sorted(
        [ROOT / "main.py", *(p for d in ("models", "datasets", "utils") for p in (ROOT / d).rglob("*.py"))]
    ):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
