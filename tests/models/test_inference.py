"""The network prepared for inference is the same function; bfloat16 changes its errors by less than 0.5 mm."""

import copy

import pytest
import torch
from torch import nn

from datasets.build import build_dataset
from models.backbones.hrnet import build_hrnet
from models.build import build_model
from models.inference.fused_conv import FusedConv, fold_batch_norm
from models.inference.hrnet import FastHRNet
from models.inference.prepare import fast_movenet, prepare_for_inference
from models.movenet import MoveNet
from models.predictor import load_predictor
from utils.errors import UserError
from utils.metrics import mpjpe
from utils.options import get_args_parser
from utils.process import choose_precision
from utils.skeleton import J24_TO_J14

NUM_PEOPLE = 100
ESTIMATE = ("pred_rotmat", "pred_betas", "pred_cam", "pred_vertices", "pred_joints", "pred_joints_2d")


def learned(network: nn.Module) -> nn.Module:
    """The network in eval mode with random weights and statistics, so that every part has an effect."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.7, 1.5),
                (module.weight.data, 0.3, 0.6),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.uniform_(low, high, generator=generator)
    return network.eval()


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("hrnet_type", ["w18", "w32", "w48"])
@torch.inference_mode()
def test_fused_hrnet_equals_timms(hrnet_type):
    hrnet = learned(build_hrnet(hrnet_type))
    image = torch.randn(2, 3, 64, 64)
    expected = hrnet(image)
    folded = fold_batch_norm(copy.deepcopy(hrnet))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    networks = [folded]
    for packed in (False, True):
        networks.append(FastHRNet(hrnet, lambda *conv, packed=packed: FusedConv(*conv, packed=packed)))
    for network in networks:
        for found, level in zip(network(image.contiguous(memory_format=torch.channels_last)), expected, strict=True):
            assert relative(found, level) < 1e-5
    for found, level in zip(hrnet(image), expected, strict=True):
        assert torch.equal(found, level)  # the network itself is unchanged


@pytest.mark.parametrize(
    ("activation", "add"), [("none", False), ("relu", False), ("relu6", False), ("none", True), ("relu", True)]
)
@pytest.mark.parametrize("packed", [False, True])
@torch.inference_mode()
def test_fused_convolution_by_hand(activation, add, packed):
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
    x = 4 * torch.randn(2, 6, 9, 9).contiguous(memory_format=torch.channels_last)
    more = 4 * torch.randn(2, 8, 5, 5).contiguous(memory_format=torch.channels_last)
    expected = conv(x) + more if add else conv(x)
    expected = {"none": expected, "relu": expected.relu(), "relu6": expected.clamp(0, 6)}[activation]
    found = FusedConv(conv, activation, packed=packed)(x, more.clone() if add else None)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_packed_convolution_on_pictures_of_several_sizes():
    conv = nn.Conv2d(40, 72, 1)
    fused = FusedConv(conv, packed=True)
    for batch, side in ((1, 9), (2, 16), (3, 9)):
        x = torch.randn(batch, 40, side, side).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(fused(x), conv(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_fused_movenet_equals_movenet():
    torch.manual_seed(0)
    movenet, image = MoveNet().eval(), torch.randn(2, 3, 64, 64)
    for compile in (False, True):
        fast = fast_movenet(movenet, "cpu", compile)
        for found, expected in zip(fast(image), movenet(image), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("flags", ["--hrnet_type=w18", "--hrnet_type=w18 --graph=none", "--backbone=movenet"])
def test_prepared_network_gives_the_last_stage(flags):
    torch.manual_seed(0)
    args = get_args_parser().parse_args(["--backbone_weights=none", "--num_transformers=2", *flags.split()])
    model, _ = build_model(args)
    learned(model)
    for parameter in model.blocks.parameters():  # open gates, so that the graph has an effect
        parameter.data += 0.02 * torch.randn_like(parameter)
    state, image = {name: value.clone() for name, value in model.state_dict().items()}, torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = model(image)
    network = prepare_for_inference(model, "cpu")
    found = network(image)
    for name in ESTIMATE:
        torch.testing.assert_close(found[name], expected[name], atol=2e-4, rtol=1e-4, msg=name)
    assert found["aux_outputs"] == [] and len(expected["aux_outputs"]) == 2
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert network.body_model.v_template is model.body_model.v_template  # no second copy of a body in memory
    with torch.inference_mode():
        from_features = network(model.features(image))
    torch.testing.assert_close(from_features["pred_rotmat"], expected["pred_rotmat"], atol=2e-4, rtol=1e-4)
    assert not found["pred_vertices"].requires_grad


@pytest.fixture(scope="module")
def people() -> dict[str, torch.Tensor]:
    dataset = build_dataset(get_args_parser().parse_args(["--data_mode=synthetic"]), "val")
    rows = [dataset[i] for i in range(NUM_PEOPLE)]
    return {key: torch.stack([row[key] for row in rows]) for key in ("image", "keypoints_3d")}


def test_bfloat16_keeps_the_errors_of_synthetic_people(people):
    """Measured on all 2,000 test people by the command in the documentation."""
    true, confidence = people["keypoints_3d"][:, list(J24_TO_J14)].split((3, 1), dim=-1)
    errors = {}
    for precision in ("fp32", "bf16"):
        predictor = load_predictor(device="cpu", precision=precision)
        found = torch.cat([predictor.predict(batch)["pred_keypoints_3d"] for batch in people["image"].split(25)])
        errors[precision] = 1000 * mpjpe(found, true, confidence[..., 0] > 0)
    change = errors["bf16"] - errors["fp32"]
    assert change.mean().abs() < 0.5
    assert 0 < change.abs().mean() < 0.5  # the results differ, but not by much for any person


def test_precision_is_chosen_by_measurement(monkeypatch):
    import utils.process

    utils.process._fastest.cache_clear()
    for seconds, expected in (([1.0, 0.4], "bf16"), ([1.0, 0.95], "fp32"), ([1.0, 3.0], "fp32")):
        monkeypatch.setattr(utils.process, "_convolution_seconds", lambda *_, seconds=seconds: seconds)
        utils.process._fastest.cache_clear()
        assert choose_precision("auto", "cpu") == expected
    utils.process._fastest.cache_clear()
    assert [choose_precision(name, "cpu") for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert choose_precision("fp16", "cuda") == "fp16"
    with pytest.raises(UserError, match="--precision fp16 needs a GPU"):
        choose_precision("fp16", "cpu")


def test_precision_is_measured_here():
    assert choose_precision("auto", "cpu") in ("fp32", "bf16")
