import pytest
import torch

from utils.process import divided_cores


def test_cores_are_divided_and_given_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), divided_cores(2):
        assert torch.get_num_threads() == max(1, before // 2)
        raise KeyError
    assert torch.get_num_threads() == before
    with divided_cores(10_000):
        assert torch.get_num_threads() == 1
