"""The whole program: real processes over gloo where processes matter, in this one where only its words do."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import main as program
from models.build import build_model
from scripts import convert_smpler_checkpoint
from tests.helpers.programs import run_main
from tests.helpers.tiny_data import NUM_VERTICES, flags_of, write_body, write_set
from utils.checkpoint import read_checkpoint, write_checkpoint
from utils.options import parse_args
from utils.paths import ROOT

CHECKPOINTS = Path("logs/{}/checkpoints")


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Iterator[Path]:
    """A folder to run in: small sets in the documented layout, a small body; runs leave their logs/ there."""
    place = tmp_path_factory.mktemp("run")
    write_set(place / "data/Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml", 9, seed=0)
    write_set(place / "data/human3.6m/valid.protocol2.yaml", 7, seed=1)
    write_set(place / "data/3dpw/train.yaml", 4, seed=2)
    write_set(place / "data/3dpw/test_has_gender.yaml", 2, seed=3)
    write_set(place / "unlabelled/human3.6m/valid.protocol2.yaml", 2, seed=4, labels=("2d",))
    yield write_body(place)
    shutil.rmtree(place / "logs", ignore_errors=True)


def start(place: Path, *flags: str, launcher: str = "", processes: int = 1) -> subprocess.CompletedProcess:
    """Run main.py as users do: plain, or by a launcher (torch.distributed.launch or .run)."""
    command = [sys.executable]
    if launcher:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        use_env = ["--use_env"] if launcher == "launch" else []
        nproc = [f"--nproc_per_node={processes}", f"--master_port={port}", *use_env]
        command += ["-m", f"torch.distributed.{launcher}", *nproc]
    command += [str(ROOT / "main.py"), *flags_of(place), *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=900)


def succeed(*args, **kwargs) -> subprocess.CompletedProcess:
    done = start(*args, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def backbone(place):
    """Stage 1 of the recipe, two epochs on two processes."""
    flags = ["--exp_name=backbone", "--data_mode=h36m", "--model_type=backbone", "--num_epochs=2", "--batch_size=2"]
    return succeed(place, *flags, "--clip_grad=1", launcher="launch", processes=2)


@pytest.fixture(scope="session")
def smpl_pose(place, backbone):
    """Stage 2, started from stage 1 as documented, by torchrun."""
    start_from = "--load_checkpoint=logs/backbone/checkpoints/epoch_001.pt"
    flags = ["--exp_name=SMPL-Pose", "--data_mode=h36m", "--model_type=SMPL-Pose", "--num_epochs=1", "--batch_size=2"]
    return succeed(place, *flags, "--eval_epochs=0", start_from, launcher="run", processes=2)


def test_first_line_says_which_body(backbone):
    first, *rest = backbone.stdout.splitlines()
    assert "tiny_body, 120 vertices" in first and "tiny_j17.npy" in first
    assert sum("keypoint regressor" in line for line in rest) == 0  # rank 0 alone speaks


def test_progress_is_shown_once(backbone):
    assert backbone.stderr.count("epoch 1:   0%") == 1


def test_what_a_run_leaves_behind(place, backbone):
    run = place / "logs" / "backbone"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.pt", "epoch_000.pt", "epoch_001.pt"]
    assert json.loads((run / "options.json").read_text())["model_type"] == "backbone"
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [0, 1]
    assert records[0]["train"].keys() == {"loss", "vert", "theta", "2dj", "3dj"}
    assert records[1]["val"]["count"] == 7
    assert f"{records[1]['val']['mpjpe_mm']:.2f} mm" in backbone.stdout
    events = b"".join(path.read_bytes() for path in (run / "tensorboard").iterdir())
    assert b"train/loss" in events and b"val/mpjpe_mm" in events and b"\x89PNG" in events


def test_checkpoint_content(place, backbone):
    checkpoint = read_checkpoint(place / "logs/backbone/checkpoints/epoch_001.pt")
    assert checkpoint["epoch"] == 1
    assert checkpoint["config"]["hrnet_type"] == "w18" and checkpoint["config"]["num_vertices"] == NUM_VERTICES
    keys = checkpoint["model"].keys()
    assert not any(key.startswith(("module.", "body_model.")) or "keypoint_regressor" in key for key in keys)


def test_smpl_pose_starts_from_the_backbone(smpl_pose):
    line = next(line for line in smpl_pose.stdout.splitlines() if line.startswith("loaded"))
    assert "epoch_001.pt" in line and "randomly initialised: blocks, initial_tokens" in line


def test_finetuning_takes_the_pattern_of_the_documentation(place, smpl_pose):
    flags = ["--exp_name=SMPL-Pose_3dpw", "--data_mode=3dpw", "--num_epochs=2", "--batch_size=2", "--lr=1e-4"]
    more = [
        "--summary_steps=1",
        "--save_epochs=5",
        "--eval_epochs=0",
        "--load_checkpoint=logs/SMPL-Pose/checkpoints/epoch_***.pt",
    ]
    done = succeed(place, *flags, *more, launcher="launch", processes=1)
    assert "loaded logs/SMPL-Pose/checkpoints/epoch_000.pt" in done.stdout
    assert os.listdir(place / "logs/SMPL-Pose_3dpw/checkpoints") == ["epoch_001.pt"]  # the last, whatever --save_epochs


@pytest.fixture
def say(place, tmp_path, monkeypatch, capsys):
    """Run main() in this process, in a folder without logs -> exit code, stdout, stderr."""
    for name in ("data", "unlabelled", "tiny_body.npz", "tiny_j17.npy"):
        (tmp_path / name).symlink_to(place / name)
    monkeypatch.chdir(tmp_path)

    def run(*flags):
        return run_main(program, *flags_of(place), *flags), *capsys.readouterr()

    yield run
    for checkpoint in tmp_path.rglob("*.pt"):  # large, and pytest keeps its folders for a while
        checkpoint.unlink()


def test_a_resumed_run_equals_an_uninterrupted_one(say):
    common = ["--data_mode=3dpw", "--model_type=backbone", "--batch_size=2", "--eval_epochs=0"]
    assert say(*common, "--exp_name=whole", "--num_epochs=2")[0] == 0
    assert say(*common, "--exp_name=parts", "--num_epochs=1", "--auto_load=1")[0] == 0  # nothing there: starts anew
    code, out, _ = say(*common, "--exp_name=parts", "--num_epochs=2", "--auto_load=1")
    assert code == 0 and "loaded logs/parts/checkpoints/epoch_000.pt" in out
    whole, parts = (read_checkpoint(f"logs/{name}/checkpoints/epoch_001.pt") for name in ("whole", "parts"))
    assert all(torch.equal(whole["model"][key], parts["model"][key]) for key in whole["model"])
    whole, parts = (Path(f"logs/{name}/log.jsonl").read_text().splitlines() for name in ("whole", "parts"))
    assert [json.loads(a)["train"] == json.loads(b)["train"] for a, b in zip(whole, parts, strict=True)] == [True, True]
    code, out, _ = say(*common, "--exp_name=parts", "--num_epochs=2", "--auto_load=1")
    assert code == 0 and "raise --num_epochs" in out


@pytest.fixture
def trained(place, smpl_pose) -> str:
    return f"--load_checkpoint={place}/logs/SMPL-Pose/checkpoints/epoch_000.pt"


@pytest.mark.parametrize(("data_mode", "count", "processes"), [("h36m", 7, 2), ("3dpw", 2, 3)])
def test_evaluation_is_the_same_on_any_number_of_processes(place, say, trained, data_mode, count, processes):
    """3 processes share 2 samples: one of them has none."""
    flags = ["--eval_only", f"--data_mode={data_mode}", trained]
    code, alone, _ = say(*flags, "--val_batch_size=4", "--metrics_json=alone.json")
    assert code == 0 and not Path("logs").exists()
    shared = succeed(
        place, *flags, "--val_batch_size=2", "--metrics_json=shared.json", launcher="launch", processes=processes
    )
    alone_report, shared_report = (json.loads(path.read_text()) for path in (Path("alone.json"), place / "shared.json"))
    assert alone_report["count"] == shared_report["count"] == count
    for key in ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm"):
        assert shared_report[key] == pytest.approx(alone_report[key], rel=1e-6)
    assert shared_report["protocol"] == alone_report["protocol"]
    assert shared.stdout == alone  # the same table, once


def test_no_label_is_no_number(say, trained):
    code, out, _ = say("--eval_only", trained, "--data_root=unlabelled", "--metrics_json=m.json")
    assert code == 0 and out.count("no sample has a label") == 3
    report = json.loads(Path("m.json").read_text())
    assert report["count"] == 2 and [report[f"{m}_mm"] for m in ("mpjpe", "pa_mpjpe", "mpvpe")] == [None] * 3


def test_a_converted_smpler_checkpoint_evaluates(say, reference, monkeypatch):
    state = {}
    for i, (key, shape, dtype) in enumerate(json.loads((reference / "smpler_w32_state_spec.json").read_text())):
        value = np.random.RandomState(i).standard_normal(shape) * 0.6 / np.sqrt(max(np.prod(shape[1:]), 1))
        state[key] = torch.tensor(np.abs(value) + 1 if key.endswith("running_var") else value).to(getattr(torch, dtype))
    torch.save({"model": state}, "smpler.pt")
    monkeypatch.setattr(sys, "argv", ["convert", "--input=smpler.pt", "--output=converted.pt"])
    convert_smpler_checkpoint.main()
    body = reference / "toy_body.npz"
    np.save("h36m_regressor.npy", np.load(body)["h36m_regressor"])
    body_flags = [f"--smpl_path={body}", "--keypoint_regressor=h36m_regressor.npy", "--hrnet_type=w32"]
    flags = [*body_flags, "--load_checkpoint=converted.pt", f"--data_root={reference / 'tsv'}", "--metrics_json=m.json"]
    for data_mode in ("h36m", "3dpw"):
        code, out, err = say("--eval_only", f"--data_mode={data_mode}", *flags)
        assert code == 0, err
        assert "toy_body, 6890 vertices" in out and "h36m_regressor.npy" in out
        assert json.loads(Path("m.json").read_text())["mpjpe_mm"] > 0


def test_bfloat16_evaluation(say, trained):
    assert say("--eval_only", "--data_mode=3dpw", trained, "--limit_val=2", "--metrics_json=two.json")[0] == 0
    assert json.loads(Path("two.json").read_text())["count"] == 2
    flags = ["--eval_only", "--data_mode=3dpw", trained]
    for precision in ("fp32", "bf16"):
        assert say(*flags, f"--precision={precision}", f"--metrics_json={precision}.json")[0] == 0
    full, low = (json.loads(Path(f"{p}.json").read_text())["mpjpe_mm"] for p in ("fp32", "bf16"))
    assert full != low == pytest.approx(full, rel=0.05)


def test_every_parameter_of_smpl_pose_learns(place, monkeypatch):
    monkeypatch.chdir(place)
    model, criterion = build_model(parse_args([*flags_of(place), "--model_type=SMPL-Pose"]))
    batch = {
        "pose": torch.randn(2, 72), "betas": torch.randn(2, 10), "keypoints_2d": torch.rand(2, 24, 3),
        "keypoints_3d": torch.rand(2, 24, 4),
        **{f"has_{label}": torch.ones(2).bool() for label in ("smpl", "keypoints_2d", "keypoints_3d")},
    }  # fmt: skip
    criterion(model(torch.randn(2, 3, 224, 224)), batch)["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


IMPOSSIBLE = {
    "--num_epochs=0": "--num_epochs",
    "--lr=nan": "--lr",
    "--lr=fast": "--lr",
    "--hrnet_type=w64": "w18",
    "--no_such_flag": "--no_such_flag",
    "--eval_only": "--load_checkpoint",
    "--data_mode=pose2sim": "--eval_only",
    "--exp_name=../elsewhere": "--exp_name",
    "--metrics_json=no/such/folder.json": "no/such",
    "--device=cuda:x": "--device",
    "--smpl_path=nothing.npz": "nothing.npz",
    "--keypoint_regressor=nothing.npy": "nothing.npy",
    "--mean_params=nothing.npz": "nothing.npz",
    "--data_root=nothing": "nothing",
    "--load_checkpoint=nothing.pt": "nothing.pt",
    "--load_checkpoint=epoch_***.pt": "epoch_***.pt",
    "--eval_only --auto_load=1 --exp_name=never_run": "logs/never_run/checkpoints",
    "--data_mode=3dpw --num_samples=4": "--limit_val",
    "--data_mode=synthetic --eval_only --load_checkpoint=a.pt --num_samples=4": "--limit_val",
    "--limit_val=0": "--limit_val",
    "--save_predictions=a.txt": ".npz",
    "--group_by=abc": "0 groups",
    "--group_by=(": "no regular expression",
}


@pytest.mark.parametrize("flags", IMPOSSIBLE)
def test_impossible_commands(say, tmp_path, flags):
    code, _, err = say(*flags.split())
    assert_one_line(code, err, IMPOSSIBLE[flags])
    assert not (tmp_path / "logs").exists()


def assert_one_line(code, err, words):
    assert code == 2
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    assert words in lines[0]


def test_checkpoints_that_do_not_fit(say, trained):
    good = Path(trained.split("=")[1])
    content = read_checkpoint(good)
    Path("truncated.pt").write_bytes(good.read_bytes()[:100_000])
    Path("text.pt").write_text("no checkpoint")
    torch.save({"model": {"SMPL_predictor.fc1.weight": torch.zeros(1)}}, "smpler.pt")
    body = {"body": "open_body", "num_vertices": 13_718}
    write_checkpoint("body.pt", {"model": content["model"], "config": content["config"] | body})
    for flags, words in (
        (["--load_checkpoint=truncated.pt"], "truncated.pt"),
        (["--load_checkpoint=text.pt"], "text.pt"),
        (["--load_checkpoint=smpler.pt"], "scripts/convert_smpler_checkpoint.py"),
        (["--load_checkpoint=body.pt"], "--smpl_path"),
        ([trained, "--hrnet_type=w32"], "--hrnet_type w18"),
        ([trained, "--num_transformers=2"], "--num_transformers 3"),
        ([trained, "--model_type=backbone"], "--model_type SMPL-Pose"),
        ([f"--load_checkpoint={good.parents[2]}/backbone/checkpoints/epoch_001.pt"], "--model_type backbone"),
    ):
        code, _, err = say("--eval_only", *flags)
        assert_one_line(code, err, words)


def test_a_broken_row_is_named_in_one_line(say, tmp_path, trained):
    write_set(tmp_path / "broken/3dpw/test_has_gender.yaml", 3, seed=5)
    images = tmp_path / "broken/3dpw/test_has_gender.img.tsv"
    text = images.read_bytes()
    images.write_bytes(text.replace(b"_1\t/9j/", b"_1\t/9j?"))
    code, _, err = say("--eval_only", "--data_mode=3dpw", trained, "--data_root=broken")
    assert code == 2 and "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert "test_has_gender.img.tsv row 1" in line


def test_under_a_launcher_one_rank_tells_the_error(place):
    done = start(place, "--exp_name=failed", "--data_root=nothing", launcher="launch", processes=2)
    assert done.returncode != 0
    assert done.stderr.count("error: data set not found") == 1
    assert "exitcode  : 2" in done.stderr and "rank 1" not in done.stderr.split("error: data set")[1].split("\n")[0]
    assert not (place / "logs" / "failed").exists()


def test_an_older_run_of_the_same_name_is_kept(say):
    """Without --auto_load a run starts anew; 50 epochs of yesterday are not overwritten one by one."""
    old = Path("logs/twice/checkpoints/epoch_007.pt")
    old.parent.mkdir(parents=True)
    old.write_text("yesterday's")
    flags = ["--exp_name=twice", "--data_mode=3dpw", "--model_type=backbone", "--num_epochs=1", "--batch_size=2"]
    code, out, err = say(*flags, "--eval_epochs=0")
    assert code == 0, err
    (moved,) = Path("logs").glob("twice_until_*")
    assert str(moved) in out and (moved / "checkpoints/epoch_007.pt").read_text() == "yesterday's"
    assert [path.name for path in old.parent.iterdir()] == ["epoch_000.pt"]


def test_saved_predictions_are_the_same_on_any_number_of_processes(place, say, trained):
    flags = ["--eval_only", "--data_mode=h36m", trained, "--group_by=_([0-4])"]
    code, out, err = say(*flags, "--save_predictions=alone.npz", "--metrics_json=alone.json")
    assert code == 0, err
    shared = place / "shared.npz"
    succeed(place, *flags, "--val_batch_size=2", f"--save_predictions={shared}", launcher="launch", processes=2)
    with np.load("alone.npz") as alone, np.load(shared) as other:
        assert {*alone} == {*other}
        assert alone["index"].tolist() == list(range(7))
        assert alone["key"].tolist() == [f"valid.protocol2_{i}" for i in range(7)]
        for name in alone:
            if alone[name].dtype.kind == "f":
                np.testing.assert_allclose(alone[name], other[name], rtol=1e-4, atol=1e-5)
            else:
                assert alone[name].tolist() == other[name].tolist()
        report = json.loads(Path("alone.json").read_text())
        assert report["mpjpe_mm"] == pytest.approx(1000 * np.nanmean(alone["mpjpe"]))
        joints = np.nanmean(alone["joint_errors"], axis=0)
        assert [*report["joints"].values()] == pytest.approx(1000 * joints)
    assert [*report["groups"]] == ["0", "1", "2", "3", "4", "other"] and report["groups"]["other"]["count"] == 2
    low, high = report["intervals"]["mpjpe_mm"]
    assert low < report["mpjpe_mm"] < high and "by bootstrap over samples" in out


@pytest.mark.parametrize("flags", ["--save_predictions=a.npz", "--group_by=(a)"])
def test_flags_of_evaluation_are_refused_in_training(say, flags):
    assert_one_line(*say(flags)[::2], "--eval_only")
