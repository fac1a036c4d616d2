"""Rows of the batch: equal to recorded ones, complete for incomplete labels, the same in every process."""

import argparse
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import datasets.locate
from datasets.build import build_dataset, build_loader
from datasets.decode import decode_image
from datasets.human_mesh import HumanMeshDataset, format_label, parse_label
from datasets.locate import find_data_root
from datasets.sampler import RowNumber, Shard, ShuffledRows
from datasets.tsv import TSVWriter, write_composite
from utils.crop import IMAGENET_MEAN, IMAGENET_STD, normalize
from utils.errors import UserError
from utils.options.flags import parse_args
from utils.paths import OPEN_BODY, ROOT
from utils.skeleton import J24_FLIP, J24_PELVIS

SHAPES = {
    "image": (3, 224, 224),
    "keypoints_2d": (24, 3),
    "keypoints_3d": (24, 4),
    "pose": (72,),
    "betas": (10,),
    "center": (2,),
    "scale": (),
}
FLAGS = ("has_keypoints_2d", "has_keypoints_3d", "has_smpl")


def picture(seed: int, height: int = 120, width: int = 100) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def full_label(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return format_label(
        center=rng.uniform(40, 60, 2),
        scale=rng.uniform(0.4, 0.6),
        keypoints_2d=np.column_stack((rng.uniform(0, 100, (24, 2)), rng.integers(0, 2, 24))),
        keypoints_3d=np.column_stack((rng.normal(0, 0.5, (24, 3)), np.ones(24))),
        pose=rng.normal(0, 0.5, 72),
        betas=rng.normal(0, 1, 10),
        gender="m",
    )


def write_set(yaml_file: Path, count: int = 6, labels: list[dict] | None = None) -> Path:
    with TSVWriter(yaml_file) as writer:
        for i, label in enumerate(labels or map(full_label, range(count))):
            writer.add(f"person_{i}", jpeg(picture(i)), label, 120, 100)
    return yaml_file


@pytest.fixture(scope="module")
def yaml_file(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("set") / "human3.6m" / "valid.protocol2.yaml")


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key] for key in a
    )


def assert_complete(row: dict):
    """Assert that a row has every key of the batch with the right shape and type, and finite values."""
    assert set(row) == {*SHAPES, *FLAGS, "index", "image_id"}
    for key, shape in SHAPES.items():
        assert row[key].shape == shape and row[key].dtype == torch.float32 and row[key].isfinite().all(), key
    assert all(isinstance(row[key], bool) for key in FLAGS)


SETS = {
    "h36m": ("human3.6m/valid.protocol2.yaml", 7),
    "3dpw": ("3dpw/test_has_gender.yaml", 5),
    "composite": ("Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml", 6),
}


def assert_like_recorded(row: dict, expected, name: str):
    """The reference truncates crop corners and 2D points to whole pixels; the rest is exact."""
    difference = row["image_uint8"].numpy().astype(int) - expected[f"{name}_image"].astype(int)
    assert np.abs(difference).mean() < 5
    points = expected[f"{name}_joints_2d"]
    assert np.abs(row["keypoints_2d"][:, :2].numpy() - points[:, :2]).max() * 112 < 1.6
    np.testing.assert_array_equal(row["keypoints_2d"][:, 2], points[:, 2])
    np.testing.assert_allclose(row["keypoints_3d"], expected[f"{name}_joints_3d"], atol=1e-6)
    np.testing.assert_allclose(row["pose"], expected[f"{name}_pose"], atol=1e-6)
    np.testing.assert_allclose(row["betas"], expected[f"{name}_betas"], atol=1e-6)


@pytest.mark.parametrize(("name", "i"), [(name, i) for name, (_, count) in SETS.items() for i in range(count)])
def test_recorded_rows(reference, name, i):
    expected = np.load(reference / "tsv" / "expected_samples.npz")
    dataset = HumanMeshDataset(reference / "tsv" / SETS[name][0], with_image_uint8=True)
    row = dataset[i]
    assert len(dataset) == len(expected[f"{name}_keys"])
    assert row["image_id"] == expected[f"{name}_keys"][i] and row["index"] == i
    assert [row[flag] for flag in FLAGS] == expected[f"{name}_{i}_flags"].astype(bool).tolist()
    np.testing.assert_allclose(row["image"].mean((1, 2)), expected[f"{name}_{i}_image_norm_mean"], atol=0.05)
    assert_like_recorded(row, expected, f"{name}_{i}")


