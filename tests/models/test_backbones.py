"""Backbones of timm: their maps, weights, freezing, inference, and a backbone of one file."""

import sys
import types

import pytest
import timm
import torch
from easydict import EasyDict

from models.backbones.registry import BackboneKind, backbone_kind
from models.backbones.timm import PlainTransformer, Renormalize, build_timm, make_plan
from models.build import build_network
from models.inference.prepare import prepare_for_inference
from utils.crop import IMAGENET_MEAN, IMAGENET_STD
from utils.errors import UserError
from utils.network_config import check_config, complete_config

SMALL = "timm:mobilenetv4_conv_small"  # the cheapest


def build(name: str, weights: str = "none"):
    return build_timm(EasyDict(backbone=f"timm:{name}"), weights)


@pytest.fixture(scope="module")
def image():
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("resnet50", (56, 28, 14, 7)),
        ("convnext_tiny", (56, 28, 14, 7)),
        ("mobilenetv4_conv_small", (56, 28, 14, 7)),
        ("efficientnet_b0", (56, 28, 14, 7)),
        ("swin_tiny_patch4_window7_224", (56, 28, 14, 7)),  # channels last
        ("vit_small_patch16_224", (56, 28, 14, 7)),
        ("vit_small_patch14_dinov2", (64, 32, 16, 8)),
    ],
)
def test_four_maps_whose_gradient_reaches_every_parameter(name, sides, image):
    """A parameter without gradient would stop data-parallel training."""
    backbone = build(name).train()
    maps = backbone(image)
    assert [tuple(x.shape) for x in maps] == [(2, c, n, n) for c, n in zip(backbone.map_channels, sides, strict=True)]
    assert backbone.pooled_channels == maps[-1].shape[1]
    sum(x.square().mean() for x in maps).backward()
    assert not [key for key, parameter in backbone.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(
    "name", ["fastvit_t8", "pvt_v2_b0", "hiera_tiny_224", "hrnet_w18", "vgg16", "maxvit_tiny_tf_224"]
)
def test_other_families_have_the_four_maps(name):
    assert len(make_plan(name).levels) == 4


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vit_small_patch32_224", "strides 32"),
        ("eva_giant_patch14_224", "choose a smaller one"),
        ("crossvit_tiny_240", "does not give feature maps"),
    ],
)
def test_a_network_without_these_maps_is_refused(name, why):
    with pytest.raises(UserError, match=why):
        make_plan(name)


def test_the_plan_draws_no_random_numbers():
    before = torch.get_rng_state()
    make_plan("vit_small_patch16_224")
    assert torch.equal(before, torch.get_rng_state())


def test_maps_are_those_of_timm(image):
    """The weights of a file end up in the network; a network of maps is compared with the whole one."""
    whole = timm.create_model("mobilenetv4_conv_small").eval()
    backbone = build("mobilenetv4_conv_small").eval()
    backbone.trunk.load_state_dict(whole.state_dict(), strict=False)
    _, expected = whole.forward_intermediates(image, indices=4)
    for found, wanted in zip(backbone(image)[-1:], expected[-1:], strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("name", "suffix"), [("mobilenetv4_conv_small", ".pth"), ("vit_tiny_patch16_224", ".pth")])
def test_weights_of_a_file(name, suffix, tmp_path):
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    torch.save({"state_dict": state}, tmp_path / f"w{suffix}")
    own = build(name, str(tmp_path / f"w{suffix}")).trunk.state_dict()
    assert len(own) > 50
    assert all(torch.equal(value, state[key]) for key, value in own.items())


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="does not fit timm's mobilenetv4_conv_small"):
        build("mobilenetv4_conv_small", str(tmp_path / "w.pth"))
    with pytest.raises(UserError, match="not found"):
        build("mobilenetv4_conv_small", str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match="no COCO weights"):
        build("mobilenetv4_conv_small", "coco")


def test_weights_that_cannot_be_downloaded_are_one_clear_line(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", no_network)
    with pytest.raises(UserError, match="connect to the internet"):
        build("mobilenetv4_conv_small", "imagenet")


def test_images_get_the_normalisation_of_the_network():
    rgb = torch.rand(1, 3, 4, 4)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(Renormalize((0.5,) * 3, (0.25,) * 3)((rgb - mean) / std), (rgb - 0.5) / 0.25)
    assert Renormalize(IMAGENET_MEAN, IMAGENET_STD)(rgb) is rgb
    assert not build("vit_tiny_patch16_224").normalize.same


@pytest.mark.parametrize(
    "name",
    ["timm", "timm:", "timm:no_such_network", "timm:hf-hub:someone/net", "timm:local-dir:/tmp", "timm:resnet50.no_tag",
     "timm:resnet50\n", "registry", "../hrnet", "", None, 3, ["hrnet"]],
)  # fmt: skip
def test_other_names_are_refused_in_a_checkpoint(name):
    with pytest.raises(UserError, match="backbone is"):
        check_config({"backbone": name}, "checkpoint")


@pytest.mark.parametrize("name", ["hrnet", "movenet", "timm:resnet50", "timm:resnet50.a1_in1k"])
def test_names_of_backbones(name):
    check_config({"backbone": name}, "checkpoint")


def network(name: str):
    config = complete_config(
        {"backbone": name, "hrnet_type": None, "num_transformers": 1, "align_corners": False}, "test"
    )
    torch.manual_seed(0)
    return build_network(config, backbone_weights="none")


@pytest.mark.parametrize("name", [SMALL, "timm:vit_tiny_patch16_224"])
def test_a_frozen_backbone_does_not_change(name, image):
    """Neither by gradients nor by batch norm statistics, in training mode, after evaluation too."""
    model = network(name)
    model.freeze_backbone()
    model.eval()
    model.train()
    before = {key: value.clone() for key, value in model.backbone.trunk.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(image, all_stages=False)["pred_vertices"].square().mean().backward()
    optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in model.backbone.trunk.state_dict().items())
    assert model.training
    assert not any(module.training for module in model.backbone.trunk.modules())
    learning = [key for key, parameter in model.backbone.named_parameters() if parameter.grad is not None]
    assert bool(learning) == isinstance(model.backbone, PlainTransformer)


@pytest.mark.parametrize("name", [SMALL, "timm:vit_tiny_patch16_224"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.1)])
def test_inference_gives_the_outputs_of_the_network(name, precision, tolerance, image):
    model = network(name).eval()
    with torch.no_grad():
        expected = model(image, all_stages=False)["pred_vertices"]
        found = prepare_for_inference(model, "cpu", precision)(image)["pred_vertices"]
    assert (found - expected).abs().max() < tolerance


def test_one_file_adds_a_backbone(monkeypatch, image):
    class Shrink(torch.nn.Module):
        map_channels, pooled_channels, point_channels = (3, 3), 3, 0

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, image):
            return [torch.nn.functional.avg_pool2d(image * self.scale, size) for size in (16, 32)]

    module = types.ModuleType("models.backbones.shrink")
    module.KIND = BackboneKind(lambda config, weights: Shrink(), block={"num_units": 1, "radius": 2, "map_size": 14})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("utils.network_config.BACKBONES", ("hrnet", "movenet", "shrink"))
    assert backbone_kind("shrink") is module.KIND
    model = network("shrink").eval()
    assert model(image)["pred_vertices"].isfinite().all()
    prepared = prepare_for_inference(model, "cpu")(image)["pred_vertices"]
    torch.testing.assert_close(prepared, model(image, all_stages=False)["pred_vertices"], atol=1e-4, rtol=0)
