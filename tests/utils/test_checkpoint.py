import argparse
import os
import pickle

import pytest
import torch
from torch import nn

from utils.checkpoint import (
    check_blocks,
    find_checkpoint,
    load_checkpoint,
    load_model_weights,
    read_checkpoint,
    save_checkpoint,
    to_eight_bits,
    write_checkpoint,
)
from utils.errors import UserError

CONFIG = {
    "model_type": "SMPL-Pose",
    "backbone": "hrnet",
    "hrnet_type": "w32",
    "num_transformers": 3,
    "graph": "none",
    "joint_prior": "none",
    "body": "open_body",
    "num_vertices": 100,
}


class Network(nn.Module):
    def __init__(self, transformer=True, graph=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.regressor = nn.Linear(4, 2)
        if transformer:
            self.blocks = nn.ModuleList([nn.Linear(2, 2)])
        if graph:
            self.blocks[0].units = nn.ModuleList([nn.ModuleDict({"graph": nn.Linear(2, 2)})])


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_round_trip(tmp_path, suffix):
    network, copy = Network(), Network()
    path = tmp_path / f"weights{suffix}"
    save_checkpoint(path, network, CONFIG)
    loaded = load_model_weights(copy, path, CONFIG)
    assert same_weights(network, copy)
    assert loaded["config"] == CONFIG and loaded["new"] == []
    assert os.listdir(tmp_path) == [path.name]  # no temporary file stays


@pytest.mark.parametrize("suffix", [".pt", ".SAFETENSORS"])
@pytest.mark.parametrize("wrap", ["module.{}", "_orig_mod.{}", "_orig_mod.module.{}", "module._orig_mod.{}"])
def test_prefixes_of_wrappers_are_removed(tmp_path, wrap, suffix):
    network, copy = Network(), Network()
    path = tmp_path / f"a{suffix}"
    state = {wrap.format(key): value for key, value in network.state_dict().items()}
    write_checkpoint(path, {"model": state, "config": CONFIG})
    load_model_weights(copy, path, CONFIG)
    assert same_weights(network, copy)


def test_names_of_a_compiled_part_and_of_averages_are_unwrapped(tmp_path):
    network, copy = Network(), Network()
    network.backbone = torch.compile(network.backbone)
    state = nn.DataParallel(network).state_dict()
    assert any("backbone._orig_mod." in key for key in state)
    write_checkpoint(tmp_path / "a.pt", {"model": Network().state_dict(), "ema": state, "config": CONFIG})
    load_model_weights(copy, tmp_path / "a.pt", CONFIG)
    assert torch.equal(copy.regressor.weight, network.regressor.weight)
    state["regressor.weight"] = torch.zeros(2, 4)
    write_checkpoint(tmp_path / "a.pt", {"model": state, "config": CONFIG})
    with pytest.raises(UserError, match="both with and without the prefix"):
        load_checkpoint(tmp_path / "a.pt")


def test_half_precision_weights_load(tmp_path):
    network, copy = Network(), Network()
    content = {"model": {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}}
    write_checkpoint(tmp_path / "half.safetensors", {**content, "config": CONFIG})
    load_model_weights(copy, tmp_path / "half.safetensors", CONFIG)
    torch.testing.assert_close(copy.regressor.weight, network.regressor.weight, rtol=1e-3, atol=1e-3)
    assert copy.regressor.weight.dtype == torch.float32


def test_pattern_means_the_last_match(tmp_path):
    for epoch in (0, 1049, 7):
        (tmp_path / f"epoch_{epoch:03d}.pt").touch()
    assert find_checkpoint(tmp_path / "epoch_***.pt").name == "epoch_1049.pt"
    assert find_checkpoint(tmp_path / "epoch_007.pt").name == "epoch_007.pt"
    with pytest.raises(UserError, match="no checkpoint matches"):
        find_checkpoint(tmp_path / "nothing_*.pt")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    write_checkpoint(path, {"model": {}, "config": CONFIG})
    before = path.read_bytes()

    def fill_the_disk(content, file):
        file.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(UserError, match="cannot write"):
        write_checkpoint(path, {"model": {}, "config": CONFIG})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.pt"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        write_checkpoint(tmp_path / "no" / "a.pt", {"model": {}, "config": CONFIG})


class Command:
    """A pickle of this runs a command when it is loaded without care."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.fixture
def broken_files(tmp_path):
    save_checkpoint(tmp_path / "good.pt", Network(), CONFIG)
    save_checkpoint(tmp_path / "good.safetensors", Network(), CONFIG)
    for name in ("good.pt", "good.safetensors"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"truncated_{name}").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("not a checkpoint at all")
    (tmp_path / "random.pt").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "folder.pt").mkdir()
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save({"model": {"a": 1}, "config": CONFIG}, tmp_path / "no_tensors.pt")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "hrnet.pt")
    torch.save({"model": {}, "args": argparse.Namespace(lr=1)}, tmp_path / "objects.pt")
    torch.save({"model": Command(tmp_path / "ran")}, tmp_path / "command.pt")
    with open(tmp_path / "command_plain.pt", "wb") as file:
        pickle.dump({"model": Command(tmp_path / "ran")}, file, protocol=2)
    return tmp_path


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_other_files_are_refused_in_one_line(broken_files):
    paths = [path for path in broken_files.iterdir() if not path.name.startswith("good")]
    assert len(paths) == 12
    for path in [*paths, broken_files / "missing.pt"]:
        with pytest.raises(UserError) as caught:
            load_checkpoint(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (broken_files / "ran").exists()


def test_smpler_checkpoints_name_the_converter(tmp_path):
    state = {"SMPL_predictor.fc1.weight": torch.zeros(1), "backbone.conv1.weight": torch.zeros(1)}
    for name, content in (
        ("a.pt", {"model": state}),
        ("b.pt", state),
        ("c.pt", {"module." + k: v for k, v in state.items()}),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match=r"scripts/convert_smpler_checkpoint\.py"):
            load_checkpoint(tmp_path / name)
        assert read_checkpoint(tmp_path / name).keys() == content.keys()  # the converter can


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hrnet_type": "w48"}, "--hrnet_type w48"),
        ({"backbone": "movenet"}, "--backbone movenet"),
        ({"graph": "adaptive"}, "--graph adaptive"),
        ({"num_transformers": 2}, "--num_transformers 2"),
        ({"body": "smpl", "num_vertices": 6890}, "--smpl_path"),
    ],
)
def test_other_networks_and_bodies_are_refused(tmp_path, change, words):
    save_checkpoint(tmp_path / "a.pt", Network(), CONFIG | change)
    with pytest.raises(UserError, match=words):
        load_model_weights(Network(), tmp_path / "a.pt", CONFIG)


def test_a_body_of_the_same_size_may_have_another_name(tmp_path):
    save_checkpoint(tmp_path / "a.pt", Network(), CONFIG | {"body": "my_body"})
    load_model_weights(Network(), tmp_path / "a.pt", CONFIG)


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_tensors_that_do_not_fit_are_named(tmp_path, damage):
    state = Network().state_dict()
    if damage == "missing":
        del state["blocks.0.bias"]
    elif damage == "unknown":
        state["blocks.0.more"] = torch.zeros(1)
    else:
        state["blocks.0.bias"] = torch.zeros(5)
    write_checkpoint(tmp_path / "a.pt", {"model": state, "config": CONFIG})
    with pytest.raises(UserError, match=r"1 tensors .*blocks\.0"):
        load_model_weights(Network(), tmp_path / "a.pt", CONFIG)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool])
def test_weights_of_another_type_are_not_converted_silently(tmp_path, dtype):
    state = Network().state_dict()
    state["blocks.0.bias"] = state["blocks.0.bias"].to(dtype)
    write_checkpoint(tmp_path / "a.pt", {"model": state, "config": CONFIG})
    with pytest.raises(UserError, match=r"1 tensors of another type, first blocks\.0\.bias"):
        load_model_weights(Network(), tmp_path / "a.pt", CONFIG)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, suffix):
    network, path = Network(), tmp_path / f"a{suffix}"
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state = Network().state_dict() | {"blocks.0.bias": torch.tensor([0.0, value])}
    write_checkpoint(path, {"model": state, "config": CONFIG})
    with pytest.raises(UserError, match=r"1 tensors have values that are not finite, first blocks\.0\.bias"):
        load_model_weights(network, path, CONFIG)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("averages", [None, [], {"a": 1}])
def test_averages_that_are_none_are_damage(tmp_path, averages):
    write_checkpoint(tmp_path / "a.pt", {"model": Network().state_dict(), "config": CONFIG, "ema": averages})
    with pytest.raises(UserError, match="is damaged: its averages"):
        load_checkpoint(tmp_path / "a.pt")


def test_the_number_of_blocks_is_compared_with_the_weights(tmp_path):
    content = {"model": Network().state_dict(), "config": CONFIG | {"num_transformers": 1}}
    check_blocks(content, "a.pt")
    check_blocks({**content, "config": {}}, "a.pt")
    with pytest.raises(UserError, match=r"num_transformers is 64 .*, the weights have 1 blocks"):
        check_blocks({**content, "config": CONFIG | {"num_transformers": 64}}, "a.pt")


def test_a_backbone_may_start_the_whole_network(tmp_path):
    config = CONFIG | {"model_type": "backbone", "num_transformers": 0}
    start, network = Network(transformer=False), Network()
    save_checkpoint(tmp_path / "a.pt", start, config)
    loaded = load_model_weights(network, tmp_path / "a.pt", CONFIG)
    assert loaded["new"] == ["blocks.0.weight", "blocks.0.bias"]
    assert torch.equal(network.regressor.weight, start.regressor.weight)

    save_checkpoint(tmp_path / "b.pt", network, CONFIG)
    with pytest.raises(UserError, match="--model_type SMPL-Pose"):
        load_model_weights(start, tmp_path / "b.pt", config)


def test_a_graph_may_be_added_to_a_network_without_one(tmp_path):
    start, network = Network(), Network(graph=True)
    save_checkpoint(tmp_path / "a.pt", start, CONFIG)
    loaded = load_model_weights(network, tmp_path / "a.pt", CONFIG | {"graph": "adaptive", "joint_prior": "llm"})
    assert loaded["new"] == ["blocks.0.units.0.graph.weight", "blocks.0.units.0.graph.bias"]
    save_checkpoint(tmp_path / "b.pt", network, CONFIG | {"graph": "adaptive"})
    with pytest.raises(UserError, match="--graph adaptive"):
        load_model_weights(start, tmp_path / "b.pt", CONFIG)


def test_a_backbone_checkpoint_must_have_all_of_the_backbone(tmp_path):
    state = Network(transformer=False).state_dict()
    del state["regressor.bias"]
    write_checkpoint(tmp_path / "a.pt", {"model": state, "config": CONFIG | {"model_type": "backbone"}})
    with pytest.raises(UserError, match=r"1 tensors missing, first regressor\.bias"):
        load_model_weights(Network(), tmp_path / "a.pt", CONFIG)


def test_eight_bits_are_within_half_a_step_of_each_row(tmp_path):
    """Through a file; small tensors, biases and tables stay as they are, and a row of zeros is one."""
    torch.manual_seed(0)
    state = {"a.weight": torch.randn(64, 100) * torch.logspace(-3, 1, 64)[:, None], "a.bias": torch.randn(64)}
    state |= {"b.weight": torch.randn(70, 1, 8, 8), "norm.weight": torch.randn(5000), "table": torch.randn(1, 80, 80)}
    state["a.weight"][3] = 0
    packed = to_eight_bits(state)
    assert {name for name, value in packed.items() if value.dtype == torch.int8} == {"a.weight", "b.weight"}
    path = tmp_path / "small.safetensors"
    write_checkpoint(path, {"model": packed, "config": {}})
    found = read_checkpoint(path)["model"]
    assert found.keys() == state.keys() and path.stat().st_size < 0.7 * sum(4 * v.numel() for v in state.values())
    for name in ("a.weight", "b.weight"):
        step = state[name].abs().flatten(1).amax(1) / 127
        assert ((found[name] - state[name]).abs().flatten(1).amax(1) <= 0.51 * step + 1e-6).all()
    assert all(torch.equal(found[name], state[name]) for name in ("a.bias", "norm.weight", "table"))
    assert found["a.weight"][3].count_nonzero() == 0


@pytest.mark.parametrize(
    "change", [{"a.weight": None}, {"a.weight.scale": None}, {"a.weight.scale": torch.ones(1, 5000).half()}]
)
def test_eight_bits_that_do_not_match_are_refused(tmp_path, change):
    packed = to_eight_bits({"a.weight": torch.randn(64, 100)}) | change
    packed = {name: value for name, value in packed.items() if value is not None}
    path = tmp_path / "damaged.safetensors"
    write_checkpoint(path, {"model": packed, "config": {}})
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(path)
