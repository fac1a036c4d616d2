"""Every file of tests/helpers/hostile.py is refused in one line: nothing runs, nothing large is reserved."""

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import demo
import main
from datasets.human_mesh import HumanMeshDataset
from datasets.poses.library import load_pose_library
from datasets.synthetic.person.body import Body
from models.body_model import load_body_model
from models.joint_prior import read_joint_prior
from tests import fuzz
from tests.helpers import hostile
from utils.checkpoint import load_checkpoint, write_checkpoint
from utils.demo.boxes import read_boxes, warn_of_unused_boxes
from utils.errors import UserError
from utils.paths import DEFAULT_CHECKPOINT, ROOT
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


@pytest.mark.parametrize(
    "name",
    ["center", "scale", "2d_joints", "3d_joints", "pose", "betas", "has_2d_joints", "has_3d_joints", "has_smpl"],
)
def test_an_integer_beyond_floats_is_a_bad_row_in_every_field(refuses, tmp_path, name):
    yaml_file = hostile.make_set(tmp_path)
    labels = yaml_file.with_name("a.label.tsv")
    key, text = labels.read_text().split("\t")
    label = json.loads(text)[0] | {"has_3d_joints": 1}
    single = name.startswith("has") or name == "scale"
    label[name] = 10**400 if single else [10**400, *np.ravel(label[name])[1:].tolist()]
    labels.write_text(f"{key}\t{json.dumps([label])}\n")
    assert f"'{name}'" in refuses(lambda path: HumanMeshDataset(path)[0], yaml_file)


@pytest.mark.parametrize("text", ["0.5", "0\n1.5", "1e0", "9" * 401, "nan", "0x1"])
def test_a_list_of_rows_has_integers_only(refuses, tmp_path, text):
    yaml_file = hostile.make_set(tmp_path, size=2)
    yaml_file.with_name("a.linelist.tsv").write_text(f"{text}\n")
    assert "a.linelist.tsv is not a list of integers" in refuses(HumanMeshDataset, yaml_file)


BOXES = {
    "digits.json": '{"a.png": [[1, 2, 3, %s]]}' % ("9" * 401),
    "more digits.json": '{"a.png": [[1, 2, 3, %s]]}' % ("9" * 5000),
    "digits.csv": "a.png,1,2,3," + "9" * 401,
    "depth.json": "[" * 100_000,
    "deep.json": '{"a.png":' * 100_000,
    "field.csv": "a.png,1,2,3," + "9" * 200_000,
    "name.csv": "a" * 200_000 + ",1,2,3,4",
    "nan.json": '{"a.png": [[1, 2, NaN, 4]]}',
    "infinite.csv": "a.png,inf,2,3,4",
    "negative.csv": "a.png,1,2,-3,4",
    "far.json": '{"a.png": [[1e300, 2, 3, 4]]}',
    "short.csv": "a.png,1,2,3",
    "list.json": "[[1, 2, 3, 4]]",
    "number.json": '{"a.png": 3}',
    "text.json": '{"a.png": "1234"}',
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes(refuses, tmp_path, name):
    (tmp_path / name).write_text(BOXES[name])
    message = refuses(read_boxes, tmp_path / name)
    assert f"--boxes {tmp_path / name}" in message and "rows name,x,y,w,h" in message


def test_boxes_of_files_that_are_not_inputs_are_named(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("a.png,1,2,3,4\nb\x1b[31m.png,1,2,3,4\n")
    warn_of_unused_boxes(read_boxes(tmp_path / "a.csv"), [Path("in/a.png")])
    assert capsys.readouterr().err.startswith("warning: --boxes names b\\x1b[31m.png, not among the inputs")
    warn_of_unused_boxes(read_boxes(tmp_path / "a.csv"), [Path("in/a.png"), Path("b\x1b[31m.png")])
    assert capsys.readouterr().err == ""


HOSTILE_CONFIGS = [{"num_transformers": value} for value in (10**9, "3", 2.5, [3], float("nan"), 10**400)] + [
    {"graph": ["full"]},
    {"num_vertices": 10**12},
]


@pytest.mark.parametrize("command", [demo.main, main.main], ids=["demo", "main"])
@pytest.mark.parametrize("change", HOSTILE_CONFIGS, ids=lambda change: repr(change)[:30])
def test_a_hostile_configuration_ends_both_commands_in_one_line(
    refuses, tmp_path, monkeypatch, capsys, command, change
):
    path = tmp_path / "a.safetensors"
    content = load_checkpoint(DEFAULT_CHECKPOINT)
    write_checkpoint(path, {"model": content["model"], "config": content["config"] | change})
    flags = [f"--load_checkpoint={path}", "--device=cpu"]
    flags += ["--img_path=samples/im01.png", f"--output={tmp_path}"] if command is demo.main else []
    flags += ["--data_mode=synthetic", "--backbone=movenet", f"--log_root={tmp_path}"] if command is main.main else []
    monkeypatch.setattr("sys.argv", ["command", *flags])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        command()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and len(error) < 500
    assert str(path) in error and next(iter(change)) in error


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


def _crash(path: Path):
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(path: Path):
    while True:
        pass


def _raise(path: Path):
    raise ZeroDivisionError


@pytest.mark.parametrize(("fault", "words"), [(_raise, "exception"), (_crash, "SIGKILL"), (_hang, "SIGPROF")])
def test_a_fuzz_keeps_the_input_of_a_failure_and_tries_the_other_kinds(tmp_path, monkeypatch, capsys, fault, words):
    def prepare(kind: str, folder: Path):
        (folder / "a.txt").write_text("good")
        return folder / "a.txt", read if kind == "yaml" else lambda path: None

    def read(path: Path):
        if path.read_bytes() != b"good":
            fault(path)

    monkeypatch.setattr(fuzz, "prepare", prepare)
    monkeypatch.setattr(fuzz, "SECONDS", 0.3)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["fuzz.py", "--count", "8", "yaml", "npz"])
    assert fuzz.main() == 1
    failed, good, _ = capsys.readouterr().out.splitlines()
    assert words in failed and "4 inputs" in good
    kept = Path(failed.rpartition(" ")[2])
    assert kept.parent.parent == tmp_path and (kept / "a.txt").read_bytes() != b"good"
    assert [*tmp_path.iterdir()] == [kept.parent]
