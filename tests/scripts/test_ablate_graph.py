"""The experiment on the graph: comparable runs that can be interrupted, complete files, work shared by processes."""

import json
import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import main
from datasets.feature_cache import FeatureCache
from models.build import build_model
from scripts import ablate_graph
from scripts.ablate_graph import claim, read_records
from scripts.lib.graph_ablation.run import RECIPE, VARIANTS, Run, build, limb_pck, options_of, write_start
from tests.helpers.made_up_features import write_people
from utils.camera import MARGIN
from utils.evaluation.predictions import load_predictions
from utils.metrics import pck
from utils.options import parse_args

SMALL = ["--num_transformers=1", "--stage_weights", "0.5", "1", "--batch_size=2", "--loss_vertices=40"]


SETTINGS = {
    "recipe": " ".join([*RECIPE, *SMALL]),
    "people": 100,
    "num_samples": 200,
    "lr": 1e-3,
    "align_corners": False,
    "device": "cpu",
}


def test_variants_are_networks_that_differ_in_the_graph_alone_and_start_alike(tmp_path):
    write_start(tmp_path / "start.pt", options_of(Run("llm_adaptive", 1, 3), SETTINGS))
    networks = {}
    for variant in VARIANTS:
        options = options_of(Run(variant, 1, 3), SETTINGS)
        networks[variant] = build(options, tmp_path / "start.pt")[0].eval()
    plain = networks["none"].state_dict()
    for variant, network in networks.items():
        state = network.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in plain.items()), variant
        extra = {name for name in state if name not in plain}
        assert all(".graph." in name or "joint_embedding" in name for name in extra) and bool(extra) == (
            variant != "none"
        )
    graphs = {name: network.blocks[0].units[0].graph for name, network in networks.items()}
    assert graphs["none"] is None and graphs["learned"].relations is None
    adaptive = [name for name, graph in graphs.items() if graph is not None and graph.adaptive]
    assert adaptive == ["llm_adaptive", "shuffled_adaptive"]
    assert not torch.equal(graphs["llm_adaptive"].relations, graphs["shuffled_adaptive"].relations)
    count = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert count["llm_adaptive"] == count["shuffled_adaptive"] and count["llm_static"] == count["kinematic"]


