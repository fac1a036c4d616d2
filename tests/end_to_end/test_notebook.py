"""The notebook runs from top to bottom, as its cells stand there."""

import json
import os
import subprocess
import sys

from utils.paths import SAMPLES


def test_every_cell_runs(tmp_path):
    notebook = json.loads((SAMPLES / "demo.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["nbformat"] == 4 and len(cells) >= 5
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "\n\n".join(cells)]
    result = subprocess.run(command, cwd=SAMPLES, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert "found at" in result.stdout and "im01.glb" in result.stdout and "R_hand" in result.stdout
