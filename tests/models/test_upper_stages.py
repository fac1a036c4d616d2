"""A copy of MoveNet's upper stages: the same features before it learns, gradients where they belong, files that fit."""

import copy

import pytest
import torch

from datasets.feature_cache import decode, encode
from models.backbones.movenet import build_movenet_backbone, distance
from models.build import build_model, config_from_args, take_choices
from models.inference.prepare import prepare_for_inference
from utils.checkpoint import load_model_weights, save_checkpoint
from utils.errors import UserError
from utils.options import parse_args
from utils.paths import MOVENET, MOVENET_STATISTICS, OPEN_BODY
from utils.train.optimizer import build_optimizer, set_lr

FLAGS = ["--data_mode=synthetic", "--backbone=movenet", "--num_transformers=1", f"--smpl_path={OPEN_BODY}"]


@pytest.fixture(scope="module")
def image():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 3, 14, 14, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic")


@pytest.fixture(scope="module")
def learning():
    return build_movenet_backbone(MOVENET, MOVENET_STATISTICS, upper=True).eval()


@pytest.fixture(scope="module")
def kept(image):
    with torch.no_grad():
        return build_movenet_backbone(MOVENET, MOVENET_STATISTICS)(image)


def tensors(features):
    return *features.maps, features.pooled, features.points, features.keypoints


def test_a_copy_that_has_not_learned_gives_the_frozen_features(image, learning, kept):
    for features in (learning(image), learning.relearn(kept)):
        for ours, theirs in zip(tensors(features), tensors(kept), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
    assert distance(learning.relearn(kept), kept).max() < 1e-8


def test_eight_bits_of_trunk8_are_enough(learning, kept):
    """What the cache loses is small against the spread of the features, which is one."""
    coarse = kept._replace(trunk8=decode(encode(kept.trunk8)))
    assert distance(learning.relearn(coarse), kept).max() < 0.01


def test_features_without_upper_stages_come_back_as_they_are(kept):
    assert build_movenet_backbone(MOVENET, MOVENET_STATISTICS).relearn(kept) is kept


def test_images_and_kept_features_lead_to_the_same_after_learning(image, kept):
    backbone = build_movenet_backbone(MOVENET, MOVENET_STATISTICS, upper=True).eval()
    with torch.no_grad():
        for parameter in backbone.upper.parameters():
            parameter.mul_(1.1)
        from_image, from_kept = backbone(image), backbone.relearn(kept)
    for ours, theirs in zip(tensors(from_image), tensors(from_kept), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert torch.equal(from_image.keypoints, kept.keypoints)
    assert distance(from_kept, kept).min() > 0.01


def test_images_and_kept_features_are_trained_alike(image, kept):
    """Also what keeps the copy near the frozen network."""
    torch.manual_seed(0)
    model, _ = build_model(parse_args([*FLAGS, "--train_backbone=upper", "--dropout=0", "--regressor_dropout=0"]))
    with torch.no_grad():
        for parameter in model.backbone.upper.parameters():
            parameter.mul_(1.1)
        model.train()
        from_image, from_kept = model(image), model(kept)
    assert from_image["feature_distance"].min() > 0.01
    torch.testing.assert_close(from_image["feature_distance"], from_kept["feature_distance"], atol=1e-3, rtol=2e-2)
    torch.testing.assert_close(from_image["pred_joints"], from_kept["pred_joints"], atol=5e-3, rtol=0)
    assert "feature_distance" not in model.eval()(image)


def test_a_step_moves_the_copy_at_its_own_rate_and_leaves_movenet(kept):
    torch.manual_seed(0)
    args = parse_args([*FLAGS, "--train_backbone=upper", "--w_features=3", "--loss_vertices=50"])
    model, criterion = build_model(args)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, 1e-3, 0.01, backbone_lr=1e-5)
    set_lr(optimizer, 5e-4)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([5e-6, 5e-4])
    labels = {"pose": torch.zeros(2, 72), "betas": torch.zeros(2, 10)}
    labels |= {"keypoints_2d": torch.zeros(2, 24, 3), "keypoints_3d": torch.zeros(2, 24, 4)}
    labels |= {f"has_{name}": torch.ones(2).bool() for name in ("smpl", "keypoints_2d", "keypoints_3d")}
    model.train(), criterion.train()
    outputs = model(kept)
    losses = criterion(outputs, labels)
    # bfloat16 alone makes a difference before the first step
    assert 0 < outputs["feature_distance"].max() < 0.01
    named = {"vert": 100, "theta": 50, "2dj": 100, "3dj": 1000, "features": 3}
    assert losses["loss"].item() == pytest.approx(sum(w * losses[name].item() for name, w in named.items()), rel=1e-5)
    losses["loss"].backward()
    optimizer.step()
    change = {name: (value - before[name]).abs().max() for name, value in model.state_dict().items()}
    assert max(value for name, value in change.items() if ".movenet." in name) == 0
    moved = [value for name, value in change.items() if ".upper." in name]
    assert min(moved) > 0 and max(moved) < 1e-5


def test_checkpoints_of_both_kinds_fit_only_where_they_should(tmp_path, image):
    torch.manual_seed(0)
    networks = {}
    for kind in ("auto", "upper"):
        args = parse_args([*FLAGS, f"--train_backbone={kind}"])
        model, _ = build_model(args)
        networks[kind] = model.eval(), config_from_args(args, model.body_model)
        save_checkpoint(tmp_path / f"{kind}.pt", *networks[kind])
    upper, config = networks["upper"]
    loaded = load_model_weights(upper, tmp_path / "auto.pt", config)
    assert loaded["new"] and all(name.startswith("backbone.upper.") for name in loaded["new"])
    with torch.no_grad():
        ours, theirs = (networks[kind][0](image)["pred_joints"] for kind in networks)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="--train_backbone upper, this run has --train_backbone auto"):
        load_model_weights(networks["auto"][0], tmp_path / "upper.pt", networks["auto"][1])


def test_what_the_command_line_leaves_open_comes_from_the_checkpoint():
    args = parse_args(FLAGS)
    assert config_from_args(args)["train_backbone"] == "auto" and not config_from_args(args)["align_corners"]
    take_choices(args, {"backbone": "movenet"})  # older than both choices
    assert (args.align_corners, args.train_backbone) == (True, "auto")
    for flags, expected in (([], (False, "upper")), (["--align_corners=1"], (True, "upper"))):
        args = parse_args([*FLAGS, *flags])
        take_choices(args, {"backbone": "movenet", "train_backbone": "upper", "align_corners": False})
        config = config_from_args(args)
        assert (config["align_corners"], config["train_backbone"]) == expected
    assert config_from_args(parse_args([]))["align_corners"]  # HRNet, as published


def test_the_fast_network_is_the_same_function(image):
    torch.manual_seed(0)
    model, _ = build_model(parse_args([*FLAGS, "--train_backbone=upper"]))
    with torch.no_grad():
        for parameter in model.backbone.upper.parameters():
            parameter.mul_(1.02)
        expected = model.eval()(image)
    fast = prepare_for_inference(model, "cpu")(image)
    for name in ("pred_joints", "pred_cam", "pred_betas"):
        torch.testing.assert_close(fast[name], expected[name], atol=1e-3, rtol=1e-3)


def test_upper_stages_are_movenets_alone():
    with pytest.raises(UserError, match="--train_backbone upper is for MoveNet"):
        parse_args(["--train_backbone=upper"])
