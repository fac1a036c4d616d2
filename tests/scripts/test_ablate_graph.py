"""The ablation: comparable runs, complete files, work shared by processes, and tables made from the files."""

import json
import multiprocessing
import sys

import numpy as np
import pytest
import torch

from datasets.feature_cache import FeatureCache, shard_path, write_shard
from models.build import build_model
from scripts import ablate_graph
from scripts.ablate_graph import claim, read_results
from scripts.lib.graph_ablation import run as one_run
from scripts.lib.graph_ablation.run import RECIPE, VARIANTS, Run, build, evaluate
from scripts.lib.graph_ablation.table import spread, table
from utils.camera import MARGIN
from utils.metrics import pck
from utils.options import parse_args

SMALL = ["--num_transformers=1", "--stage_weights", "0.5", "1", "--batch_size=2", "--loss_vertices=40"]


def write_people(folder, count: int, seed: int = 0, flags: bool = True):
    """Made-up people; without flags they have 2D keypoints alone, as annotated photographs do."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(count, *shape, generator=generator)

    features = {"map16": random(200, 14, 14), "map32": random(344, 7, 7), "pooled": random(1331)}
    features |= {"points": random(17, 344), "keypoints": random(17, 3).clamp(-1, 1)}
    features |= {"points_corners": random(17, 344), "trunk8": random(56, 28, 28)}
    labels = {"keypoints_2d": random(24, 3), "keypoints_3d": random(24, 4), "pose": 0.3 * random(72)}
    labels |= {"betas": random(10)}
    labels["keypoints_2d"][..., 2] = labels["keypoints_3d"][..., 3] = 1
    if not flags:
        labels |= {f"has_{name}": torch.zeros(count).bool() for name in ("smpl", "keypoints_3d")}
        labels["keypoints_2d"][:, ::2, 2] = 0
    folder.mkdir(exist_ok=True)
    write_shard(shard_path(folder, 0), features, labels, {})


def results_of(numbers: dict[tuple[str, int], float], share: float = 1.0) -> list[dict]:
    tests = lambda value: {"synthetic": {"mpjpe_mm": value, "pa_mpjpe_mm": value / 2, "mpvpe_mm": None}}  # noqa: E731
    return [
        {"variant": variant, "share": share, "seed": seed, "people": 10, "parameters": 5, "tests": tests(value)}
        for (variant, seed), value in numbers.items()
    ]


def test_the_table_says_mean_deviation_and_paired_error():
    full, shuffled = (90.0, 100.0, 107.0), (95.0, 103.0, 105.0)
    numbers = {("full", seed): value for seed, value in enumerate(full)}
    numbers |= {("shuffled", seed): value for seed, value in enumerate(shuffled)} | {("llm", 0): 1.0}
    lines = table(results_of(numbers)).splitlines()
    assert lines[0].count("|") == 7 and "MPVE" not in lines[0]  # a metric that nobody has is left out
    assert f"| 10 | full | 5 | 3 | {np.mean(full):.1f} ± {np.std(full, ddof=1):.1f} |" in "\n".join(lines)
    assert any(line.startswith("| 10 | llm | 5 | 1 | 1.0 | 0.5 |") for line in lines)
    difference = np.subtract(full, shuffled)
    error = np.std(difference, ddof=1) / np.sqrt(3)
    assert f"| 10 | full - shuffled | 3 | {difference.mean():.1f} ± {error:.1f} |" in "\n".join(lines)
    assert "llm - none" not in "\n".join(lines)  # nothing to pair it with
    assert spread([], 1) == ""


def test_variants_are_networks_that_differ_in_the_graph_alone_and_start_alike():
    """Whatever the graph: the same first estimate to the last digit that matters, by the same numbers."""
    networks = {}
    for variant, flags in VARIANTS.items():
        options = parse_args([*RECIPE, *SMALL, *flags, "--seed=3"])
        networks[variant] = build(options, None)[0].eval()
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
    assert [name for name, graph in graphs.items() if graph is not None and graph.adaptive] == ["full", "shuffled"]
    assert not torch.equal(graphs["full"].relations, graphs["shuffled"].relations)
    count = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert count["full"] == count["shuffled"] and count["llm"] == count["kinematic"]


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

    def seven_percent_off(features):
        return forward(features) | {"pred_keypoints_2d": moved + torch.tensor([shift, 0])}

    monkeypatch.setattr(model, "forward", seven_percent_off)
    report = evaluate(model, criterion, dataset, limbs_only=True)
    assert report["pck@0.05"] == 0 and report["pck@0.1"] == 1 and report["count"] == 3 * 6
    assert report["mean_error"] == pytest.approx(0.07, rel=1e-3)
    assert pck([]) == {"pck@0.05": None, "pck@0.1": None, "mean_error": None, "count": 0}


def test_from_features_to_a_table(tmp_path, monkeypatch, capsys):
    """The commands of its header, tiny; what is finished is not done again; other settings are refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(one_run, "RECIPE", [*RECIPE, *SMALL])
    write_people(tmp_path / "people", 6)
    write_people(tmp_path / "test", 3, seed=1)
    write_people(tmp_path / "photos", 2, seed=2, flags=False)

    def call(*flags: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ablate_graph.py", "--output=out", *flags])
        try:
            ablate_graph.main()
        except SystemExit as end:
            return end.code
        return 0

    data = ["--features=people", "--test=test", "--photos=photos", "--device=cpu", "--num_samples=4"]
    small = ["--variants", "none", "shuffled", "--seeds", "1", "--shares", "0.5"]
    assert call(*data, *small, "--runs", "none_*") == 0
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["none_0.5_seed1.json"]
    first = (tmp_path / "out/none_0.5_seed1.json").read_text()
    assert call(*data, *small) == 0
    assert (tmp_path / "out/none_0.5_seed1.json").read_text() == first
    results = read_results(tmp_path / "out")
    assert [Run(r["variant"], r["share"], r["seed"]).name for r in results] == ["none_0.5_seed1", "shuffled_0.5_seed1"]
    assert all(r["people"] == 3 and r["tests"]["synthetic"]["mpjpe_mm"] > 0 for r in results)
    assert results[0]["tests"]["photos"]["pck@0.1"] is not None
    assert results[1]["parameters"] > results[0]["parameters"]
    assert results[0]["gates"] == {} and all(results[1]["gates"][gate] > 0 for gate in ("bias_gate", "conv_gate"))
    capsys.readouterr()

    assert call("--table") == 0
    assert "photos PCK@0.05" in capsys.readouterr().out
    for flags, words in (
        ([*data[:-1], "--num_samples=6", *small], "another num_samples"),
        ([*data, *small[:-1], "0.1", "--seeds", "7"], "less than a batch"),
        (["--features=people"], "--test DIR"),
    ):
        assert call(*flags) == 2 and words in capsys.readouterr().err
    (tmp_path / "out/none_0.5_seed1.json").write_text(json.dumps({"variant": "none"}))
    assert call("--table") == 2 and "delete it" in capsys.readouterr().err
