"""Initial weights: those of the published code, and a training that keeps its rotations (SMPL_POSE_SEEDS=3: longer)."""

import os

import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from datasets.synthetic import SyntheticDataset
from models.attention import AttentionLayer
from models.build import build_model
from utils.options import get_args_parser, parse_args
from utils.paths import OPEN_BODY
from utils.train.optimizer import build_optimizer
from utils.train.update import Update


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    flags = ["--hrnet_type=w18", "--num_transformers=1", "--mean_params=none", "--backbone_weights=none"]
    return build_model(get_args_parser().parse_args(flags))[0]


def test_weights_of_a_block_have_the_published_distribution(model):
    block = model.blocks[0]
    layers = [module for module in block.modules() if isinstance(module, AttentionLayer)]
    linear = [layer for module in layers for layer in module.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 2 * (4 + 1 + 1) and len(linear) >= 6 * len(layers) - 6
    for layer in (*linear, block.embed, block.head, block.residual):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05) and abs(layer.weight.mean()) < 1e-3
        assert not layer.bias.any()
    for layer in (block.to_rot6d, block.to_betas, block.to_cam):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert block.to_rot6d.bias.tolist() == pytest.approx([0.1, 0, 0, 0.1, 0, 0])
    assert not block.to_betas.bias.any() and not block.to_cam.bias.any()
    assert block.token_position.std().item() == pytest.approx(0.02, rel=0.1)
    assert block.pixel_position.std().item() == pytest.approx(0.1, rel=0.01)


def test_the_first_camera_of_hrnet_is_the_published_one(model):
    assert model.regressor.init_cam.flatten().tolist() == [1, 0, 0]


def test_an_untrained_block_changes_the_estimate_little(model):
    model.train()  # an untrained HRNet has no statistics for its batch norm yet
    with torch.no_grad():
        outputs = model(torch.randn(4, 3, 224, 224))
    first = outputs["aux_outputs"][0]
    assert (outputs["pred_rotmat"] - first["pred_rotmat"]).abs().mean() < 0.05
    assert (outputs["pred_cam"] - first["pred_cam"]).abs().max() < 0.05


@pytest.mark.parametrize("seed", range(int(os.environ.get("SMPL_POSE_SEEDS", 1))))
@pytest.mark.parametrize("hrnet_type", ["w18", "w32"])
def test_the_published_rate_keeps_the_rotations(hrnet_type, seed):
    """Ten steps of stage 2 on 16 + 16 people: 2e-4 without warm-up. PyTorch's default weights triple the theta loss."""
    torch.manual_seed(seed)
    args = parse_args(
        ["--data_mode=synthetic", f"--hrnet_type={hrnet_type}", "--backbone_weights=none", "--graph=none"]
    )
    model, criterion = build_model(args)
    people = SyntheticDataset(body_file=OPEN_BODY, split="train", seed=seed, num_samples=32, assets="none")
    batches = [default_collate([people[i] for i in rows]) for rows in (range(16), range(16, 32))]
    update = Update(model.train(), build_optimizer(model, args.lr))
    theta = []
    for step in range(10):
        batch = batches[step % 2]
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(batch["image"], all_stages=False)
        losses = criterion(outputs, batch)
        theta.append(losses["theta"].item())
        update.backward(losses)
        update.step()
    assert max(theta) < 1.6 * theta[0], theta
