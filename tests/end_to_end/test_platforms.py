"""The demo without what macOS and Windows lack: signals, system calls and modules of Linux, and fsync of folders."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from utils.paths import ROOT, SAMPLES

WITHOUT_LINUX = """
import os, runpy, shutil, signal, sys

for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT", "sigwaitinfo", "sigtimedwait", "pthread_sigmask"):
    delattr(signal, name)
for name in ("pread", "pwrite", "getuid", "sched_getaffinity", "posix_fadvise"):
    delattr(os, name)
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None  # importing it raises ImportError
os.environ["USERNAME"] = "user"  # Windows has it, and Python takes the user's name from it
shutil._use_fd_functions = False  # as on Windows: rmtree then opens no folders
open_file = os.open


def open_no_folder(path, *args, **kwargs):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return open_file(path, *args, **kwargs)


os.open = open_no_folder
"""


def run_without_linux(code: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT_LINUX + code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def test_the_demo_reconstructs_a_photograph(tmp_path):
    code = "sys.argv[0] = 'demo.py'; runpy.run_path('demo.py', run_name='__main__')"
    flags = ("--img_path", SAMPLES / "im01.png", "--device", "cpu", "--save", "all", "--output", tmp_path)
    result = run_without_linux(code, *flags)
    assert result.returncode == 0, result.stderr
    (person,) = json.loads((tmp_path / "im01.json").read_text())["people"]
    assert person["score"] > 0.4
    for ending in (".png", "_overlay.png", "_side.png", ".obj", ".ply", ".glb", ".npz", ".html"):
        assert (tmp_path / f"im01{ending}").stat().st_size > 1000
    assert not list(tmp_path.glob(".*"))  # no temporary files


@pytest.mark.parametrize("module", ["utils.demo.web_page", "utils.demo.video_results", "utils.media.video"])
def test_what_the_demo_imports_on_demand(module):
    result = run_without_linux(f"import importlib; importlib.import_module({module!r}); print('imported')")
    assert result.stdout == "imported\n", result.stderr
