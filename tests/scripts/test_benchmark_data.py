"""Plain and fast methods of the benchmark give the same results."""

import numpy as np
import pytest
import torch

from datasets.augment import Augmentation
from datasets.human_mesh import HumanMeshDataset
from scripts.lib.benchmark import builders, data, metrics, rendering
from scripts.lib.benchmark.plain_reader import PlainReader
from scripts.lib.benchmark.timing import Settings
from utils.metrics import pa_mpjpe


@pytest.fixture(scope="module")
def yaml_file(tmp_path_factory):
    return data.write_set(tmp_path_factory.mktemp("benchmark") / "set" / "a.yaml", quality=90)[0]


@pytest.mark.parametrize("augment", [False, True])
def test_the_plain_reader_reads_the_same_rows(yaml_file, augment):
    """To whole pixels, as the recorded rows: 1.6 of the crop's pixels, 5 grey levels without augmentation."""
    plain, fast = PlainReader(yaml_file, augment), HumanMeshDataset(yaml_file)
    for i in range(8):
        if augment:  # the change that the plain reader draws next
            rng = np.random.default_rng()
            rng.bit_generator.state = plain.rng.bit_generator.state
            fast.augment = tuple(Augmentation.draw(rng))
        expected, row = plain[i], fast[i]
        assert expected.keys() == row.keys()
        assert (expected["image"] - row["image"]).abs().mean() * 58 < (8 if augment else 5)
        assert (expected["keypoints_2d"] - row["keypoints_2d"]).abs().max() * 112 < 1.6
        for key in ("keypoints_3d", "pose", "betas", "center", "scale"):
            torch.testing.assert_close(expected[key], row[key], rtol=0, atol=1e-5)


def test_the_plain_metric_is_the_same():
    rng = np.random.default_rng(0)
    pred, gt = rng.normal(size=(2, 50, 14, 3))
    batched = pa_mpjpe(torch.from_numpy(pred), torch.from_numpy(gt))
    np.testing.assert_allclose(metrics.pa_mpjpe_one_by_one(pred, gt), batched, atol=1e-12)


def test_rows_at_the_smallest_size(monkeypatch):
    """Each case has a plain row, and the threads are given back."""
    monkeypatch.setattr(data, "NUM_ROWS", 3)
    monkeypatch.setattr(data, "QUALITIES", (75,))
    monkeypatch.setattr(metrics, "NUM_SAMPLES", 20)
    monkeypatch.setattr(rendering, "PHOTOGRAPH", (40, 50))
    monkeypatch.setattr(rendering, "FRAME", (50, 40))
    threads, settings = torch.get_num_threads(), Settings(1, torch.device("cpu"), 1)
    for part, cases, methods in ((data, 2, 2), (metrics, 1, 2), (rendering, 2, 3)):
        rows = list(part.measure(settings))
        assert len(rows) == cases * methods and len({row.case for row in rows}) == cases
        assert [row.ratio for row in rows[::methods]] == [1.0] * cases
    assert torch.get_num_threads() == threads


def test_the_builder_is_compared_with_the_copy_of_its_pictures(monkeypatch):
    monkeypatch.setattr(builders, "NUM_ROWS", 8)
    monkeypatch.setattr(builders, "SIZE", (96, 54))
    monkeypatch.setattr(builders, "MEMORY_ROWS", (4,))
    rows = list(builders.measure(Settings(1, torch.device("cpu"), 1)))
    assert [row.method for row in rows] == ["copy of JPEGs", "build", "4 rows"]
    assert rows[0].ratio == 1.0 and rows[1].value > 0 and 100 < rows[2].value < 5000
