"""Terms of a trained graph set to zero at test time."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from datasets.feature_cache import FeatureCache, shard_path
from models.build import build_model
from models.features import network_input
from models.predictor import load_network
from scripts import eval_graph_terms
from scripts.eval_graph_terms import with_learned_stages
from scripts.lib.graph_ablation.terms import TERMS, removed, terms_of
from tests.helpers.made_up_features import write_people
from tests.helpers.programs import run_main
from utils.errors import UserError
from utils.options import parse_args
from utils.skeleton import J24


@pytest.fixture(scope="module")
def model():
    return load_network().eval()


def test_a_removed_term_is_absent_inside_the_block_and_back_afterwards(model):
    graph = model.blocks[1].units[0].graph
    joints = torch.randn(2, 24, 128)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert terms_of(model) == [*TERMS]
    for term in ("tree", "prior", "learned", "adaptive"):
        assert graph.terms(joints)[term].abs().max() > 0
        with removed(model, term):
            found = graph.terms(joints)
            assert found[term].abs().max() == 0
            assert all(found[other].abs().max() > 0 for other in found if other != term)
    tokens = torch.randn(1, 26, 128)
    with removed(model, "bias"):
        bias, update = graph(tokens)
        assert not bias.any() and update.any()
    with pytest.raises(ZeroDivisionError), removed(model, "graph"):
        assert not any(part.any() for part in graph(tokens))
        raise ZeroDivisionError
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_without_a_graph_has_nothing_to_remove():
    plain, _ = build_model(parse_args(["--preset=movenet_s", "--graph=none", "--loss_vertices=40"]))
    assert terms_of(plain) == []
    with pytest.raises(UserError, match="no prior of a joint graph"), removed(plain, "prior"):
        pass


def test_features_of_the_trained_stages_are_computed_once(model, tmp_path):
    write_people(tmp_path / "people", 3)
    dataset = FeatureCache(tmp_path / "people", None, False, with_trunk8=True)
    rows = with_learned_stages(model, dataset)
    assert [int(row["index"]) for row in rows] == [0, 1, 2] and "trunk8" not in rows[0]["features"]
    batch = torch.utils.data.default_collate([dataset[i] for i in range(3)])
    again = torch.utils.data.default_collate(rows)
    with torch.inference_mode():
        expected, found = (model(network_input(b), all_stages=False)["pred_joints"] for b in (batch, again))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_command(tmp_path, monkeypatch, capsys):
    write_people(tmp_path / "people", 5)
    output = tmp_path / "out" / "terms.json"
    monkeypatch.setattr("sys.argv", ["x", f"--features={tmp_path / 'people'}", f"--output={output}"])
    eval_graph_terms.main()
    printed = capsys.readouterr().out
    report = json.loads(output.read_text())
    group = report["PA error"]["all joints"]
    assert group["joints"] == 5 * 14 and set(group["changes"]) == set(TERMS)
    assert group["changes"]["graph"]["mean_mm"] != 0 and "| none removed |" in printed and "| adaptive |" in printed


def test_joints_without_a_label_are_in_no_group(tmp_path, capsys):
    """As in the pose2sim set: neck and head have neither a 2D nor a 3D label."""
    write_people(tmp_path / "people", 3)
    path = shard_path(tmp_path / "people", 0)
    content = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    unlabelled = [J24.index(name) for name in ("Neck", "Head")]
    for name in ("keypoints_2d", "keypoints_3d"):
        content[name][:, unlabelled, -1] = 0
    save_file(content, path, metadata)
    assert run_main(eval_graph_terms, "--features", tmp_path / "people", "--output", tmp_path / "a.json") == 0
    groups = json.loads((tmp_path / "a.json").read_text())["PA error"]
    assert groups["all joints"]["joints"] == 3 * 12 and groups["trunk"]["joints"] == 3 * 4
    content["keypoints_3d"][..., -1] = 0
    save_file(content, path, metadata)
    capsys.readouterr()
    assert run_main(eval_graph_terms, "--features", tmp_path / "people") == 2
    assert "no 3D labels" in capsys.readouterr().err
