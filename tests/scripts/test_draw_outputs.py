"""The README's picture of the demo's outputs."""

import cv2
import numpy as np

from scripts import draw_outputs
from utils.demo.photo_results import LEAST_SHEET_HEIGHT


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


def test_the_demos_sheets_in_rows(tmp_path, monkeypatch):
    """Four rendered people at different depths have panels of their own; the next sheet is beside theirs."""
    group = draw_outputs.make_group(draw_outputs.GROUP)
    cv2.imwrite(str(tmp_path / "group.png"), group[..., ::-1])
    output = tmp_path / "panels.jpg"
    images = [str(tmp_path / "group.png"), str(draw_outputs.SAMPLES / "im01.png")]
    monkeypatch.setattr("sys.argv", ["x", "--panels", "--output", str(output), "--img_path", *images])
    draw_outputs.main()
    sheet = cv2.imread(str(output)).astype(int)
    height, gutter = draw_outputs.PANEL_HEIGHT, draw_outputs.GUTTER
    assert sheet.shape == (height + gutter, draw_outputs.PANEL_WIDTH, 3)
    width = round(
        height * (2 * 400 / 240 + 8 / LEAST_SHEET_HEIGHT + 1)
    )  # input, overlay, gaps, a square of four panels
    colored = np.ptp(sheet[:height, width - height + 4 : width], axis=-1) > 25  # paper and gaps are grey
    for rows in np.array_split(colored, 2):
        for panel in np.array_split(rows, 2, axis=1):
            assert panel.mean() > 0.08
    assert (sheet[:, width + 4 : width + gutter - 4] > 240).all() and (sheet[height + 8 :] > 240).all()
    assert (sheet[:height, width + gutter : width + 2 * height] < 200).any(-1).mean() > 0.5  # the next one
