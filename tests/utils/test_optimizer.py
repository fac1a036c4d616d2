"""Which weights decay, and that averaged weights are the average they claim to be."""

import pytest
import torch
from torch import nn

from models.graph_transformer import GraphTransformerBlock
from models.joint_graph import JointEmbedding, JointGraph
from utils.train.optimizer import RunningAverage, build_optimizer

LR, DECAY = 0.1, 0.5


class Mixed(nn.Module):
    """A layer of every kind that may decay, and what must not."""

    def __init__(self):
        super().__init__()
        self.linear, self.conv, self.norm = nn.Linear(3, 4), nn.Conv2d(2, 3, 3), nn.LayerNorm(4)
        self.embedding = nn.Embedding(5, 4)
        self.gate = nn.Parameter(torch.ones(4))
        self.table = nn.Parameter(torch.ones(4, 4))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_only_matrices_of_layers_decay():
    """A step with no gradient at all shows the decay alone."""
    model = Mixed()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model, LR, DECAY).step()
    for name, parameter in model.named_parameters():
        factor = 1 - LR * DECAY if name in ("linear.weight", "conv.weight") else 1
        torch.testing.assert_close(parameter.detach(), factor * before[name], msg=name)


def test_the_graph_and_positions_keep_their_size():
    block = GraphTransformerBlock(
        [8, 8],
        dim=16,
        map_size=4,
        point_channels=5,
        make_graph=lambda: JointGraph(16, 4, torch.zeros(2, 24, 24), adaptive=True),
        joint_embedding=JointEmbedding(torch.zeros(24, 7), 16),
    )
    decayed, kept = build_optimizer(block, LR, DECAY).param_groups
    names = {id(p): name for name, p in block.named_parameters()}
    decayed, kept = ({names[id(p)] for p in group["params"]} for group in (decayed, kept))
    assert not decayed & kept and decayed | kept == set(names.values())
    assert all(name.endswith(".weight") for name in decayed)
    for part in ("position", "bias_table", "hop", "learned", "relation_weight", "gate", "adaptive_weight", "norm"):
        assert any(part in name for name in kept) and not any(part in name for name in decayed), part
    assert {"joint_embedding.project.weight", "units.0.graph.value.weight", "project.0.weight"} <= decayed


def test_without_decay_it_is_the_published_adam():
    model = Mixed()
    optimizer = build_optimizer(model, LR)
    assert type(optimizer) is torch.optim.Adam and len(optimizer.param_groups) == 1
    assert optimizer.defaults["lr"] == LR and optimizer.defaults["weight_decay"] == 0


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_equals_one_by_hand(decay):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = RunningAverage(model, decay)
    expected = None
    for n in range(30):
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter)
        model(torch.randn(4, 3))
        average.update_parameters()
        current = [p.detach().double() for p in model.parameters()]
        if expected is None:
            expected = current
        else:
            keep = min(decay, (1 + n) / (10 + n))
            expected = [keep * a + (1 - keep) * b for a, b in zip(expected, current, strict=True)]
        for a, b in zip(average.module.parameters(), expected, strict=True):
            torch.testing.assert_close(a, b.float(), atol=1e-5, rtol=1e-5)
    assert int(average.n_averaged) == 30
    assert not any(p.requires_grad for p in average.parameters()) and all(p.requires_grad for p in model.parameters())
    # statistics of batch norm belong to the newest weights' inputs, and follow them
    torch.testing.assert_close(average.module[1].running_mean, model[1].running_mean)