@pytest.mark.parametrize("i", range(5))
def test_recorded_augmented_rows(reference, i):
    expected = np.load(reference / "tsv" / "expected_samples.npz")
    flip, *gain, rotation, scale = expected["aug_params"][i]
    change = (bool(flip), tuple(gain), rotation, scale)
    dataset = HumanMeshDataset(reference / "tsv" / SETS["h36m"][0], augment=change, with_image_uint8=True)
    assert_like_recorded(dataset[i], expected, f"aug_{i}")


def test_2d_labels_have_no_bias(reference):
    """The reference rounds points down, by half a pixel on average; our points have no such bias."""
    expected = np.load(reference / "tsv" / "expected_samples.npz")
    differences = []
    for name, (file, count) in SETS.items():
        dataset = HumanMeshDataset(reference / "tsv" / file)
        for i in range(count):
            inside = (dataset[i]["keypoints_2d"][:, :2].abs() < 1).all(1)
            moved = dataset[i]["keypoints_2d"][:, :2].numpy() - expected[f"{name}_{i}_joints_2d"][:, :2]
            differences.append(112 * moved[inside.numpy()])
    differences = np.concatenate(differences)
    assert np.abs(differences).max() < 0.501 and np.abs(differences.mean(0)).max() < 0.05


def test_rows_are_complete(yaml_file):
    dataset = HumanMeshDataset(yaml_file)
    for i in range(len(dataset)):
        row = dataset[i]
        assert_complete(row)
        assert row["image_id"] == f"person_{i}" and row["index"] == i
        assert [row[flag] for flag in FLAGS] == [True] * 3
        assert row["keypoints_3d"][J24_PELVIS, :3].abs().max() == 0


def test_image_and_label_agree(tmp_path):
    """A dot drawn at a keypoint is at that keypoint in every crop."""
    point = np.array([70.0, 44.0])
    image = np.zeros((120, 100, 3), np.uint8)
    cv2.circle(image, (70, 44), 3, (255, 255, 255), -1, cv2.LINE_AA)
    label = format_label((50, 60), 0.5, np.column_stack((np.tile(point, (24, 1)), np.ones(24))))
    with TSVWriter(tmp_path / "a.yaml") as writer:
        writer.add("a", cv2.imencode(".png", image)[1].tobytes(), label, 120, 100)
    for change in ((False, (1, 1, 1), 0, 1), (True, (1, 1, 1), 30, 1.2), (True, (0.7, 1, 1), -50, 0.8)):
        row = HumanMeshDataset(tmp_path / "a.yaml", augment=change, with_image_uint8=True)[0]
        weight = row["image_uint8"][1].double()
        x = (weight.sum(0) * torch.arange(224)).sum() / weight.sum()
        y = (weight.sum(1) * torch.arange(224)).sum() / weight.sum()
        expected = (row["keypoints_2d"][0, :2] + 1) * 112 - 0.5
        assert torch.stack((x, y)).sub(expected).abs().max() < 0.1
        assert row["scale"] == pytest.approx(0.5 * change[3])


