"""The joint graph: distances, no effect before training, symmetry, and the tokens that it changes."""

from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from models.build import build_block, config_from_args
from models.features import Features
from models.graph_transformer import GraphTransformerBlock, TransformerUnit, Window
from models.joint_graph import JointEmbedding, JointGraph, tree_distances
from utils.errors import UserError
from utils.network_config import GRAPH_ENTRIES
from utils.options import parse_args
from utils.skeleton import SMPL_FLIP, SMPL_PARENTS

DIM, HEADS = 32, 4
FLIP = list(SMPL_FLIP)
TOKEN_FLIP = [*FLIP, 24, 25]  # shape and camera stay
MAPS = (14, 7)


def relations(count: int = 5) -> torch.Tensor:
    """Symmetric and invariant under the flip, like those of every joint prior."""
    s = torch.randn(count, 24, 24)
    s = (s + s.mT) / 2
    return (s + s[:, FLIP][:, :, FLIP]) / 2


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
def test_an_untrained_graph_changes_nothing(adaptive, prior):
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


def test_shape_and_camera_tokens_are_no_nodes():
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


def test_every_parameter_has_a_gradient_after_the_gates_move():
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


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """All parameters random, as after training."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_graph_commutes_with_the_exchange_of_left_and_right(adaptive):
    graph = randomised(JointGraph(DIM, HEADS, relations(), adaptive))
    tokens = torch.randn(2, 26, DIM)
    bias, update = graph(tokens)
    flipped_bias, flipped_update = graph(tokens[:, TOKEN_FLIP])
    torch.testing.assert_close(flipped_bias, bias[:, :, TOKEN_FLIP][..., TOKEN_FLIP], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(flipped_update, update[:, TOKEN_FLIP], atol=1e-4, rtol=1e-4)
    assert (bias - bias[:, :, TOKEN_FLIP][..., TOKEN_FLIP]).abs().max() > 0.01 or not adaptive


def test_a_unit_with_the_graph_commutes_with_mirroring():
    """Flipping: maps are mirrored, joints change sides in their tokens and on the maps. The unit then gives the flipped
    tokens, for any weights whose window table is symmetric, too."""
    torch.manual_seed(0)
    graph = JointGraph(DIM, HEADS, relations(), adaptive=True)
    unit = randomised(TransformerUnit(DIM, HEADS, 0.0, num_scales=2, radius=2, graph=graph)).eval()
    with torch.no_grad():
        unit.window.bias_table += unit.window.bias_table.flip(-1)
    maps = [torch.randn(2, DIM, size, size) for size in MAPS]
    tokens, joints_2d = torch.randn(2, 26, DIM), torch.rand(2, 24, 2) * 2 - 1

    def run(tokens, maps, joints_2d):
        pixels = [m.flatten(2).mT for m in maps]
        window = Window(joints_2d, MAPS[0], radius=2)
        return unit(tokens, pixels, window.gather(pixels[0]), window.offset)

    mirrored = joints_2d[:, FLIP] * torch.tensor([-1.0, 1.0])
    flipped = run(tokens[:, TOKEN_FLIP], [m.flip(-1) for m in maps], mirrored)
    plain = run(tokens, maps, joints_2d)
    torch.testing.assert_close(flipped, plain[:, TOKEN_FLIP], atol=1e-4, rtol=1e-4)
    assert (plain - plain[:, TOKEN_FLIP]).abs().max() > 0.1


COMBINATIONS = [entries for n in (1, 2, 3) for entries in combinations(GRAPH_ENTRIES, n)]


def block_of(*flags: str) -> GraphTransformerBlock:
    """The block that these flags build, for a backbone with two narrow maps."""
    args = parse_args(["--backbone=movenet", *flags])
    return build_block(config_from_args(args), SimpleNamespace(map_channels=[8, 8], point_channels=0))


@pytest.mark.parametrize(("graph", "prior"), list(product(("adaptive", "static"), ("llm", "none"))))
@pytest.mark.parametrize("entries", COMBINATIONS, ids=" ".join)
def test_switches_of_the_entries(graph, prior, entries):
    """For every choice: all parameters have a gradient, and before training the block equals one without a graph."""
    flags = [f"--graph={graph}", f"--joint_prior={prior}", "--graph_entries", *entries]
    if prior == "none" and entries == ("embedding",):
        with pytest.raises(UserError, match="--joint_prior llm"):
            block_of(*flags)
        return
    block = block_of(*flags).eval()
    assert (block.joint_embedding is not None) == ("embedding" in entries and prior == "llm")
    found = [unit.graph for unit in block.units]
    assert all((g is not None) == bool({"bias", "conv"} & {*entries}) for g in found)
    features = Features(tuple(torch.randn(2, 8, size, size) for size in MAPS), torch.zeros(2, 8))
    inputs = torch.randn(2, 26, 128), features, torch.rand(2, 24, 2) * 2 - 1
    outputs = block(*inputs)
    sum(output.square().sum() for output in outputs).backward()
    assert [name for name, p in block.named_parameters() if p.requires_grad and p.grad is None] == []

    plain = block_of("--graph=none").eval()
    plain.load_state_dict({name: block.state_dict()[name] for name in plain.state_dict()})
    for a, b in zip(outputs, plain(*inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_configuration_has_the_entries_of_the_graph():
    body = SimpleNamespace(name="body", num_vertices=1)

    def config(*flags):
        return config_from_args(parse_args([*flags]), body)

    shuffled = ["--graph=static", "--joint_prior=shuffled", "--prior_seed=3"]
    assert config(*shuffled)["prior_seed"] == 3
    assert config(*shuffled)["graph_entries"] == ["bias", "conv", "embedding"]
    assert config(*shuffled, "--graph_entries", "conv", "bias", "conv")["graph_entries"] == ["bias", "conv"]
    assert (config()["graph"], config()["joint_prior"]) == ("adaptive", "llm")
    # without a graph its flags make no difference
    assert config("--graph=none", "--graph_entries", "bias", "--prior_seed=3") == config("--graph=none")
    assert config("--model_type=backbone")["graph"] == config("--model_type=backbone")["joint_prior"] == "none"


def test_the_seed_chooses_the_shuffled_prior():
    one, same, other = (
        block_of("--graph=static", "--joint_prior=shuffled", f"--prior_seed={seed}").units[0].graph.relations
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
