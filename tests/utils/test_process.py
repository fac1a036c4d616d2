import pytest
import torch

from utils.process import divided_cores, rank, world_size


def test_cores_are_divided_and_given_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), divided_cores(2):
        assert torch.get_num_threads() == max(1, before // 2)
        raise KeyError
    assert torch.get_num_threads() == before
    with divided_cores(10_000):
        assert torch.get_num_threads() == 1


def test_a_size_without_a_rank_is_no_launcher(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert (rank(), world_size()) == (0, 1)
    monkeypatch.setenv("RANK", "1")
    assert (rank(), world_size()) == (1, 2)