def test_color_order_and_normalisation(tmp_path):
    image = np.zeros((60, 60, 3), np.uint8)
    image[:] = (200, 100, 40)
    with TSVWriter(tmp_path / "a.yaml") as writer:
        writer.add("a", jpeg(image), format_label((30, 30), 0.2), 60, 60)
    gain = (1.2, 0.5, 1.0)
    row = HumanMeshDataset(tmp_path / "a.yaml", augment=(False, gain, 0, 1), with_image_uint8=True)[0]
    assert row["image_uint8"].dtype == torch.uint8 and row["image_uint8"].shape == (3, 224, 224)
    color = row["image_uint8"][:, 112, 112].int()
    assert (color - torch.tensor([240, 50, 40])).abs().max() <= 2
    expected = (torch.tensor([240, 50, 40]) / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert (row["image"][:, 112, 112] - expected).abs().max() < 0.04


def test_normalize_saturates():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    gain = np.array([0.6, 1.0, 1.4])
    expected = (np.minimum(image * gain, 255) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(normalize(image, gain), expected.transpose(2, 0, 1), atol=1e-6)
    assert normalize(image).is_contiguous()


def test_a_grey_image_becomes_rgb():
    image = decode_image(cv2.imencode(".jpg", np.full((20, 30), 77, np.uint8))[1].tobytes())
    assert image.shape == (20, 30, 3) and np.abs(image.astype(int) - 77).max() <= 1


def test_label_round_trip():
    label = full_label(3)
    parsed = parse_label(json.loads(json.dumps(label)))
    np.testing.assert_array_equal(parsed["center"], label["center"])
    assert parsed["scale"] == label["scale"] and label["gender"] == "m"
    np.testing.assert_array_equal(parsed["keypoints_2d"], label["2d_joints"][0])
    keypoints_3d = np.array(label["3d_joints"][0])
    np.testing.assert_allclose(parsed["keypoints_3d"][:, :3], keypoints_3d[:, :3] - keypoints_3d[J24_PELVIS, :3])
    np.testing.assert_array_equal(parsed["keypoints_3d"][:, 3], keypoints_3d[:, 3])
    np.testing.assert_array_equal(parsed["pose"], label["pose"])
    np.testing.assert_array_equal(parsed["betas"], label["betas"])


def without(*names: str) -> dict:
    return {key: value for key, value in full_label(0).items() if key not in names}


@pytest.mark.parametrize(
    ("label", "flags", "zeros"),
    [
        (without("3d_joints", "has_3d_joints"), (True, False, True), ("keypoints_3d",)),
        (without("3d_joints"), (True, False, True), ("keypoints_3d",)),
        (without("2d_joints"), (False, True, True), ("keypoints_2d",)),
        (without("pose", "betas", "has_smpl"), (True, True, False), ("pose", "betas")),
        (without("betas"), (True, True, False), ("betas",)),
        (without("has_2d_joints", "has_3d_joints", "has_smpl", "gender"), (True, True, True), ()),
        ({**full_label(0), "3d_joints": None, "pose": None}, (True, False, False), ("keypoints_3d", "pose")),
        ({**full_label(0), "has_3d_joints": 0, "3d_joints": [np.nan] * 96}, (True, False, True), ("keypoints_3d",)),
        ({**full_label(0), "has_smpl": False, "pose": [], "betas": []}, (True, True, False), ("pose", "betas")),
        ({**full_label(0), "has_smpl": [0], "has_2d_joints": [1.0]}, (True, True, False), ()),
        (format_label((50, 60), 0.5), (False, False, False), ("keypoints_2d", "keypoints_3d", "pose", "betas")),
        ({"center": [50, 60], "scale": 0.5}, (False, False, False), ("keypoints_2d", "keypoints_3d", "pose", "betas")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("augment", [False, (True, (1.0, 1.0, 1.0), 20.0, 1.1)])
def test_absent_labels_are_zeros_with_their_flag_off(tmp_path, label, flags, zeros, augment):
    row = HumanMeshDataset(write_set(tmp_path / "a.yaml", labels=[label]), augment=augment)[0]
    assert_complete(row)
    assert tuple(row[flag] for flag in FLAGS) == flags
    assert {key for key in ("keypoints_2d", "keypoints_3d", "pose", "betas") if not row[key].any()} == set(zeros)


def test_values_are_kept_if_only_their_flag_is_off():
    label = {**full_label(1), "has_smpl": 0}
    parsed = parse_label(label)
    assert not parsed["has_smpl"]
    np.testing.assert_array_equal(parsed["pose"], label["pose"])


def test_nestings_of_the_same_label():
    label = full_label(2)
    other = {
        **label,
        "center": [label["center"]],
        "scale": [label["scale"]],
        "2d_joints": label["2d_joints"][0],
        "3d_joints": label["3d_joints"][0],
        "pose": np.reshape(label["pose"], (24, 3)).tolist(),
        "betas": [label["betas"]],
    }
    expected, parsed = parse_label(label), parse_label(other)
    for key in expected:
        np.testing.assert_array_equal(parsed[key], expected[key])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"center": None}, "'center'"),
        ({"scale": None}, "'scale'"),
        ({"scale": 0}, "'scale' from"),
        ({"scale": -1}, "'scale' from"),
        ({"scale": float("inf")}, "'scale' has 1 numbers"),
        ({"center": [1]}, "'center' has 1 numbers, 2"),
        ({"pose": [0.0] * 71}, "'pose' has 71 numbers, 72"),
        ({"pose": ["a"] * 72}, "'pose'"),
        ({"pose": [float("nan")] * 72}, "'pose' has 72 numbers, 72 finite"),
        ({"betas": {"a": 1}}, "'betas'"),
        ({"2d_joints": [[[1, 2, 1]] * 23]}, "'2d_joints' has 69 numbers, 72"),
        ({"3d_joints": [[[1, 2, 3]] * 24]}, "'3d_joints' has 72 numbers, 96"),
        ({"has_smpl": "yes"}, "'has_smpl' is neither"),
    ],
)
def test_unusable_labels_name_file_row_key_and_remedy(tmp_path, change, words):
    labels = [full_label(0), {**full_label(1), **change}]
    dataset = HumanMeshDataset(write_set(tmp_path / "a.yaml", labels=labels))
    assert_complete(dataset[0])
    with pytest.raises(UserError) as caught:
        dataset[1]
    message = str(caught.value)
    assert words in message and f"{tmp_path}/a.label.tsv row 1 (person_1)" in message
    assert ";" in message and "\n" not in message


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "cut short"),
        (lambda data: data[:-2], "cut short"),
        (lambda data: b"", "not an image"),
        (lambda data: b"hello", "not an image"),
        (lambda data: data[:2] + b"garbage" + data[-2:], "not an image"),
    ],
)
def test_unusable_images_name_file_row_key_and_remedy(tmp_path, damage, words):
    with TSVWriter(tmp_path / "a.yaml") as writer:
        writer.add("person_0", damage(jpeg(picture(0))), full_label(0), 120, 100)
    with pytest.raises(UserError, match=words) as caught:
        HumanMeshDataset(tmp_path / "a.yaml")[0]
    assert f"{tmp_path}/a.img.tsv row 0 (person_0)" in str(caught.value)


