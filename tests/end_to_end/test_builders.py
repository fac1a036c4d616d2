"""Sets that builders made of releases, in the documented commands: training and evaluation by two processes."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

from scripts import build_3dpw_dataset, build_coco_dataset, build_emdb_dataset, build_h36m_dataset, build_mixed_dataset
from tests.helpers.releases import fits, modern
from tests.helpers.releases.built import run
from tests.helpers.releases.h36m import make_subject, write_subject
from tests.helpers.releases.threedpw import make_sequence, write_pickle
from utils.paths import OPEN_BODY, ROOT

TINY = ("--hrnet_type=w18", "--backbone_weights=none", "--device=cpu", "--num_workers=1", "--batch_size=2")
TINY += ("--val_batch_size=2", "--model_type=backbone", "--mean_params=none", "--log_root=logs")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data root with Human3.6M, COCO, their mix, 3DPW and EMDB, of a few pictures each."""
    root = tmp_path_factory.mktemp("built")
    common = ("--output", root / "data", "--smpl_path", OPEN_BODY, "--num_workers", 2, "--sheet_rows", 0)
    for number, camera in ((1, 1), (9, 4)):
        subject = make_subject(root / "h36m", number, frames=(0, 5), cameras=(camera,), seed=number)
        write_subject(root / "h36m/annotations", subject)
    flags = ("--images", root / "h36m/images", "--annotations", root / "h36m/annotations")
    built = [run(build_h36m_dataset, *flags, *common)]
    photos = fits.make_photos(root / "coco", ["train2014/a.jpg", "train2014/b.jpg"], centred=True)
    np.savez(root / "cliff.npz", **fits.cliff(photos))
    built.append(run(build_coco_dataset, "--images", root / "coco", "--fits", root / "cliff.npz", *common))
    built.append(run(build_mixed_dataset, "--data_root", root / "data"))
    for split in ("train", "test"):
        sequence = make_sequence(root / "3dpw", split, f"{split}_00", 4, ("m",), seed=3)
        write_pickle(root / "3dpw", split, sequence)
    flags = ("--images", root / "3dpw/imageFiles", "--sequences", root / "3dpw/sequenceFiles")
    built.append(run(build_3dpw_dataset, *flags, *common))
    modern.make_emdb(root / "EMDB", "P0", "09_walk", 3, seed=4)
    built.append(run(build_emdb_dataset, "--emdb", root / "EMDB", *common))
    assert [code for code, _ in built] == [0] * 5, "\n".join(output for _, output in built)
    return root


def main(place, *flags):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command += [ROOT / "main.py"]
    command += [f"--data_root={place / 'data'}", *TINY, *flags]
    result = subprocess.run(list(map(str, command)), cwd=place, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_train_and_evaluate_on_built_sets(place):
    main(place, "--data_mode=h36m", "--exp_name=mixed", "--num_epochs=1", f"--metrics_json={place}/h36m.json")
    checkpoint = f"--load_checkpoint={place}/logs/mixed/checkpoints/epoch_000.pt"
    flags = ("--exp_name=fine", "--num_epochs=1", f"--metrics_json={place}/3dpw.json")
    main(place, "--data_mode=3dpw", checkpoint, *flags)
    main(place, "--data_mode=emdb", "--eval_only", checkpoint, f"--metrics_json={place}/emdb.json")
    for mode, count in (("h36m", 2), ("3dpw", 4), ("emdb", 3)):
        report = json.loads((place / f"{mode}.json").read_text())
        assert report["count"] == count and report["mpjpe_mm"] > 0 and report["mpvpe_mm"] > 0
    assert report["protocol"]["joints"].startswith("24 SMPL joints")
    assert "gendered body" in report["protocol"]["labels"] or "neutral body" in report["protocol"]["labels"]
