"""The README's picture of the demo's outputs."""

import cv2
import numpy as np

from scripts import draw_outputs


def test_a_row_for_every_sample(tmp_path, monkeypatch):
    output = tmp_path / "new" / "outputs.jpg"
    sample = draw_outputs.SAMPLES / "im01.png"
    monkeypatch.setattr("sys.argv", ["x", "--output", str(output), "--img_path", str(sample)])
    draw_outputs.main()
    sheet = cv2.imread(str(output))
    assert sheet.shape == (draw_outputs.SIDE, 4 * draw_outputs.SIDE, 3)
    overlay, joints, *views = np.split(sheet.astype(int), 4, axis=1)
    assert (np.abs(overlay - joints).max(-1) > 60).mean() > 0.05  # a body lies over the one
    assert all(np.ptp(view.mean(-1)) > 80 for view in views)  # and stands before paper in the others


def test_pictures_are_fitted_whole():
    tile = draw_outputs.fit(np.zeros((50, 100, 3), np.uint8))
    dark = tile.max(-1) == 0
    assert dark.sum() == draw_outputs.SIDE * draw_outputs.SIDE // 2 and dark[draw_outputs.SIDE // 2].all()