def test_an_image_with_bytes_behind_its_end_is_fine():
    assert decode_image(jpeg(picture(0)) + b"\0" * 100).shape == (120, 100, 3)


def test_augmentation_depends_on_seed_epoch_and_row_alone(yaml_file):
    dataset = HumanMeshDataset(yaml_file, augment=True, seed=5)
    first = dataset[2]
    assert equal(first, dataset[2]) and equal(first, HumanMeshDataset(yaml_file, augment=True, seed=5)[2])
    assert equal(first, dataset[RowNumber(2, epoch=0)])
    others = (dataset[RowNumber(2, epoch=1)], HumanMeshDataset(yaml_file, augment=True, seed=6)[2], dataset[3])
    assert not any(torch.equal(first["image"], other["image"]) for other in others)


def test_a_flip_mirrors_everything(yaml_file):
    plain = HumanMeshDataset(yaml_file)[1]
    flipped = HumanMeshDataset(yaml_file, augment=(True, (1, 1, 1), 0, 1))[1]
    torch.testing.assert_close(flipped["image"], plain["image"].flip(2), atol=0.15, rtol=0)
    permutation = list(J24_FLIP)
    mirrored = plain["keypoints_2d"][permutation] * torch.tensor([-1, 1, 1])
    torch.testing.assert_close(flipped["keypoints_2d"], mirrored)
    mirrored = plain["keypoints_3d"][permutation] * torch.tensor([-1, 1, 1, 1])
    torch.testing.assert_close(flipped["keypoints_3d"], mirrored)


def collect(loader) -> dict[int, dict]:
    """All rows of one pass, by row number."""
    rows = {}
    for batch in loader:
        for i, index in enumerate(batch["index"].tolist()):
            assert index not in rows
            rows[index] = {key: values[i] for key, values in batch.items()}
    return rows


