"""Real processes over gloo; the whole program is run in test_main.py."""

import os
import socket

import numpy as np
import pytest
import timm
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.nn.functional import all_reduce

from models.inference.fused_conv import fold_batch_norm
from utils.errors import UserError
from utils.process import choose_device, rank
from utils.train import distributed
from utils.train.distributed import (
    any_rank,
    broadcast_buffers,
    data_parallel,
    from_rank_zero,
    gather_rows,
    gather_states,
    mean_over_ranks,
    process_group,
    report_error_once,
    seed_everything,
    synchronize_batch_norm,
    unwrap,
)
from utils.train.update import Update


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.unused = nn.Linear(4, 4)
        self.register_buffer("constant", torch.full((3,), float(rank())), persistent=False)

    def forward(self, x):
        return self.norm(self.layer(x))


class NormOverProcesses(nn.BatchNorm2d):
    """Stand-in for nn.SyncBatchNorm, which runs on GPUs only: the same numbers over gloo, from equal batches."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        mean = all_reduce(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight / (variance + self.eps).sqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]

    @staticmethod
    def convert(model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = NormOverProcesses
        return model


def normalized_step(process: int, processes: int) -> list[torch.Tensor]:
    """Weights and statistics of a network after a step on this process's part of 12 pictures."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4))
    images, labels = torch.randn(12, 3, 8, 8), torch.randn(12, 4, 4, 4)
    model = synchronize_batch_norm(model, torch.device("cuda"))
    update = Update(model, torch.optim.SGD(model.parameters(), lr=1.0, fused=True))
    network = data_parallel(model)
    error = (network(images[process::processes]) - labels[process::processes]).square().mean()
    update.backward({"loss": error})
    update.step()
    return [value.tolist() for value in model.state_dict().values()]


