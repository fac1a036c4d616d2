"""Pictures of a trained graph, with and without each of its parts, and of the prior alone."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from models.joint_graph import JointGraph
from models.joint_prior import load_joint_prior
from scripts import draw_joint_graph
from scripts.draw_joint_graph import find_graph, graph_of_person, prior_of
from scripts.lib.joint_graph_figure import LIMBS, centred, draw_graph
from utils.camera import Crop
from utils.errors import UserError
from utils.skeleton import SMPL_JOINTS

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
    """Runs the graph on random tokens of an image and of its mirror image; finds one person, or none."""

    def __init__(self, graph: JointGraph, count: int = 1):
        self.graph, self.tokens, self.count = graph, torch.randn(2, 26, DIM), count

    def __call__(self, image: np.ndarray) -> list:
        self.bias = self.graph(self.tokens)[0]
        joints_2d = np.random.default_rng(0).uniform(20, 80, (24, 2))
        return [SimpleNamespace(crop=Crop.around((10, 20, 60, 90)), joints_2d=joints_2d)] * self.count


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8))
    return path


def test_terms_add_up_to_the_bias_of_the_attention(picture):
    predictor = FakePredictor(graph_of(adaptive=True, prior="kinematic"))
    person = graph_of_person(predictor, predictor.graph, picture)
    assert set(person.terms) == {"tree", "prior", "learned", "adaptive"}
    biases = predictor.bias[:, :, :24, :24].mean(1).detach()
    np.testing.assert_allclose(sum(person.terms.values()), biases[0], atol=1e-5)  # of the image itself
    assert (biases[0] - biases[1]).abs().max() > 0.01
    height, width = person.picture.shape[:2]
    assert 0 < height <= 120 and 0 < width <= 100 and person.joints.shape == (24, 2)


def test_an_image_without_a_person_is_named(picture):
    predictor = FakePredictor(graph_of(adaptive=True, prior="kinematic"), count=0)
    with pytest.raises(UserError, match=r"no person found in .*a\.png"):
        graph_of_person(predictor, predictor.graph, picture)
    assert not predictor.graph._forward_pre_hooks


def test_what_a_softmax_ignores_is_left_out():
    scores = np.random.default_rng(0).normal(size=(24, 24))
    assert np.abs(centred(scores).mean(1)).max() < 1e-12
    np.testing.assert_allclose(centred(scores + np.arange(24)[:, None]), centred(scores), atol=1e-12)


@pytest.mark.parametrize(("adaptive", "prior"), [(True, "kinematic"), (False, "none")])
def test_every_kind_of_graph_can_be_drawn(tmp_path, picture, adaptive, prior):
    predictor = FakePredictor(graph_of(adaptive, prior, entries=("bias", "conv") if adaptive else ("conv",)))
    people = [graph_of_person(predictor, predictor.graph, picture)] * 2
    draw_graph(prior_of(predictor.graph, prior), people, tmp_path / "graph.png", "title")
    assert cv2.imread(str(tmp_path / "graph.png")).std() > 10


def test_networks_without_a_graph_are_refused():
    plain = nn.Module()
    plain.blocks = [SimpleNamespace(units=[SimpleNamespace(graph=None)])]
    with pytest.raises(UserError, match="--graph adaptive"):
        find_graph(plain, 0, "a.pt")
    with pytest.raises(UserError, match="blocks 0 to 0"):
        find_graph(plain, 1, "a.pt")
    assert draw_joint_graph.STANDING.exists() and draw_joint_graph.BENT.exists()


@pytest.mark.parametrize("kind", [["--prior"], ["--prior", "kinematic"], ["--prior", "shuffled", "--prior_seed", "3"]])
def test_the_prior_alone(tmp_path, monkeypatch, kind):
    path = tmp_path / "new" / "prior.png"
    monkeypatch.setattr("sys.argv", ["draw_joint_graph.py", *kind, "--output", str(path)])
    draw_joint_graph.main()
    assert cv2.imread(str(path)).std() > 10
    assert sorted(name for limb in LIMBS for name in limb) == sorted(SMPL_JOINTS)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--prior"], "required: --output"),
        (["--output", "a.png"], "one of the arguments --checkpoint --prior is required"),
        (["--output", "a.jpg", "--prior"], "must end in .png"),
        (["--output", "a.png", "--prior", "none"], "invalid choice: 'none'"),
        (["--output", "a.png", "--prior", "--prior_file", "missing.npz"], "no file missing.npz"),
        (["--output", "a.png", "--checkpoint", "missing.pt"], "missing.pt"),
        (["--output", "a.png", "--checkpoint", "c.pt", "--images", "a.jpg", "b.jpg"], "no file a.jpg"),
    ],
)
def test_flags_that_cannot_work(monkeypatch, capsys, tmp_path, flags, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["draw_joint_graph.py", *flags])
    with pytest.raises(SystemExit) as stop:
        draw_joint_graph.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and words in error and error.count("\n") == 1 and not [*tmp_path.iterdir()]