def test_batches(yaml_file):
    batch = next(iter(build_loader(HumanMeshDataset(yaml_file), batch_size=4, num_workers=0, train=False)))
    assert set(batch) == {*SHAPES, *FLAGS, "index", "image_id"}
    for key, shape in SHAPES.items():
        assert batch[key].shape == (4, *shape) and batch[key].dtype == torch.float32
    assert all(batch[flag].dtype == torch.bool and batch[flag].shape == (4,) for flag in FLAGS)
    assert batch["index"].tolist() == [0, 1, 2, 3]
    assert batch["image_id"] == [f"person_{i}" for i in range(4)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_evaluation_loads_each_row_exactly_once(yaml_file, world_size):
    dataset = HumanMeshDataset(yaml_file)
    loaders = [
        build_loader(dataset, batch_size=4, num_workers=0, train=False, shard=Shard(0, rank, world_size))
        for rank in range(world_size)
    ]
    shards = [[i for batch in loader for i in batch["index"].tolist()] for loader in loaders]
    assert shards == [list(range(rank, 6, world_size)) for rank in range(world_size)]


def test_workers_change_nothing(yaml_file):
    """Zero and two persistent workers load the same augmented rows in every epoch."""
    dataset = HumanMeshDataset(yaml_file, augment=True, seed=1)
    loaders = [
        build_loader(dataset, batch_size=3, num_workers=workers, train=True, shard=Shard(1)) for workers in (0, 2)
    ]
    previous = None
    for epoch in range(3):
        passes = []
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
            passes.append(collect(loader))
        assert list(passes[0]) == list(passes[1])
        assert all(equal(passes[0][i], passes[1][i]) for i in passes[0])
        assert previous is None or not torch.equal(previous[0]["image"], passes[0][0]["image"])
        previous = passes[0]


def test_processes_change_no_row(yaml_file):
    dataset = HumanMeshDataset(yaml_file, augment=True, seed=1)
    alone = collect(build_loader(dataset, batch_size=3, num_workers=0, train=True, shard=Shard(1)))
    shared = {}
    for rank in range(2):
        loader = build_loader(dataset, batch_size=3, num_workers=0, train=True, shard=Shard(1, rank, 2))
        shared |= collect(loader)
    assert alone.keys() == shared.keys()
    assert all(equal(alone[i], shared[i]) for i in alone)


@pytest.mark.parametrize(
    ("rows", "batch_size", "world_size"), [(103, 10, 4), (40, 10, 4), (7, 3, 2), (7, 100, 2), (3, 8, 8)]
)
def test_training_shards(rows, batch_size, world_size):
    """All processes have equally many batches; no row of a large set twice, no row of a small set left out."""
    samplers = [ShuffledRows(rows, batch_size, Shard(0, rank, world_size)) for rank in range(world_size)]
    shards = [list(sampler) for sampler in samplers]
    assert len({len(shard) for shard in shards}) == 1 and len(shards[0]) == len(samplers[0])
    drawn = [int(row) for shard in shards for row in shard]
    if rows // world_size >= batch_size:
        assert len(set(drawn)) == len(drawn)
    else:
        assert set(drawn) == set(range(rows))
    loaders = [
        build_loader(range(rows), batch_size=batch_size, num_workers=0, train=True, shard=Shard(0, rank, world_size))
        for rank in range(world_size)
    ]
    batches = [[len(batch) for batch in loader] for loader in loaders]
    assert all(sizes == batches[0] and sizes for sizes in batches)
    assert len(batches[0]) == 1 or set(batches[0]) == {batch_size}


def test_every_epoch_has_another_order():
    sampler = ShuffledRows(50, 10, Shard(3))
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(50)) and {row.epoch for row in orders[-1]} == {epoch}
    assert orders[0] == orders[2] != orders[1]
    assert list(ShuffledRows(50, 10, Shard(4))) != orders[0]


def test_loading_does_not_use_the_global_generators(yaml_file):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(build_loader(HumanMeshDataset(yaml_file, augment=True), batch_size=2, num_workers=1, train=True))
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


def test_an_error_in_a_worker_is_one_line(tmp_path):
    write_set(tmp_path / "a.yaml", labels=[{**full_label(0), "pose": [1]}])
    code = (
        "import sys\n"
        "from datasets.build import build_loader\n"
        "from datasets.human_mesh import HumanMeshDataset\n"
        "from utils.errors import exit_on_user_error\n"
        "loader = build_loader(HumanMeshDataset(sys.argv[1]), batch_size=1, num_workers=1, train=False)\n"
        "exit_on_user_error(lambda: list(loader))()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.yaml")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {tmp_path}/a.label.tsv row 0 (person_0): 'pose' has 1 numbers")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An empty folder in place of `datasets/`, and no SMPL_POSE_DATA."""
    monkeypatch.delenv("SMPL_POSE_DATA", raising=False)
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setattr(datasets.locate, "_HERE", folder)
    return folder


def arguments(**more) -> argparse.Namespace:
    """Options of main.py: its defaults with data_mode h36m, and the given ones."""
    return argparse.Namespace(**{**vars(parse_args(["--data_mode=h36m"])), **more})


