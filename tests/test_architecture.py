"""The order of packages and modules: no circles, no imports upwards, short files, folders of few files."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from utils.paths import ROOT

PACKAGES = ("utils", "models", "datasets", "scripts")
PROGRAMS = ("main", "demo")
MAX_LINES = 300
MAX_FILES = {"utils": 16, "datasets": 12, "models": 16}
# what a package may import, apart from itself
ALLOWED = {
    "utils": set(),
    "models": {"utils"},
    "datasets": {"utils"},
    "demo": {"utils", "models", "datasets"},
    "main": {"utils", "models", "datasets"},
    "scripts": {"utils", "models", "datasets", "main", "demo"},
}
# floors of utils, from the bottom: a module imports modules of its own floor and of those below
FLOORS = (
    {
        *("arguments", "errors", "files", "paths", "skeleton", "joint_angles", "geometry", "camera", "crop"),
        "network_config",
    },
    {"process", "safe_load", "metrics", "evaluation", "render", "detect"},
    {"media", "placement", "export", "checkpoint", "options"},
    {"train", "person"},
    {"demo"},
)


@cache
def modules() -> dict[str, Path]:
    """Names of all modules of the repository, without the tests -> their files."""
    files = [ROOT / f"{name}.py" for name in PROGRAMS]
    files += [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports_of(file: Path) -> set[str]:
    """Modules of the repository that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` imports the module, `from module import name` the module before the dot
            found |= {name if name in modules() else node.module for name in names}
    return found & set(modules())


@cache
def graph() -> dict[str, set[str]]:
    return {name: imports_of(file) for name, file in modules().items()}


def floor_of(name: str) -> int:
    (floor,) = (i for i, members in enumerate(FLOORS) if name.split(".")[1] in members)
    return floor


def test_the_modules_import_each_other():
    """Guards the other tests: the imports are found at all."""
    assert sum(map(len, graph().values())) > 300
    assert {"utils.camera", "utils.render.colors"} <= graph()["models.predictor"]
    assert "utils.render.mesh" in graph()["utils.render"]


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(graph()).prepare()  # raises CycleError


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_is_below_them(package):
    upwards = {
        (name, other)
        for name, others in graph().items()
        for other in others
        if name.split(".")[0] == package and other.split(".")[0] not in {package} | ALLOWED[package]
    }
    assert not upwards


def test_no_module_of_utils_imports_one_of_a_higher_floor():
    inside = {(name, other) for name, others in graph().items() for other in others if name.startswith("utils.")}
    assert not {(name, other) for name, other in inside if other != "utils" and floor_of(name) < floor_of(other)}


def test_every_part_of_utils_has_a_floor():
    parts = {name.split(".")[1] for name in modules() if name.startswith("utils.")}
    assert parts == set.union(*FLOORS)


def test_no_file_is_longer_than_a_few_screens():
    lengths = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in modules().items()}
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


@pytest.mark.parametrize("package", MAX_FILES)
def test_no_folder_holds_more_files_than_a_reader_takes_in(package):
    assert len(list((ROOT / package).glob("*.py"))) <= MAX_FILES[package]


def test_no_test_imports_another():
    for file in (ROOT / "tests").rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (tests[\w.]*)", file.read_text(encoding="utf-8"), re.M)
        assert not any(".test_" in name for name in imported), f"{file}: move what is shared to tests/helpers"
