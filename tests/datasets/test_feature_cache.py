"""Cached features: round trips, and agreement of the script's files with the backbone."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import main as program
from datasets.build import build_loader
from datasets.feature_cache import FLAGS, LABELS, STEP, FeatureCache, decode, read_provenance, shard_path, write_shard
from datasets.photos import J14_NAMES, LIMBS
from datasets.synthetic import SyntheticDataset
from models.backbones.movenet import build_movenet_backbone
from models.features import network_input
from scripts import cache_features
from utils.camera import Crop
from utils.errors import UserError
from utils.options import parse_args
from utils.paths import MOVENET, MOVENET_STATISTICS, OPEN_BODY
from utils.skeleton import COCO17, J24_TO_J14

SHAPES = {
    "map16": (200, 14, 14), "map32": (344, 7, 7), "trunk8": (56, 28, 28), "pooled": (1331,), "points": (17, 344),
    "points_corners": (17, 344), "keypoints": (17, 3),
}  # fmt: skip


def made_up(count: int, seed: int = 0) -> tuple[dict, dict]:
    """Random features and labels of `count` people."""
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(count, *shape, generator=generator) for name, shape in SHAPES.items()}
    features["keypoints"] = features["keypoints"].clamp(-1, 1)
    labels = {"keypoints_2d": (24, 3), "keypoints_3d": (24, 4), "pose": (72,), "betas": (10,)}
    labels = {name: 0.3 * torch.randn(count, *shape, generator=generator) for name, shape in labels.items()}
    labels["keypoints_2d"][..., 2] = labels["keypoints_3d"][..., 3] = 1
    return features, labels


def write_folder(folder: Path, counts: list[int]) -> list[tuple[dict, dict]]:
    shards = [made_up(count, seed) for seed, count in enumerate(counts)]
    for number, shard in enumerate(shards):
        write_shard(shard_path(folder, number), *shard, {"first": number})
    return shards


def test_round_trip_within_one_step(tmp_path):
    shards = write_folder(tmp_path, [2, 3])
    cache = FeatureCache(tmp_path, with_trunk8=True)
    assert len(cache) == 5
    for index, (shard, row) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1), (1, 2))):
        features, labels = ({name: tensor[row] for name, tensor in part.items()} for part in shards[shard])
        found = cache[index]
        for name in ("map16", "map32", "points", "trunk8"):
            torch.testing.assert_close(found["features"][name], features[name], atol=STEP / 2 + 1e-6, rtol=0)
        torch.testing.assert_close(found["features"]["pooled"], features["pooled"], atol=2e-3, rtol=1e-3)
        assert torch.equal(found["features"]["keypoints"], features["keypoints"])
        assert all(torch.equal(found[name], labels[name]) for name in LABELS)
        assert found["index"] == index and all(found[name] is True for name in FLAGS)
    with pytest.raises(IndexError):
        cache[5]
    with pytest.raises(UserError, match="has 5 people, not 6"):
        FeatureCache(tmp_path, 6)
    assert len(FeatureCache(tmp_path, 4)) == 4


def test_points_are_those_of_the_convention_and_trunk8_comes_only_if_wanted(tmp_path):
    features, _ = write_folder(tmp_path, [2])[0]
    for align_corners, name in ((False, "points"), (True, "points_corners")):
        found = FeatureCache(tmp_path, align_corners=align_corners)[1]["features"]
        assert set(found) == {"map16", "map32", "pooled", "points", "keypoints"}
        torch.testing.assert_close(found["points"], features[name][1], atol=STEP / 2 + 1e-6, rtol=0)


def test_large_values_are_clipped(tmp_path):
    features, labels = made_up(1)
    features["map16"] *= 100
    write_shard(shard_path(tmp_path, 0), features, labels, {})
    found = FeatureCache(tmp_path)[0]["features"]["map16"]
    torch.testing.assert_close(found, features["map16"][0].clamp(-127 * STEP, 127 * STEP), atol=STEP / 2 + 1e-6, rtol=0)


def test_flags_of_missing_labels_are_kept(tmp_path):
    features, labels = made_up(2)
    labels |= {"has_smpl": torch.tensor([True, False]), "has_keypoints_3d": torch.tensor([False, False])}
    write_shard(shard_path(tmp_path, 0), features, labels, {})
    rows = [FeatureCache(tmp_path)[i] for i in range(2)]
    assert [[row[name] for name in ("has_smpl", "has_keypoints_3d", "has_keypoints_2d")] for row in rows] == [
        [True, False, True],
        [False, False, True],
    ]


def test_a_batch_is_what_the_network_reads(tmp_path):
    write_folder(tmp_path, [3])
    batch = next(iter(build_loader(FeatureCache(tmp_path), batch_size=2, num_workers=0, train=True)))
    features = network_input(batch)
    assert [m.shape[1:] for m in features.maps] == [SHAPES["map16"], SHAPES["map32"]]
    assert features.points.shape == (2, 17, 344) and features.keypoints.shape == (2, 17, 3)
    assert batch["has_smpl"].dtype == torch.bool


def damaged_folders(shard: Path):
    """Change a shard in place, into one unusable form after another."""
    whole, tensors = shard.read_bytes(), {name: tensor.clone() for name, tensor in load_file(shard).items()}
    yield "cut short", lambda: shard.write_bytes(whole[: len(whole) // 2])
    yield "something else", lambda: shard.write_bytes(b"not a shard")
    some = {name: tensor for name, tensor in tensors.items() if name != "betas"}
    yield "a tensor is missing", lambda: save_file(some, shard, {"version": "2"})
    uneven = tensors | {"betas": torch.zeros(1, 10)}
    yield "rows do not match", lambda: save_file(uneven, shard, {"version": "2"})
    yield "an unknown tensor", lambda: save_file(tensors | {"more": torch.zeros(2)}, shard, {"version": "2"})
    for version in ("1", "3"):
        yield "another version", lambda version=version: save_file(tensors, shard, {"version": version})
    yield "no version", lambda: save_file(tensors, shard)


def test_damaged_shards_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"no people_\*.*cache_features"):
        FeatureCache(tmp_path)
    write_folder(tmp_path, [2])
    shard = shard_path(tmp_path, 0)
    for what, damage in damaged_folders(shard):
        damage()
        with pytest.raises(UserError, match=r"people_00000\.safetensors.*delete it"):
            FeatureCache(tmp_path)
            pytest.fail(what)


def test_the_folder_may_grow(tmp_path):
    write_folder(tmp_path, [2])
    before = FeatureCache(tmp_path)
    write_shard(shard_path(tmp_path, 1), *made_up(3, seed=1), {})
    (tmp_path / ".people_00002.123.safetensors").write_bytes(b"half of a file that is being written")
    assert len(before) == 2 and len(FeatureCache(tmp_path)) == 5
    assert torch.equal(FeatureCache(tmp_path)[1]["pose"], before[1]["pose"])


@pytest.fixture(scope="module")
def people():
    """The first training people without fetched assets, shared with the processes of the script."""
    return SyntheticDataset(OPEN_BODY, "train", seed=5, num_samples=4, assets="none")


@pytest.fixture
def keep(monkeypatch):
    """Run the script with two people per file and one process."""

    def run(*flags: str):
        monkeypatch.setattr(cache_features, "SHARD", 2)
        monkeypatch.setattr(sys, "argv", ["cache_features.py", "--num_workers=1", *flags])
        cache_features.main()

    return run


def refused(keep, capsys, *flags: str) -> str:
    with pytest.raises(SystemExit) as end:
        keep(*flags)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_the_script_saves_the_features_of_the_backbone_and_resumes(tmp_path, people, keep, capsys):
    flags = ["--output", str(tmp_path), "--seed=5", "--assets=none", "--turned=0"]
    keep(*flags, "--num_samples=3")  # in whole files
    cache = FeatureCache(tmp_path)
    rows = [people[i] for i in range(4)]
    assert len(cache) == 4
    for kept, row in zip(cache, rows, strict=True):
        assert all(torch.equal(kept[name], row[name]) for name in LABELS)
    backbone = build_movenet_backbone(MOVENET, MOVENET_STATISTICS)
    features = cache_features.compute_features(backbone, torch.stack([row["image"] for row in rows]))
    shards = [load_file(shard_path(tmp_path, number)) for number in (0, 1)]
    kept = {name: decode(torch.cat([shard[name] for shard in shards])) for name in features}
    for name in (
        "map16",
        "map32",
        "points",
        "points_corners",
        "trunk8",
    ):  # bfloat16 differs a little between batches of two and of four
        assert (kept[name] - features[name].clamp(-127 * STEP, 127 * STEP)).abs().mean() < STEP
    assert (kept["keypoints"] - features["keypoints"]).abs().mean() < 0.02
    assert read_provenance(shard_path(tmp_path, 1)) == {
        "split": "train", "seed": 5, "turned": 0.0, "assets": False, "first": 2,
    }  # fmt: skip

    first, second = (shard_path(tmp_path, number) for number in (0, 1))
    written, content = first.stat().st_mtime_ns, load_file(second)
    second.unlink()
    keep(*flags, "--num_samples=4")
    assert first.stat().st_mtime_ns == written
    assert all(torch.equal(decode(tensor), decode(content[name])) for name, tensor in load_file(second).items())
    assert "seed differs" in refused(keep, capsys, *flags[:2], "--seed=6", *flags[3:], "--num_samples=4")


def test_impossible_options_of_the_script(tmp_path, keep, capsys):
    assert "--num_samples" in refused(keep, capsys, "--output", str(tmp_path), "--num_samples=0")
    both = ["--pose2sim=.", "--photos=."]
    assert "two sets" in refused(keep, capsys, "--output", str(tmp_path), *both)


def test_photographs_are_cropped_as_in_evaluation(tmp_path, keep):
    random = np.random.default_rng(0)
    (tmp_path / "photos/images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "photos/images/a.png"), random.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    bbox = [20.0, 10.0, 50.0, 70.0]
    keypoints = {name: [*random.uniform(10, 80, 2).tolist(), i % 3] for i, name in enumerate(COCO17)}
    entry = {"image": "a.png", "bbox": bbox, "keypoints": keypoints}
    (tmp_path / "photos/annotations.json").write_text(json.dumps([entry] * 3))
    keep("--output", str(tmp_path / "kept"), "--photos", str(tmp_path / "photos"))
    cache = FeatureCache(tmp_path / "kept")
    assert len(cache) == 3  # in files of two people and one person
    row = cache[2]
    assert [row[name] for name in FLAGS] == [True, False, False]
    labels = row["keypoints_2d"][list(J24_TO_J14)].numpy()
    for name, (x, y, confidence) in zip(J14_NAMES, labels, strict=True):
        given = keypoints.get(name, [0, 0, 0]) if name in LIMBS else [0, 0, 0]
        assert confidence == float(given[2] > 0)
        if confidence:
            np.testing.assert_allclose(Crop.around(bbox).to_image((x, y)), given[:2], atol=1e-3)


def test_main_trains_on_cached_features_and_a_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    """Also with averaged weights and weight decay: all state has to be in the checkpoint."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path, [4])
    flags = ["--data_mode=synthetic", "--backbone=movenet", f"--feature_cache={tmp_path}", "--num_transformers=1"]
    flags += ["--batch_size=2", "--num_workers=0", "--loss_vertices=50", "--keypoint_loss=l1", "--ema=0.9"]
    flags += [
        "--log_root=logs",
        "--weight_decay=0.1",
        "--eval_epochs=0",
        "--save_epochs=1",
        "--graph=adaptive",
        "--joint_prior=kinematic",
    ]

    def train(*more: str):
        program.run(parse_args([*flags, *more]), torch.device("cpu"))

    def load(path: str) -> dict:
        return torch.load(path, map_location="cpu", weights_only=True)

    train("--exp_name=whole", "--num_epochs=2")
    train("--exp_name=parts", "--num_epochs=1")
    train("--exp_name=parts", "--num_epochs=2", "--auto_load=1")
    whole, parts = (load(f"logs/{name}/checkpoints/epoch_001.pt") for name in ("whole", "parts"))
    first = load("logs/parts/checkpoints/epoch_000.pt")
    shutil.rmtree("logs")  # hundreds of megabytes
    assert whole["num_averaged"] == parts["num_averaged"] == 4
    for kind in ("model", "ema"):
        assert all(torch.equal(whole[kind][name], parts[kind][name]) for name in whole[kind])
        assert any(not torch.equal(whole[kind][name], first[kind][name]) for name in whole[kind])
    assert any(not torch.equal(whole["ema"][name], tensor) for name, tensor in whole["model"].items())
    decay = [group["weight_decay"] for group in whole["optimizer"]["param_groups"]]
    assert sorted(decay) == [0, 0.1]
