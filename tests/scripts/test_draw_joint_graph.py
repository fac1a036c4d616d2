"""The picture of a trained graph: what it takes from the network, and that it is drawn with and without every part."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from models.joint_graph import JointGraph
from models.joint_prior import load_joint_prior
from scripts import draw_joint_graph
from scripts.draw_joint_graph import centred, draw, find_graph, prior_matrices, see
from utils.camera import Crop
from utils.errors import UserError

DIM, HEADS = 16, 4


def graph_of(adaptive: bool, prior: str, entries=("bias", "conv")) -> JointGraph:
    torch.manual_seed(0)
    known = load_joint_prior(prior)
    relations = None if known is None else torch.from_numpy(np.concatenate((known.text[None], known.relations)))
    graph = JointGraph(DIM, HEADS, relations, adaptive, entries)
    for parameter in graph.parameters():
        nn.init.normal_(parameter, std=0.3)
    return graph.eval()


class FakePredictor:
    """Runs the graph on tokens of its own, as the network does, and says where a person is."""

    def __init__(self, graph: JointGraph):
        self.graph, self.tokens = graph, torch.randn(1, 26, DIM)

    def __call__(self, image: np.ndarray) -> list:
        self.bias = self.graph(self.tokens)[0]
        joints_2d = np.random.default_rng(0).uniform(20, 80, (24, 2))
        return [SimpleNamespace(crop=Crop.around((10, 20, 60, 90)), joints_2d=joints_2d)]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8))
    return path


def test_terms_add_up_to_the_bias_of_the_attention(picture):
    predictor = FakePredictor(graph_of(adaptive=True, prior="kinematic"))
    around, joints, terms = see(predictor, predictor.graph, picture)
    assert set(terms) == {"tree", "prior", "learned", "adaptive"}
    np.testing.assert_allclose(sum(terms.values()), predictor.bias[0, :, :24, :24].mean(0).detach(), atol=1e-5)
    height, width = around.shape[:2]
    assert 0 < height <= 120 and 0 < width <= 100 and joints.shape == (24, 2)


def test_what_a_softmax_ignores_is_left_out():
    scores = np.random.default_rng(0).normal(size=(24, 24))
    assert np.abs(centred(scores).mean(1)).max() < 1e-12
    np.testing.assert_allclose(centred(scores + np.arange(24)[:, None]), centred(scores), atol=1e-12)


@pytest.mark.parametrize(("adaptive", "prior"), [(True, "kinematic"), (False, "none")])
def test_every_kind_of_graph_can_be_drawn(tmp_path, picture, adaptive, prior):
    predictor = FakePredictor(graph_of(adaptive, prior, entries=("bias", "conv") if adaptive else ("conv",)))
    people = [see(predictor, predictor.graph, picture)] * 2
    draw(prior_matrices(predictor.graph, prior), people, tmp_path / "graph.png", "title")
    assert cv2.imread(str(tmp_path / "graph.png")).std() > 10


def test_networks_without_a_graph_are_refused():
    plain = nn.Module()
    plain.blocks = [SimpleNamespace(units=[SimpleNamespace(graph=None)])]
    with pytest.raises(UserError, match="--graph adaptive"):
        find_graph(plain, 0, "a.pt")
    with pytest.raises(UserError, match="blocks 0 to 0"):
        find_graph(plain, 1, "a.pt")
    assert draw_joint_graph.STANDING.exists() and draw_joint_graph.BENT.exists()
