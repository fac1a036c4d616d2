"""All methods of the benchmark run the same network as the published code."""

import pytest
import torch

from scripts.lib.benchmark import forward
from scripts.lib.benchmark.published import published, random_network
from scripts.lib.benchmark.timing import Settings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    network = random_network("movenet")
    with torch.no_grad():  # initial blocks change the estimate so little that rounding would hide their differences
        for block in network.blocks:
            for layer in (block.to_rot6d, block.to_betas, block.to_cam):
                layer.weight.mul_(10)
    return network


@torch.inference_mode()
def test_published_attention_is_the_same_function(network):
    image = torch.randn(2, 3, 224, 224)
    expected, found = network(image), published(network)(image)
    for name in ("pred_rotmat", "pred_betas", "pred_cam"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)
        assert not torch.equal(found[name], expected[name])


@torch.inference_mode()
def test_every_method_gives_the_same_output(network):
    image = torch.randn(2, 3, 224, 224)
    outputs = {name: run(image) for name, run in forward.methods_of(network, CPU).items()}
    plain = outputs["plain"]
    for name, found in outputs.items():
        tolerance = 0.05 if "bf16" in name else 1e-4
        torch.testing.assert_close(found["pred_rotmat"], plain["pred_rotmat"], atol=tolerance, rtol=0, msg=name)
        stages = 0 if name == "last stage alone" or name.startswith("all") else 3
        assert len(found["aux_outputs"]) == stages


def test_rows_of_a_network(monkeypatch):
    monkeypatch.setattr(forward, "BATCHES", {"cpu": (1,)})
    peaks = {"fp32": 1e11, "bf16": 2e11}
    rows = list(forward.measure_network("movenet", peaks, Settings(1, CPU, 1)))
    assert rows[0].method == "plain" and rows[0].ratio == 1
    assert {row.method for row in rows} >= {"all, fp32", "all, bf16", "attention folded"}
    for row in rows:
        assert row.value > 0 and row.unit == "images/s" and row.case == "movenet, batch 1"
        peak = peaks["bf16" if "bf16" in row.method else "fp32"]
        assert row.notes["share_of_peak"] == pytest.approx(row.notes["gflop_per_sample"] * 1e9 * row.value / peak)
