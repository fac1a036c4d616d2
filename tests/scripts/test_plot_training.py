"""Curves of runs from their log.jsonl."""

import json
import sys

import cv2
import pytest

from scripts import plot_training
from tests.helpers.programs import run_main


def write_log(folder, losses: list[float], errors: list[float | None]):
    folder.mkdir(parents=True)
    lines = []
    for epoch, (loss, error) in enumerate(zip(losses, errors, strict=True)):
        evaluated = {"val": {"mpjpe_mm": error, "pa_mpjpe_mm": None}} if error else {}
        lines.append(json.dumps({"epoch": epoch, "train": {"loss": loss}} | evaluated))
    (folder / "log.jsonl").write_text("\n".join([*lines, '{"epoch": 9, "tra']))


def test_curves_are_those_of_the_log(tmp_path, monkeypatch, capsys):
    """Epochs without an evaluation have no point; a line that was cut is left out; PA-MPJPE was not measured."""
    write_log(tmp_path / "a", [9.0, 5.0, 2.5], [None, 80.0, 60.5])
    write_log(tmp_path / "b", [8.0, 4.0], [70.0, 50.0])
    curves = plot_training.read_curves(tmp_path / "a")
    assert curves["training loss"] == ([1, 2, 3], [9.0, 5.0, 2.5])
    assert curves["MPJPE"] == ([2, 3], [80.0, 60.5]) and curves["PA-MPJPE"] == ([], [])
    output = tmp_path / "new/curves.png"
    runs = [str(tmp_path / name) for name in "ab"]
    monkeypatch.setattr(sys, "argv", ["plot_training.py", *runs, "--output", str(output)])
    plot_training.main()
    out = capsys.readouterr().out
    assert f"{runs[0]}: training loss 2.5, MPJPE 60.5" in out and f"{runs[1]}: training loss 4, MPJPE 50" in out
    picture = cv2.imread(str(output))
    assert picture.shape[1] == pytest.approx(840, abs=2) and picture.std() > 5  # two panels


def test_a_folder_without_a_log_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["plot_training.py", str(tmp_path), "--output", str(tmp_path / "x.png")])
    with pytest.raises(SystemExit) as ended:
        plot_training.main()
    assert ended.value.code == 2 and "has no epoch in log.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_runs_without_a_number_are_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.jsonl").write_text('{"epoch": 0, "train": {"loss": null}, "val": null}\n')
    code = run_main(plot_training, str(tmp_path / "run"), "--output", str(tmp_path / "a.png"))
    assert code == 2 and "no run has a loss" in capsys.readouterr().err