def test_data_root_order(package, tmp_path, monkeypatch):
    """The flag, then the environment variable, then `datasets/` and the folders in it."""
    for name in ("flag", "environment", "storage"):
        (tmp_path / name / "3dpw").mkdir(parents=True)
    with pytest.raises(UserError, match="data set not found"):
        find_data_root()
    (package / "storage").symlink_to(tmp_path / "storage")  # as made by `ln -s PATH_to_STORE_DATASET ./datasets`
    assert find_data_root() == package / "storage"
    (package / "human3.6m").mkdir()
    assert find_data_root() == package
    monkeypatch.setenv("SMPL_POSE_DATA", str(tmp_path / "environment"))
    assert find_data_root() == tmp_path / "environment"
    assert find_data_root(str(tmp_path / "flag")) == tmp_path / "flag"


def test_each_data_set_is_found_where_it_is(package, tmp_path):
    for storage, file in (("a", "human3.6m/valid.protocol2.yaml"), ("b", "3dpw/test_has_gender.yaml")):
        write_set(tmp_path / storage / file, 2)
        (package / storage).symlink_to(tmp_path / storage)
    assert len(build_dataset(arguments(), "val")) == 2
    assert len(build_dataset(arguments(data_mode="3dpw"), "val")) == 2


def test_documented_link(package, tmp_path):
    """The documented `ln -s PATH_to_STORE_DATASET ./datasets`, which makes a link inside the existing folder."""
    write_set(tmp_path / "store" / "3dpw" / "train.yaml", 3)
    subprocess.run(["ln", "-s", str(tmp_path / "store"), "./datasets"], cwd=package.parent, check=True)
    assert len(build_dataset(arguments(data_mode="3dpw"), "train")) == 3


def test_modes_and_splits(package, tmp_path, monkeypatch):
    monkeypatch.setenv("SMPL_POSE_DATA", str(tmp_path))
    h36m = write_set(tmp_path / "human3.6m" / "valid.protocol2.yaml", 3)
    write_composite(tmp_path / "Tax-H36m-coco40k-Muco-UP-Mpii" / "train.yaml", [h36m], [[0, 1], [0, 2]])
    write_set(tmp_path / "pose2sim" / "test.yaml", 4)
    train, val = build_dataset(arguments(seed=7), "train"), build_dataset(arguments(), "val")
    assert (len(train), train.augment, train.seed) == (2, True, 7)
    assert (len(val), val.augment) == (3, False)
    assert len(build_dataset(arguments(data_mode="pose2sim"), "val")) == 4
    with pytest.raises(UserError, match="pose2sim has no train set"):
        build_dataset(arguments(data_mode="pose2sim"), "train")


def test_synthetic_mode(monkeypatch):
    """--seed changes the training people, not those of the evaluation."""
    stand_in = types.ModuleType("datasets.synthetic.dataset")
    stand_in.SyntheticDataset = lambda **options: options
    monkeypatch.setitem(sys.modules, "datasets.synthetic.dataset", stand_in)
    train, val = (
        build_dataset(arguments(data_mode="synthetic", seed=7, num_samples=50), split) for split in ("train", "val")
    )
    assert train["body_file"] == val["body_file"] == OPEN_BODY
    assert (train["split"], train["seed"], train["num_samples"]) == ("train", 7, 50)
    assert (val["split"], val["seed"]) == ("val", 0)  # a model is not chosen on the test people
    test = build_dataset(arguments(data_mode="synthetic", seed=7, eval_only=True), "val")
    assert (test["split"], test["seed"]) == ("test", 0)


@pytest.mark.parametrize("how", ["flag", "environment", "package"])
def test_the_message_of_a_missing_data_set(package, tmp_path, monkeypatch, how):
    place = tmp_path / how
    place.mkdir()
    if how == "environment":
        monkeypatch.setenv("SMPL_POSE_DATA", str(place))
    with pytest.raises(UserError) as caught:
        build_dataset(arguments(data_mode="3dpw", data_root=str(place) if how == "flag" else None), "val")
    message = str(caught.value)
    assert "3dpw/test_has_gender.yaml" in message and str(package if how == "package" else place) in message
    for way in ("docs/data.md", "make_synthetic_data.py", "--data_root", "SMPL_POSE_DATA"):
        assert way in message
    assert "\n" not in message


def test_importing_reads_no_data():
    code = "import datasets.build, sys; assert not any(name.startswith('datasets.synthetic') for name in sys.modules)"
    environment = {**os.environ, "SMPL_POSE_DATA": "/nonexistent"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=120)
