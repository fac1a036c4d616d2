"""The configuration in a checkpoint: a valid one builds the same network again, all others are refused."""

import json
import re

import numpy as np
import pytest
import torch
from easydict import EasyDict
from hypothesis import given
from hypothesis import strategies as st

from models.build import build_model, config_from_args
from models.predictor import load_network
from scripts.convert_smpler_checkpoint import describe
from utils.checkpoint import load_checkpoint, save_checkpoint, write_checkpoint
from utils.errors import UserError
from utils.network_config import (
    BACKBONES,
    FIELDS,
    GRAPH_ENTRIES,
    GRAPHS,
    HRNET_TYPES,
    JOINT_PRIORS,
    MAX_TRANSFORMERS,
    MODEL_TYPES,
    TRAIN_BACKBONES,
    check_config,
    complete_config,
)
from utils.options import parse_args
from utils.paths import DEFAULT_CHECKPOINT, OPEN_BODY

# of another type, nonfinite, out of range, or too large to be built
IMPOSSIBLE = {
    "model_type": ["SMPL", "", "smpl-pose", 1, None, ["SMPL-Pose"], b"SMPL-Pose"],
    "backbone": ["resnet", None, 0, {"hrnet": 1}, "../hrnet"],
    "hrnet_type": ["w64", 32, ["w32"], True],
    "train_backbone": ["all", None, "", True, ["upper"]],
    "align_corners": [0, 1, None, "true", [True], 1.0],
    "num_transformers": [
        1_000_000_000,
        MAX_TRANSFORMERS + 1,
        -1,
        "3",
        2.5,
        3.0,
        [3],
        float("nan"),
        None,
        True,
        10**400,
    ],
    "graph": ["full", None, float("inf"), 1],
    "joint_prior": ["gpt", None, {}],
    "graph_entries": ["bias", ["bias", "bias"], ["bias", 3], [["bias"]], None, ["bias"] * 10_000, {"bias": 1}],
    "prior_seed": [-1, 2**63, 0.5, "0", False, float("nan")],
    "body": ["", "x" * 256, 3, None],
    "num_vertices": [0, -5, 10**9, 12493.0, "12493"],
    "left_out": ["head", None, True],
}
IMPOSSIBLE_PAIRS = [(key, value) for key, values in IMPOSSIBLE.items() for value in values]

CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "model_type": st.sampled_from(MODEL_TYPES),
        "backbone": st.sampled_from(BACKBONES),
        "hrnet_type": st.sampled_from([*HRNET_TYPES, None]),
        "train_backbone": st.sampled_from(TRAIN_BACKBONES),
        "align_corners": st.booleans(),
        "num_transformers": st.integers(0, MAX_TRANSFORMERS),
        "graph": st.sampled_from(GRAPHS),
        "joint_prior": st.sampled_from(JOINT_PRIORS),
        "graph_entries": st.lists(st.sampled_from(GRAPH_ENTRIES), unique=True),
        "prior_seed": st.integers(0, 2**63 - 1),
        "body": st.text(min_size=1, max_size=255),
        "num_vertices": st.integers(1, 10_000_000),
        "left_out": st.just("backbone"),
    },
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(GRAPH_ENTRIES),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=5,
)


def test_every_field_is_tested():
    assert IMPOSSIBLE.keys() == FIELDS.keys()


@pytest.mark.parametrize(("key", "value"), IMPOSSIBLE_PAIRS, ids=lambda part: repr(part)[:20])
def test_an_impossible_value_is_refused_by_name_and_range(key, value):
    with pytest.raises(UserError) as error:
        check_config({key: value}, "FILE")
    message = str(error.value)
    assert message.startswith(f"FILE: {key} is ") and FIELDS[key].range in message
    assert len(message) < 300 and "\n" not in message


@pytest.mark.parametrize("value", [torch.zeros(3), torch.tensor(3), np.int64(3), np.zeros(2)], ids=lambda v: repr(v))
@pytest.mark.parametrize("key", FIELDS)
def test_a_tensor_or_an_array_is_no_value(key, value):
    with pytest.raises(UserError, match=f"FILE: {key} is "):
        check_config({key: value}, "FILE")


@given(st.sampled_from([*FIELDS]), VALUES)
def test_any_value_is_either_refused_or_in_range(key, value):
    try:
        config = complete_config({key: value}, "FILE")
    except UserError as error:
        assert f"FILE: {key} is " in str(error) and FIELDS[key].range in str(error)
    else:
        assert config[key] == value
        assert json.loads(json.dumps(config)) == config  # as a safetensors file stores it


