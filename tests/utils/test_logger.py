import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from utils.errors import UserError
from utils.metrics import summarize
from utils.render.panels import GREEN, RED, keypoint_picture
from utils.train.logger import Logger, progress, report_metrics, to_json


def test_keypoints_are_drawn_where_they_are():
    image = torch.zeros(2, 3, 224, 224)
    predicted, labelled = torch.full((2, 14, 2), 0.5), torch.zeros(2, 14, 3)
    labelled[..., :2], labelled[0, :, 2] = -0.5, 1.0
    predicted[1] = torch.nan
    picture = keypoint_picture(image, predicted, labelled)
    assert picture.shape == (224, 448, 3) and picture.dtype == np.uint8
    at = [round(1.5 / 2 * 223), round(0.5 / 2 * 223)]
    assert tuple(picture[at[0], at[0]]) == RED and tuple(picture[at[1], at[1]]) == GREEN
    # the second person has no finite prediction and no label: the crop stays as it was
    np.testing.assert_array_equal(picture[:, 224:], np.broadcast_to(picture[0, 224], (224, 224, 3)))
    assert abs(picture[0, 224].astype(int) - [124, 116, 104]).max() <= 1  # the ImageNet mean


def test_far_away_keypoints_do_no_harm():
    keypoint_picture(torch.zeros(1, 3, 8, 8), torch.full((1, 14, 2), 1e30), torch.full((1, 14, 3), -1e30))


def test_log_lines_and_options(tmp_path):
    logger = Logger(tmp_path / "logs" / "a", {"lr": 1e-4, "path": Path("x")}, fresh=True)
    logger.epoch({"epoch": 0, "train": {"loss": float("inf")}, "val": {"mpjpe_mm": None}})
    logger.epoch({"epoch": 1})
    logger.close()
    lines = (tmp_path / "logs/a/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]
    assert json.loads(lines[0])["train"] == {"loss": None}
    assert json.loads((tmp_path / "logs/a/options.json").read_text()) == {"lr": 1e-4, "path": "x"}


def test_curves_as_a_csv_file(tmp_path):
    for fresh, steps, resumed in ((True, range(4), 0), (False, range(2, 6), 1)):
        logger = Logger(tmp_path / "a", {}, fresh=fresh, curves="csv")
        logger.resume_from(resumed, steps[0])
        for step in steps:
            logger.scalars("train", {"loss": 10 * fresh + step, "none": None}, step)
        for epoch in (0, 1):
            logger.scalars("val", {"mpjpe_mm": 10 * fresh + epoch}, epoch)
        logger.picture("train", np.zeros((2, 2, 3), np.uint8), 0)
        logger.epoch({"epoch": 0})
        logger.close()
    lines = (tmp_path / "a/curves.csv").read_text().splitlines()
    train, val = ([line for line in lines[1:] if line.startswith(name)] for name in ("train", "val"))
    assert lines[0] == "name,step,value" and train == [f"train/loss,{i},{10 * (i < 2) + i}" for i in range(6)]
    # the second start repeats epoch 1, and so logs epochs 0 and 1
    assert val == ["val/mpjpe_mm,0,10", "val/mpjpe_mm,0,0", "val/mpjpe_mm,1,1"]


def test_a_logger_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb"):
        Logger(tmp_path / "a", {}, fresh=True, curves="wandb")
    assert not (tmp_path / "a").exists()


def test_a_resumed_run_appends(tmp_path):
    for fresh in (True, False):
        logger = Logger(tmp_path / "a", {}, fresh=fresh)
        logger.epoch({"epoch": 0})
        logger.close()
    assert len((tmp_path / "a/log.jsonl").read_text().splitlines()) == 2


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    logger = Logger(tmp_path / "a", {}, fresh=True)
    logger.scalars("train", {"loss": 1.0}, 0)
    logger.picture("train", np.zeros((2, 2, 3), np.uint8), 0)
    logger.epoch({})
    logger.close()
    assert not (tmp_path / "a").exists()


def test_metrics_that_cannot_be_written_end_an_evaluation_but_not_a_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    report = summarize(torch.tensor([[0, 0.1, 0.05, float("nan")]]))
    path = tmp_path / "file" / "metrics.json"
    report_metrics(report, {"data": "a"}, path, required=False)
    out = capsys.readouterr().out
    assert "100.00 mm" in out and "warning: cannot write" in out and "training continues" in out
    with pytest.raises(UserError, match="cannot write"):
        report_metrics(report, {"data": "a"}, path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        Logger(tmp_path / "logs" / "a", {}, fresh=True)


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        raise UserError("row 1 of x.tsv is no picture; make it again")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_of_workers_are_one_line(num_workers):
    with pytest.raises(UserError) as caught:
        list(progress(torch.utils.data.DataLoader(Broken(), num_workers=num_workers), "test"))
    assert str(caught.value) == "row 1 of x.tsv is no picture; make it again"


def test_numbers_that_json_lacks_become_null_in_lists_too():
    assert json.loads(to_json({"a": [{"b": float("nan")}, (1.0, float("inf"))]})) == {"a": [{"b": None}, [1.0, None]]}
