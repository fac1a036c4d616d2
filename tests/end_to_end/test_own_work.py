"""A researcher's own backbone and own data: one epoch, evaluation, export and demo each, by the documented commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.labels import format_label
from datasets.tsv import TSVWriter
from tests.helpers.tiny_data import write_body, write_set
from utils.checkpoint import read_checkpoint
from utils.paths import ROOT

BODY = ("--smpl_path=tiny_body.npz", "--keypoint_regressor=tiny_j17.npy")
QUICK = (*BODY, "--mean_params=none", "--device=cpu", "--num_workers=0", "--num_transformers=1", "--log_root=logs")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("own")
    write_set(place / "own/train.yaml", 2, seed=0)
    write_set(place / "own/val.yaml", 1, seed=1)
    return write_body(place)


def run(place: Path, program: str, *flags: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / program), *flags]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny", "vit_small_patch16_224"])
def test_a_backbone_of_timm_trains_evaluates_exports_and_runs(place, name):
    backbone, exp = f"--backbone=timm:{name}", f"--exp_name={name}"
    sets = ("--train_yaml", "own/train.yaml", "--val_yaml", "own/val.yaml")
    run(place, "main.py", *QUICK, *sets, backbone, exp, "--batch_size=2", "--num_epochs=1", "--precision=bf16")
    record = json.loads((place / f"logs/{name}/log.jsonl").read_text().splitlines()[-1])
    checkpoint = place / f"logs/{name}/checkpoints/epoch_000.pt"
    assert read_checkpoint(checkpoint)["config"]["backbone"] == f"timm:{name}"

    evaluated = ("--eval_only", f"--load_checkpoint={checkpoint}", "--metrics_json=m.json", "--precision=bf16")
    run(place, "main.py", *QUICK, *sets, backbone, *evaluated)
    measured = json.loads((place / "m.json").read_text())
    assert measured["mpjpe_mm"] == pytest.approx(record["val"]["mpjpe_mm"], rel=1e-3)

    run(place, "scripts/export_model.py", f"--output={name}.pt2", f"--checkpoint={checkpoint}", *BODY)
    assert (place / f"{name}.pt2").stat().st_size > 1e6
    photo = str(ROOT / "samples/im01.png")
    run(
        place,
        "demo.py",
        f"--img_path={photo}",
        f"--load_checkpoint={checkpoint}",
        *BODY,
        "--output=out",
        "--device=cpu",
    )
    assert [*(place / "out").iterdir()]


def test_a_set_written_by_the_documentation_is_trained_on_and_evaluated(place):
    """Follows docs/data.md alone."""
    random = np.random.default_rng(0)
    for split, size in (("train", 5), ("val", 2)):
        with TSVWriter(place / f"my_data/{split}.yaml", note="fits of our own") as writer:
            for i in range(size):
                jpeg = cv2.imencode(".jpg", random.integers(0, 256, (140, 110, 3), np.uint8))[1].tobytes()
                label = format_label(
                    center=(55, 70),
                    scale=1.1 * 100 / 200,
                    keypoints_2d=np.c_[random.uniform(10, 90, (24, 2)), np.ones(24)],
                    keypoints_3d=np.c_[random.uniform(-0.5, 0.5, (24, 3)), np.ones(24)],
                    pose=random.normal(0, 0.2, 72) if i else None,
                    betas=random.normal(0, 1, 10) if i else None,
                    gender="female",
                )
                writer.add(f"{split}_{i}", jpeg, label, height=140, width=110)
    run(place, "scripts/check_dataset.py", "my_data/train.yaml", "my_data/val.yaml")
    network = ("--backbone=timm:mobilenetv4_conv_small", "--freeze_backbone", "--model_type=backbone")
    sets = (
        "--train_yaml",
        "my_data/train.yaml:2",
        "own/train.yaml:0.5",
        "--val_yaml",
        "my_data/val.yaml",
        "own/val.yaml",
    )
    flags = (*QUICK, *network, *sets, "--exp_name=mine", "--batch_size=2")
    printed = run(place, "main.py", *flags, "--num_epochs=2")
    assert "fits of our own" in printed
    record = json.loads((place / "logs/mine/log.jsonl").read_text().splitlines()[-1])
    assert record["epoch"] == 1
    assert record["val"]["count"] == 3
    run(
        place, "main.py", *flags, "--eval_only", "--auto_load=1", "--metrics_json=mine.json", "--save_predictions=e.npz"
    )
    measured = json.loads((place / "mine.json").read_text())
    assert measured["mpjpe_mm"] == pytest.approx(record["val"]["mpjpe_mm"], rel=1e-3)
    assert measured["protocol"]["data"] == "my_data/val.yaml own/val.yaml"

    worst = run(place, "scripts/draw_worst.py", "e.npz", *BODY, *sets[-3:], "--output=worst.png", "--count=2")
    assert worst.count("MPJPE") >= 2 and cv2.imread(str(place / "worst.png")).shape[0] > 2 * 300
    run(place, "scripts/plot_training.py", "logs/mine", "--output=curves.png")
    assert cv2.imread(str(place / "curves.png")) is not None