def work(process: int, processes: int, port: int, results):
    """Everything that needs several processes, in one go: starting processes takes most of the time."""
    environment = {"RANK": process, "LOCAL_RANK": process, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({key: str(value) for key, value in environment.items()}, MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with process_group(choose_device("cpu")):
        # in a function of its own: a data-parallel network that outlives its process group may abort the process
        results.put(communicate(process, processes))


def communicate(process: int, processes: int) -> dict:
    # 5 rows over 3 ranks and 1 row over 3 ranks, which leaves two with none
    rows = {n: gather_rows(torch.arange(2.0 * n).view(n, 2)[process::processes]) for n in (5, 1, 0)}
    words = [from_rank_zero(text if process == 0 else "other") for text in ("", "größer")]
    flags = any_rank(process == 1, False)
    states = gather_states({"rank": process, "rng": torch.full((process,), process)})
    mean = mean_over_ranks(torch.tensor([float(process), 1.0]))

    timm.layers.convert_sync_batchnorm = NormOverProcesses.convert
    after_step = normalized_step(process, processes)

    seed_everything(0, process)
    model = data_parallel(Network(), find_unused_parameters=True)
    x = torch.randn(8, 4)
    model(x).square().sum().backward()
    network = unwrap(model)
    running_mean = network.norm.running_mean.clone()
    broadcast_buffers(network)
    return {
        "rank": process,
        "rows": {n: value.tolist() for n, value in rows.items()},
        "mean": mean.tolist(),
        "words": words,
        "flags": flags,
        "states": [(state["rank"], state["rng"].tolist()) for state in states],
        "weight": network.layer.weight.tolist(),
        "grad": network.layer.weight.grad.tolist(),
        "own_mean": running_mean.tolist(),
        "mean_of_zero": network.norm.running_mean.tolist(),
        "constant": network.constant.tolist(),
        "keys": list(network.state_dict()),
        "after_step": after_step,
    }


@pytest.fixture(scope="module")
def three_ranks():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    context = mp.spawn(work, args=(3, port, queue), nprocs=3, join=False)
    results = sorted((queue.get() for _ in range(3)), key=lambda result: result["rank"])
    context.join()
    return results


@pytest.mark.parametrize("n", [5, 1, 0])
def test_every_row_arrives_once_everywhere(three_ranks, n):
    for result in three_ranks:
        rows = np.array(result["rows"][n]).reshape(-1, 2)
        np.testing.assert_array_equal(rows[rows[:, 0].argsort()], np.arange(2.0 * n).reshape(n, 2))


def test_words_flags_and_states_are_known_to_all(three_ranks):
    for result in three_ranks:
        assert result["words"] == ["", "größer"] and result["flags"] == [True, False]
        assert result["states"] == [(0, []), (1, [1]), (2, [2, 2])]


def test_mean_over_ranks(three_ranks):
    assert all(result["mean"] == [1.0, 1.0] for result in three_ranks)


def test_weights_and_gradients_agree_and_statistics_come_from_rank_zero(three_ranks):
    first, *others = three_ranks
    for result in others:
        assert result["weight"] == first["weight"]
        np.testing.assert_allclose(result["grad"], first["grad"], rtol=1e-6)
        assert result["own_mean"] != first["own_mean"]  # each saw data of its own
        assert result["mean_of_zero"] == first["own_mean"]
    assert not any(key.startswith("module.") for key in first["keys"])


def test_constants_are_not_sent_around(three_ranks):
    assert [result["constant"][0] for result in three_ranks] == [0, 1, 2]


def test_alone_everything_is_the_identity(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    model, rows = nn.Linear(2, 2), torch.randn(3, 2)
    with process_group(torch.device("cpu")):
        assert data_parallel(model) is model and unwrap(model) is model
        assert gather_rows(rows) is rows and mean_over_ranks(rows) is rows


def test_seeds_are_streams_of_their_own():
    drawn = []
    for key in [(0,), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0,)]:
        seed_everything(*key)
        drawn.append((torch.rand(1).item(), np.random.rand()))
    assert drawn[0] == drawn[-1] and len(set(drawn)) == 4


@pytest.mark.parametrize("device", ["tpu9", "cuda:x", "mps"])
def test_impossible_devices(device):
    with pytest.raises(UserError, match="--device"):
        choose_device(device)


def test_batch_norm_is_synchronised_on_several_gpus_only(monkeypatch, capsys):
    """On the CPU only the conversion can be tested, not its communication."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    model[1].running_mean.normal_(), model[1].weight.data.uniform_()
    assert synchronize_batch_norm(model, torch.device("cuda")) is model and type(model[1]) is nn.BatchNorm2d
    monkeypatch.setenv("WORLD_SIZE", "2"), monkeypatch.setenv("RANK", "0")
    assert type(synchronize_batch_norm(model, torch.device("cpu"))[1]) is nn.BatchNorm2d
    assert "not synchronised" in capsys.readouterr().out
    keys, weight, image = [*model.state_dict()], model[1].weight, torch.randn(2, 3, 8, 8)
    expected = model(image)
    converted = synchronize_batch_norm(model, torch.device("cuda"))
    assert type(converted[1]) is nn.SyncBatchNorm and converted[1].weight is weight
    assert [*converted.state_dict()] == keys
    torch.testing.assert_close(fold_batch_norm(converted)(image), expected, atol=1e-6, rtol=1e-5)


def test_synchronised_processes_take_the_step_of_one_process(three_ranks, monkeypatch):
    """Weights and statistics of batch norm; the layer itself is a stand-in, as PyTorch's needs GPUs."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    expected = normalized_step(0, 1)
    for result in three_ranks:
        for found, value in zip(result["after_step"], expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)
    assert all(result["after_step"] == three_ranks[0]["after_step"] for result in three_ranks)


def test_data_parallel_reads_the_state_once(monkeypatch):
    model, calls = torch.nn.BatchNorm1d(2), []
    state_dict = model.state_dict
    monkeypatch.setattr(model, "state_dict", lambda **options: calls.append(1) or state_dict(**options))
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "DistributedDataParallel", Wrapper)
    distributed.data_parallel(model)
    assert len(calls) == 1 and Wrapper.ignored == []


class Wrapper:
    def __init__(self, module, **_):
        self.module = module

    @classmethod
    def _set_params_and_buffers_to_ignore_for_model(cls, model, names):
        cls.ignored = names


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a GPU to be absent")
def test_no_gpu():
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="--device cpu"):
        choose_device("cuda")


def test_other_ranks_let_rank_zero_speak_first(monkeypatch):
    waited = []
    monkeypatch.setattr(distributed.time, "sleep", waited.append)

    @report_error_once
    def main():
        raise UserError("no such file")

    with pytest.raises(UserError, match=r"^no such file$"):
        main()
    assert not waited
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(UserError, match="on rank 2"):
        main()
    assert waited


def test_synchronised_layers_of_timm_keep_their_activations(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2"), monkeypatch.setenv("RANK", "0")
    torch.manual_seed(0)
    network = timm.create_model("efficientnet_b0", features_only=True).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(image)
        converted = synchronize_batch_norm(network, torch.device("cuda"))
        maps = converted(image)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) > 40
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
