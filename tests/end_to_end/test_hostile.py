"""Every file of tests/helpers/hostile.py is refused in one line: nothing runs, nothing large is reserved."""

import os
import resource
import subprocess
from pathlib import Path

import pytest

from datasets.human_mesh import HumanMeshDataset
from datasets.poses.library import load_pose_library
from datasets.synthetic.person.body import Body
from models.body_model import load_body_model
from models.joint_prior import read_joint_prior
from tests import fuzz
from tests.helpers import hostile
from utils.checkpoint import load_checkpoint
from utils.errors import UserError
from utils.paths import ROOT
from utils.safe_load import limits as archive_limits

ROOM = 400 << 20  # bytes that reading a small file may take


@pytest.fixture
def refuses(tmp_path):
    """Read a file with little memory at hand -> the line that refuses it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, hard))

    def read(function, path: Path) -> str:
        with pytest.raises(UserError) as caught:
            function(path)
        message = str(caught.value)
        assert "\n" not in message and len(message) < 1000
        return message

    yield read
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert not (tmp_path / "ran").exists() and not Path("ran").exists()


def test_checkpoints(refuses, tmp_path):
    for path in hostile.make_checkpoints(tmp_path):
        message = refuses(load_checkpoint, path)
        assert str(path) in message and "MemoryError" not in message


def test_bodies(refuses, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_limits, "MAX_ARRAYS", hostile.BOMB // 2)
    paths = hostile.make_bodies(tmp_path)
    assert len(paths) == 7
    for path in paths:
        message = refuses(load_body_model, path)
        assert str(path) in message and "allocate" not in message


@pytest.mark.parametrize("read", [read_joint_prior, load_pose_library, Body])
def test_other_arrays(refuses, tmp_path, monkeypatch, read):
    monkeypatch.setattr(archive_limits, "MAX_ARRAYS", hostile.BOMB // 2)
    for path in hostile.make_bodies(tmp_path):
        if path.suffix == ".npz":
            message = refuses(read, path)
            assert str(path) in message and "allocate" not in message


@pytest.mark.parametrize("kind", hostile.SETS)
def test_sets(refuses, tmp_path, kind):
    yaml_file = hostile.spoil_set(tmp_path, kind)
    message = refuses(lambda path: HumanMeshDataset(path)[0], yaml_file)
    assert str(yaml_file.parent) in message
    if "path" in kind or kind in ("list of files", "yaml linelist"):
        assert "--allow_outside_paths" in message


def test_outside_paths_may_be_allowed(tmp_path):
    yaml_file = hostile.make_set(tmp_path)
    elsewhere = tmp_path / "elsewhere" / "deep" / "b.yaml"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("".join(f"{kind}: ../../set/a.{kind}.tsv\n" for kind in ("img", "label")))
    with pytest.raises(UserError, match="allow_outside_paths"):
        HumanMeshDataset(elsewhere)
    assert len(HumanMeshDataset(elsewhere, root=None)) == len(HumanMeshDataset(elsewhere, root=tmp_path)) == 1
    os.symlink(yaml_file.parent, elsewhere.parent.parent / "linked")  # the user's own link to another disk
    (elsewhere.parent / "c.yaml").write_text("img: ../linked/a.img.tsv\nlabel: ../linked/a.label.tsv\n")
    assert len(HumanMeshDataset(elsewhere.parent / "c.yaml")) == 1


def test_archives(tmp_path):
    for path in hostile.make_archives(tmp_path):
        check = f"source {ROOT}/scripts/lib/download_datasets.sh; check_archive {path}"
        done = subprocess.run(["bash", "-c", check], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1 and f"{path} is refused" in done.stderr
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_a_short_fuzz(tmp_path, kind):
    """A seeded part of `python tests/fuzz.py --count 100000`."""
    assert fuzz.run(kind, tmp_path, count=60, seed=1).inputs == 60
