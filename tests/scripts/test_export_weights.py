"""Exported weights: the average with the start, 8 bits, and the estimates of the network with them."""

import sys

import pytest
import torch

from models.build import build_model, config_from_args
from models.predictor import load_network
from scripts import export_weights
from utils.checkpoint import load_checkpoint, save_checkpoint, write_checkpoint
from utils.options import parse_args
from utils.paths import OPEN_BODY

FLAGS = ["--data_mode=synthetic", "--backbone=movenet", "--num_transformers=1", f"--smpl_path={OPEN_BODY}"]


@pytest.fixture
def files(tmp_path):
    """A checkpoint of a frozen backbone, and one fine-tuned from it with upper stages that have changed."""
    torch.manual_seed(0)
    for name, flags in (("start", []), ("tuned", ["--train_backbone=upper"])):
        args = parse_args([*FLAGS, *flags])
        model, _ = build_model(args)
        if name == "tuned":
            with torch.no_grad():
                for parameter in model.backbone.upper.parameters():
                    parameter.mul_(1.02)
        save_checkpoint(tmp_path / f"{name}.pt", model, config_from_args(args, model.body_model))
    return tmp_path


def export(folder, monkeypatch, *flags: str) -> dict:
    output = folder / "out.safetensors"
    monkeypatch.setattr(sys, "argv", ["export_weights.py", f"--input={folder}/tuned.pt", f"--output={output}", *flags])
    export_weights.main()
    return load_checkpoint(output)


def test_the_average_lies_between_start_and_end(files, monkeypatch):
    start, tuned = (load_checkpoint(files / f"{name}.pt")["model"] for name in ("start", "tuned"))
    exported = export(files, monkeypatch, f"--start={files}/start.pt", "--share=0.7")
    assert exported["config"]["left_out"] == "backbone"
    assert not any(key.startswith("backbone.movenet.") for key in exported["model"])
    head, upper = "blocks.0.head.weight", "backbone.upper.top.weight"
    expected = {head: torch.lerp(start[head], tuned[head], 0.7)}
    # the start has no upper stages: they are MoveNet's own
    expected[upper] = torch.lerp(start["backbone.movenet.trunk.top.weight"], tuned[upper], 0.7)
    for key, value in expected.items():
        torch.testing.assert_close(exported["model"][key].float(), value, atol=1e-4, rtol=1e-3)


def test_eight_bits_halve_the_file_and_nearly_keep_the_estimate(files, monkeypatch):
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    estimates, sizes = [], []
    for flags in ([], ["--eight_bits"]):
        export(files, monkeypatch, *flags)
        sizes.append((files / "out.safetensors").stat().st_size)
        with torch.inference_mode():
            estimates.append(load_network(files / "out.safetensors", OPEN_BODY)(image)["pred_joints"])
    assert sizes[1] < 0.6 * sizes[0]
    # random weights amplify small changes
    assert (estimates[1] - estimates[0]).norm(dim=-1).mean() < 0.02


def test_inputs_are_not_overwritten_and_damage_is_not_exported(files, monkeypatch, capsys):
    state = load_checkpoint(files / "tuned.pt")
    for name in ("tuned", "start"):
        link = files / "out.safetensors"
        link.unlink(missing_ok=True), link.symlink_to(files / f"{name}.pt")
        with pytest.raises(SystemExit):
            export(files, monkeypatch, f"--start={files}/start.pt")
        assert "choose another name" in capsys.readouterr().err
        link.unlink()
    state["model"]["blocks.0.head.weight"][0, 0] = torch.nan
    write_checkpoint(files / "tuned.pt", state)
    with pytest.raises(SystemExit):
        export(files, monkeypatch, "--eight_bits")
    assert "not finite" in capsys.readouterr().err and not (files / "out.safetensors").exists()
