"""Several sets with weights: how often rows occur, and that nothing depends on processes or on when a run resumed."""

import argparse
import copy
from collections import Counter

import numpy as np
import pytest
import torch

from datasets.human_mesh import HumanMeshDataset
from datasets.mixture import Mixture
from datasets.sampler import RowNumber
from tests.helpers.tiny_data import write_set
from utils.arguments import split_weight


class Rows:
    """A set whose rows tell their number, their set and what their augmentation is drawn from."""

    def __init__(self, name: str, size: int, seed: int = 0):
        self.name, self.size, self.seed = name, size, seed

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {"row": (self.name, int(index)), "drawn_from": (self.seed, index.epoch, int(index)), "index": int(index)}


def epoch_of(mixture: Mixture, epoch: int) -> list[dict]:
    return [mixture[RowNumber(i, epoch)] for i in range(len(mixture))]


@pytest.mark.parametrize(("weight", "least", "most"), [(1, 1, 1), (2, 2, 2), (1.5, 1, 2), (0.3, 0, 1), (3.1, 3, 4)])
def test_rows_occur_as_often_as_their_weight(weight, least, most):
    mixture = Mixture([Rows("a", 20), Rows("b", 7)], [weight, 1])
    assert len(mixture) == round(20 * weight) + 7
    counts = Counter(row["row"] for row in epoch_of(mixture, 3))
    assert all(least <= counts[("a", i)] <= most for i in range(20))
    assert all(counts[("b", i)] == 1 for i in range(7))


def test_over_many_epochs_all_rows_occur_equally_often():
    mixture = Mixture([Rows("a", 10)], [0.3])
    counts = Counter(row["row"] for epoch in range(2000) for row in epoch_of(mixture, epoch))
    assert np.allclose([counts[("a", i)] for i in range(10)], 600, atol=80)


def test_rows_depend_on_seed_epoch_and_number_alone():
    sets = [Rows("a", 20), Rows("b", 7)]
    mixture = Mixture(sets, [0.5, 2.2], seed=1)
    first = epoch_of(mixture, 4)
    epoch_of(mixture, 5)
    assert epoch_of(mixture, 4) == first
    other = Mixture([copy.copy(part) for part in sets], [0.5, 2.2], seed=1)  # another process, or a resumed run
    backwards = [other[RowNumber(i, 4)] for i in reversed(range(len(other)))]
    assert backwards[::-1] == first
    assert epoch_of(mixture, 5) != first
    assert epoch_of(Mixture(sets, [0.5, 2.2], seed=2), 4) != first


def test_no_two_rows_share_an_augmentation():
    rows = epoch_of(Mixture([Rows("a", 5), Rows("b", 5)], [2.5, 3]), 0)
    assert len({row["drawn_from"] for row in rows}) == len(rows)
    assert [row["index"] for row in rows] == [*range(len(rows))]


def test_a_single_set_is_as_without_a_mixture(tmp_path):
    write_set(tmp_path / "a/train.yaml", 3, seed=0)
    alone = HumanMeshDataset(tmp_path / "a/train.yaml", augment=True, seed=5)
    mixture = Mixture([alone], [1], seed=5)
    for i in range(3):
        expected, found = alone[RowNumber(i, 2)], mixture[RowNumber(i, 2)]
        assert expected.keys() == found.keys()
        assert torch.equal(expected["image"], found["image"])
    twice = Mixture([alone], [2], seed=5)
    assert twice[RowNumber(0)]["image_id"] == twice[RowNumber(3)]["image_id"]
    assert not torch.equal(twice[RowNumber(0)]["image"], twice[RowNumber(3)]["image"])


def test_rows_outside_are_refused():
    with pytest.raises(IndexError):
        Mixture([Rows("a", 2)], [1])[2]


def test_files_and_weights(tmp_path):
    plain, colon = tmp_path / "a.yaml", tmp_path / "b:2"
    plain.touch(), colon.touch()
    assert split_weight(str(plain)) == (plain, 1)
    assert split_weight(f"{plain}:0.5") == (plain, 0.5)
    assert split_weight(str(colon)) == (colon, 1)  # a file of this name wins
    for wrong in ("0", "-1", "nan", "inf", "x", "", "1e9"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"weight|below|above|finite"):
            split_weight(f"{plain}:{wrong}")
