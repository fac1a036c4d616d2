"""The sheet of the worst people: ordered, complete, and measured as elsewhere."""

import cv2
import numpy as np
import pytest
import torch

from datasets.synthetic import SyntheticDataset
from models.predictor import load_predictor
from scripts import draw_failures
from utils.metrics import pa_mpjpe
from utils.paths import OPEN_BODY
from utils.skeleton import J24_LIMBS, J24_TO_J14


@pytest.fixture(scope="module")
def predictor():
    return load_predictor()


def test_the_worst_come_first_and_are_drawn(predictor, tmp_path, monkeypatch, capsys):
    output = tmp_path / "new" / "worst.jpg"
    monkeypatch.setattr(draw_failures, "load_predictor", lambda checkpoint: predictor)
    monkeypatch.setattr(
        "sys.argv", ["x", "--output", str(output), "--num_samples", "6", "--count", "3", "--assets", "none"]
    )
    draw_failures.main()
    side = draw_failures.SIZE
    assert cv2.imread(str(output)).shape == (2 * side, 8 * side, 3)
    lines = capsys.readouterr().out.splitlines()
    errors = [float(line.split()[-2]) for line in lines]
    assert len(errors) == 3 and errors == sorted(errors, reverse=True)

    dataset = SyntheticDataset(OPEN_BODY, "test", num_samples=6, assets="none", size=224)
    index = int(lines[0].split()[1].rstrip(":"))
    row = dataset[index]  # the same person at the network's own size
    assert (row["keypoints_2d"][J24_LIMBS, 2] > 0).all()
    with torch.inference_mode():
        estimate = predictor.model(row["image"][None])["pred_keypoints_3d"]
    expected = 1000 * pa_mpjpe(estimate, row["keypoints_3d"][None, J24_TO_J14, :3]).item()
    np.testing.assert_allclose(errors[0], expected, rtol=0.25)  # half as large a picture of other pixels
