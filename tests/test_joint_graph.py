"""The joint graph: distances, a start that changes nothing, and what it may and may not touch."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from models.features import Features
from models.graph_transformer import GraphTransformerBlock
from models.joint_graph import JointEmbedding, JointGraph, tree_distances
from utils.skeleton import SMPL_PARENTS

DIM, HEADS = 32, 4


def relations(count: int = 5) -> torch.Tensor:
    s = torch.randn(count, 24, 24)
    return (s + s.mT) / 2


def open_gates(graph: JointGraph) -> JointGraph:
    torch.nn.init.normal_(graph.bias_gate)
    torch.nn.init.normal_(graph.conv_gate)
    return graph


def test_tree_distances_are_shortest_paths():
    child = np.arange(1, 24)
    bones = coo_array((np.ones(23), (child, np.array(SMPL_PARENTS)[1:])), shape=(24, 24))
    expected = shortest_path(bones, directed=False, unweighted=True)
    np.testing.assert_array_equal(tree_distances().numpy(), expected)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("prior", [True, False])
def test_a_fresh_graph_changes_nothing(adaptive, prior):
    torch.manual_seed(0)
    block = GraphTransformerBlock(
        [8] * 4,
        DIM,
        HEADS,
        make_graph=lambda: JointGraph(DIM, HEADS, relations() if prior else None, adaptive),
        joint_embedding=JointEmbedding(torch.randn(24, 16), DIM) if prior else None,
    ).eval()
    features = Features(tuple(torch.randn(2, 8, s, s) for s in (56, 28, 14, 7)), torch.zeros(2, 8))
    tokens, joints_2d = torch.randn(2, 26, DIM), torch.rand(2, 24, 2) * 2 - 1
    with_graph = block(tokens, features, joints_2d)
    block.joint_embedding = None
    for unit in block.units:
        unit.graph = None
    for a, b in zip(with_graph, block(tokens, features, joints_2d), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_shape_and_camera_stay_out_of_the_graph():
    graph = open_gates(JointGraph(DIM, HEADS, relations(), adaptive=True))
    tokens = torch.randn(2, 26, DIM)
    bias, update = graph(tokens)
    assert bias.shape == (2, HEADS, 26, 26) and update.shape == (2, 26, DIM)
    assert not bias[..., 24:, :].any() and not bias[..., :, 24:].any() and not update[:, 24:].any()
    assert bias[..., :24, :24].abs().min() > 0 and update[:, :24].abs().max() > 0
    changed = tokens.clone()
    changed[:, 24:] += 1
    torch.testing.assert_close(graph(changed), (bias, update))


def test_only_the_adaptive_graph_depends_on_the_image():
    tokens = torch.randn(3, 26, DIM)
    static = open_gates(JointGraph(DIM, HEADS, relations(), adaptive=False))
    assert static(tokens)[0].shape[0] == 1
    adaptive = open_gates(JointGraph(DIM, HEADS, relations(), adaptive=True))
    torch.nn.init.normal_(adaptive.adaptive_weight)
    bias, _ = adaptive(tokens)
    assert (bias[0] - bias[1]).abs().max() > 0.1


def test_nearer_joints_score_higher_at_the_start():
    scores = JointGraph(DIM, HEADS, None, adaptive=False).scores(torch.randn(1, 24, DIM))[0, 0]
    l_knee, l_ankle, l_foot, r_wrist = 4, 7, 10, 21
    assert scores[l_knee, l_ankle] > scores[l_knee, l_foot] > scores[l_knee, r_wrist]
    assert abs(scores.mean()) < 1e-5 and abs(scores.std() - 1) < 1e-5


def test_every_parameter_learns_once_the_gates_move():
    torch.manual_seed(0)
    graph = JointGraph(DIM, HEADS, relations(), adaptive=True)
    attention = torch.nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    target = torch.randn(2, 26, DIM)
    optimizer = torch.optim.Adam(graph.parameters(), lr=1e-2)
    for _ in range(3):
        tokens = torch.randn(2, 26, DIM)
        bias, update = graph(tokens)
        attended, _ = attention(tokens, tokens, tokens, attn_mask=bias.flatten(0, 1))
        optimizer.zero_grad()
        (attended + update - target).square().mean().backward()
        optimizer.step()
    assert [n for n, p in graph.named_parameters() if p.grad is None or not p.grad.any()] == []
