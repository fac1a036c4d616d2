"""HRNet pose weights in every form in which they are published."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from models.backbones.hrnet import build_hrnet, find_hrnet_weights, read_hrnet_weights
from utils.errors import UserError


@pytest.fixture(scope="module")
def trunk():
    """A w18 without what pose networks lack, and with random statistics."""
    torch.manual_seed(4)
    network = timm.create_model("hrnet_w18", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    state = network.state_dict()
    absent = tuple(f"stage4.2.fuse_layers.{i}." for i in (1, 2, 3))
    state = {
        key: torch.rand_like(value.float()).to(value) for key, value in state.items() if not key.startswith(absent)
    }
    return state


def head(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}final_layer.weight": torch.zeros(17, 18, 1, 1), f"{prefix}final_layer.bias": torch.zeros(17)}


def prefixed(state: dict, prefix: str) -> OrderedDict:
    return OrderedDict((prefix + key, value) for key, value in state.items())


FORMS = {
    "official": lambda state: state | head(""),
    "DataParallel": lambda state: prefixed(state | head(""), "module."),
    "compiled": lambda state: {"model": prefixed(state | head(""), "_orig_mod.")},
    "compiled in parallel": lambda state: prefixed(state, "module._orig_mod."),
    "wrapper with metadata": lambda state: {
        "family": "hrnet", "task": "pose", "names": {0: "person"}, "model": state | head(""), "version": "1.0",
    },
    "MMPose 1": lambda state: {
        "meta": {
            "dataset_meta": {"sigmas": np.linspace(0, 1, 17), "weights": np.ones(17, np.float32), "n": np.float64(3)},
            "mmpose_version": "1.0",
        },
        "state_dict": prefixed(state, "backbone.") | head("head."),
    },
    "MMPose 0": lambda state: {
        "meta": {"epoch": 210}, "state_dict": prefixed(state, "backbone.") | head("keypoint_head."),
    },
    "Lightning": lambda state: {"epoch": 3, "state_dict": prefixed(state, "model.backbone.") | head("model.head.")},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_published_form_loads(trunk, tmp_path, form):
    torch.save(FORMS[form](trunk), tmp_path / "weights.pth")
    loaded = build_hrnet("w18", tmp_path / "weights.pth").state_dict()
    for key, value in trunk.items():
        assert torch.equal(loaded[key], value), key


def test_old_torch_files_and_safetensors_load(trunk, tmp_path):
    torch.save(trunk | head(""), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    extra = {"incre_modules.0.weight": torch.zeros(2), "classifier.bias": torch.zeros(3)}
    safetensors.torch.save_file(trunk | extra, tmp_path / "model.safetensors")
    for name in ("old.pth", "model.safetensors"):
        assert torch.equal(build_hrnet("w18", tmp_path / name).state_dict()["conv1.weight"], trunk["conv1.weight"])


def test_counters_of_batch_norm_may_be_absent(trunk, tmp_path):
    torch.save({k: v for k, v in trunk.items() if not k.endswith("num_batches_tracked")}, tmp_path / "weights.pth")
    build_hrnet("w18", tmp_path / "weights.pth")


def test_another_width_and_other_networks_are_refused(trunk, tmp_path):
    torch.save({"state_dict": prefixed(trunk, "backbone.")}, tmp_path / "w18.pth")
    with pytest.raises(UserError, match=r"of another shape.*same width"):
        build_hrnet("w32", tmp_path / "w18.pth")
    torch.save({"state_dict": {"fc.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not an HRNet checkpoint"):
        build_hrnet("w18", tmp_path / "other.pth")


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_code_is_refused(trunk, tmp_path, capsys):
    torch.save({"state_dict": trunk, "meta": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(UserError):
            read_hrnet_weights(tmp_path / name)
    assert "executed" not in capsys.readouterr().out


def test_the_flag_takes_a_file(tmp_path):
    assert find_hrnet_weights(str(tmp_path / "w.pth"), "w18") == tmp_path / "w.pth"
    assert find_hrnet_weights("none", "w18") is None