def test_every_share_trains_for_the_same_number_of_samples():
    for share, people, epochs in ((1, 100, 2), (0.5, 50, 4), (0.1, 10, 25)):
        options = options_of(Run("none", share, 0), SETTINGS | {"recipe": " ".join([*RECIPE, "--batch_size=4"])})
        assert (options.num_samples, options.num_epochs) == (people, epochs)
        assert abs(people // 4 * options.num_epochs - 50) <= 2


def holds_the_lock(path, ready, leave):
    with claim(path) as ours:
        ready.put(ours)
        leave.wait(60)


def test_a_run_belongs_to_one_process_and_to_nobody_once_that_died(tmp_path):
    path = tmp_path / "run.json"
    context = multiprocessing.get_context("fork")
    ready, leave = context.Queue(), context.Event()
    holder = context.Process(target=holds_the_lock, args=(path, ready, leave))
    holder.start()
    assert ready.get(timeout=60)
    with claim(path) as ours:
        assert not ours
    holder.kill()
    holder.join()
    assert path.with_suffix(".lock").exists()  # what it left behind keeps nobody off
    with claim(path) as ours:
        assert ours
        path.write_text("{}")
    with claim(path) as ours:
        assert not ours  # finished
    assert not path.with_suffix(".lock").exists()


def test_pck_of_photographs_is_in_longer_box_sides(tmp_path, monkeypatch):
    write_people(tmp_path / "photos", 3, flags=False)
    model, criterion = build_model(parse_args([*RECIPE, *SMALL]))
    dataset = FeatureCache(tmp_path / "photos")
    shift = 0.07 * 2 / MARGIN  # 7 % of the longer side of the box, in crop units
    moved = torch.stack([row["keypoints_2d"][[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18], :2] for row in dataset])
    forward = model.forward

    def seven_percent_off(features, all_stages):
        return forward(features, all_stages) | {"pred_keypoints_2d": moved + torch.tensor([shift, 0])}

    monkeypatch.setattr(model, "forward", seven_percent_off)
    report = limb_pck(model.eval(), criterion.eval(), dataset, torch.device("cpu"))
    assert report["pck@0.05"] == 0 and report["pck@0.1"] == 1 and report["count"] == 3 * 6
    assert report["mean_error"] == pytest.approx(0.07, rel=1e-3)
    assert pck([]) == {"pck@0.05": None, "pck@0.1": None, "mean_error": None, "count": 0}


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the command in a folder with made-up people -> exit code."""
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path / "people", 6)
    write_people(tmp_path / "test", 4, seed=1)
    write_people(tmp_path / "photos", 2, seed=2, flags=False)

    def run(output: str, *flags: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ablate_graph.py", f"--output={output}", *flags])
        try:
            ablate_graph.main()
        except SystemExit as end:
            return end.code
        return 0

    return run


DATA = ["--features=people", "--test=test", "--photos=photos", "--device=cpu", f"--main_flags={' '.join(SMALL)}"]
DATA.append("--num_samples=12")


def test_from_features_to_a_report(tmp_path, call, capsys):
    """What is finished is not done again; other settings are refused."""
    small = ["--occluded=occluded", "--variants", "none", "llm_adaptive", "shuffled_adaptive", "--seeds", "1", "2"]
    write_people(tmp_path / "occluded", 33, seed=4, covered=True)
    assert call("out", *DATA, *small, "--runs", "none_*") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"none_1_seed1.json", "none_1_seed1.safetensors", "none_1_seed1.synthetic.npz", "nearest_1.npy"} <= names
    assert not any((tmp_path / "out/training").glob("none*"))  # checkpoints are no result
    first = (tmp_path / "out/none_1_seed1.json").read_text()
    assert call("out", *DATA, *small) == 0
    assert (tmp_path / "out/none_1_seed1.json").read_text() == first
    records = read_records(tmp_path / "out")
    assert [Run(r["variant"], r["share"], r["seed"]).name for r in records] == sorted(
        f"{variant}_1_seed{seed}" for variant in small[2:5] for seed in (1, 2)
    )
    plain = next(r for r in records if r["variant"] == "none")
    other = next(r for r in records if r["variant"] == "llm_adaptive")
    assert plain["people"] == 6 and len(plain["train_loss"]) == 2
    found = load_predictions(tmp_path / "out/none_1_seed1.synthetic.npz")
    assert plain["tests"]["synthetic"]["pa_mpjpe_mm"] == pytest.approx(1000 * found.pa_mpjpe.mean())
    assert plain["tests"]["photos"]["pck@0.1"] is not None
    assert plain["gates"] == {} and all(other["gates"][gate] > 0 for gate in ("bias_gate", "conv_gate"))
    assert load_metadata(tmp_path / "out/none_1_seed1.safetensors")["left_out"] == "backbone"
    capsys.readouterr()

    assert call("out", "--report", "--seeds", "1", "2") == 0
    printed = capsys.readouterr().out
    assert "photographs PCK@0.05" in printed and "| llm_adaptive - none | visible |" in printed
    assert "PA error of joints under a patch" in printed and "| llm_adaptive - none | all covered joints |" in printed
    assert "farthest quarter of poses" in printed and "hip-aligned error" in printed
    for flags, words in (
        ([*DATA[:-1], "--num_samples=6", *small], "another num_samples"),
        ([*DATA, *small, "--shares", "0.1"], "less than a batch"),
        (["--features=people"], "--test DIR"),
    ):
        assert call("out", *flags) == 2 and words in capsys.readouterr().err
    (tmp_path / "out/none_1_seed1.json").write_text(json.dumps({"variant": "none"}))
    assert call("out", "--report") == 2 and "delete it" in capsys.readouterr().err


def load_metadata(path) -> dict:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["config"])


def test_an_interrupted_run_is_resumed_to_the_same_result(tmp_path, call, monkeypatch, capsys):
    """A real signal after the fourth of six steps; the same command then finishes the run, to the bit."""
    small = ["--variants", "llm_adaptive", "--seeds", "0"]
    assert call("whole", *DATA, *small) == 0
    steps, add_gradient = [], main.add_gradient

    def interrupted(*args):
        steps.append(None)
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return add_gradient(*args)

    with monkeypatch.context() as patch:
        patch.setattr(main, "add_gradient", interrupted)
        assert call("parts", *DATA, *small) == 0
    assert len(steps) == 4 and "the same command resumes it" in capsys.readouterr().out
    assert not list((tmp_path / "parts").glob("llm_adaptive*"))
    assert call("parts", *DATA, *small, "--lr", "1e-3") == 2  # not with other settings
    assert "another lr" in capsys.readouterr().err
    assert call("parts", *DATA, *small) == 0
    first, second = (load_file(tmp_path / name / "llm_adaptive_1_seed0.safetensors") for name in ("whole", "parts"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    first, second = (
        load_predictions(tmp_path / name / "llm_adaptive_1_seed0.synthetic.npz") for name in ("whole", "parts")
    )
    assert np.array_equal(first.joints, second.joints)