@given(VALUES)
def test_an_unknown_key_is_refused_by_name(value):
    with pytest.raises(UserError, match=r"FILE: .*unknown key 'num_layers', known are model_type, "):
        check_config({"graph": "none", "num_layers": value}, "FILE")
    with pytest.raises(UserError, match=r"FILE: .*unknown key 3"):
        check_config({3: value}, "FILE")


@given(CONFIGS)
def test_a_valid_configuration_is_completed_and_nothing_in_it_changes(config):
    complete = complete_config(config, "FILE")
    assert complete.keys() == FIELDS.keys()
    assert {key: complete[key] for key in config} == config
    assert all(getattr(complete, key) == value for key, value in complete.items())


@given(
    st.sampled_from(MODEL_TYPES),
    st.sampled_from(BACKBONES),
    st.sampled_from(HRNET_TYPES),
    st.integers(1, MAX_TRANSFORMERS),
    st.sampled_from(GRAPHS),
    st.sampled_from(JOINT_PRIORS[:-1]),
    st.lists(st.sampled_from(GRAPH_ENTRIES), min_size=1),
)
def test_every_command_line_has_a_valid_configuration(model_type, backbone, hrnet, number, graph, prior, entries):
    words = [f"--model_type={model_type}", f"--backbone={backbone}", f"--hrnet_type={hrnet}"]
    words += [f"--num_transformers={number}", f"--graph={graph}", f"--joint_prior={prior}", "--graph_entries", *entries]
    config = config_from_args(parse_args(words))
    check_config(config, "FILE")
    assert (config.model_type, config.backbone) == (model_type, backbone)


def test_the_command_line_has_the_same_range():
    with pytest.raises(UserError, match=rf"num_transformers is {10**9} .* from 0 to {MAX_TRANSFORMERS}"):
        config_from_args(parse_args([f"--num_transformers={10**9}"]))


@pytest.fixture(scope="module")
def small():
    """A small network and its configuration."""
    args = parse_args(["--backbone=movenet", "--num_transformers=1", f"--smpl_path={OPEN_BODY}"])
    network, _ = build_model(args)
    return network, config_from_args(args, network.body_model)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("change", [{"num_transformers": 10**9}, {"num_transformers": [3]}, {"layers": 2}], ids=str)
def test_a_changed_checkpoint_is_refused_before_anything_is_built(tmp_path, monkeypatch, small, suffix, change):
    network, config = small
    path = tmp_path / f"changed{suffix}"
    save_checkpoint(path, network, config | change)
    monkeypatch.setattr("models.predictor.build_network", lambda *_, **__: pytest.fail("a network was built"))
    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: .*{next(iter(change))}"):
        load_network(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_network_of_a_checkpoint_is_the_saved_one(tmp_path, small, suffix):
    network, config = small
    save_checkpoint(tmp_path / f"good{suffix}", network, config)
    assert type(load_checkpoint(tmp_path / f"good{suffix}")["config"]) is dict
    again = load_network(tmp_path / f"good{suffix}").state_dict()
    assert again.keys() == network.state_dict().keys()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())


def test_a_configuration_alone_builds_the_network(small):
    network, config = small
    again, criterion = build_model(config)
    assert isinstance(config, EasyDict)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes
    assert criterion.weights == {"vert": 100, "theta": 50, "2dj": 100, "3dj": 1000}


def test_the_shipped_checkpoint_and_converted_ones_are_valid():
    config = complete_config(load_checkpoint(DEFAULT_CHECKPOINT)["config"], DEFAULT_CHECKPOINT)
    assert (config.backbone, config.num_transformers, config.left_out) == ("movenet", 3, "backbone")
    for width, name in ((32, "w32"), (48, "w48")):
        state = {"backbone.stage2.0.branches.0.0.bn1.bias": torch.zeros(width), "regressor.fc1.weight": torch.zeros(1)}
        state |= {f"blocks.{i}.embed.bias": torch.zeros(1) for i in range(3)}
        config = complete_config(describe(state, 6890), "converted")
        assert (config.hrnet_type, config.num_transformers, config.graph) == (name, 3, "none")


def test_a_converted_checkpoint_without_graph_entries_loads(tmp_path, small):
    args = parse_args(["--backbone=movenet", "--num_transformers=1", "--graph=none", f"--smpl_path={OPEN_BODY}"])
    network, _ = build_model(args)
    config = config_from_args(args, network.body_model)
    for key in ("graph_entries", "prior_seed"):
        del config[key]
    write_checkpoint(tmp_path / "old.pt", {"model": network.state_dict(), "config": config})
    again = load_network(tmp_path / "old.pt")
    assert torch.equal(again.regressor.fc1.weight, network.regressor.fc1.weight)
