"""Masked joints: they read nothing of the image in training; without the option nothing changes."""

import pytest
import torch

from models.build import build_model
from models.features import Features
from models.graph_transformer import GraphTransformerBlock
from models.masked_joints import draw_masked, without_keypoints
from utils.options import parse_args
from utils.skeleton import COCO17, SMPL_JOINTS

DIM, POINTS = 32, 6


def made_up(seed: int, batch: int = 2, channels: tuple[int, int] = (8, 8), points: int = POINTS, image: int = 5):
    generator = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(batch, c, s, s, generator=generator) for c, s in zip(channels, (14, 7), strict=True))
    keypoints = torch.rand(batch, 17, 3, generator=generator) * 0.9 + 0.05
    pooled = torch.cat((torch.randn(batch, image, generator=generator), keypoints.flatten(1)), dim=1)
    return Features(maps, pooled, torch.randn(batch, 17, points, generator=generator), keypoints)


def test_keypoints_of_masked_joints_are_absent_everywhere():
    features = made_up(0)
    masked = torch.zeros(2, 24).bool()
    masked[0, SMPL_JOINTS.index("L_wrist")] = masked[0, SMPL_JOINTS.index("spine2")] = True
    masked[1, SMPL_JOINTS.index("R_knee")] = True
    found = without_keypoints(features, masked)
    absent = [(0, COCO17.index("left_wrist")), (1, COCO17.index("right_knee"))]
    for before, after in ((features.keypoints, found.keypoints), (features.points, found.points)):
        for person in range(2):
            for k in range(17):
                expected = torch.zeros_like(before[person, k]) if (person, k) in absent else before[person, k]
                assert torch.equal(after[person, k], expected)
    assert torch.equal(found.pooled[:, :5], features.pooled[:, :5])
    assert torch.equal(found.pooled[:, 5:], found.keypoints.flatten(1))
    assert found.maps is features.maps
    plain = Features(features.maps, features.pooled)
    assert without_keypoints(plain, masked) is plain


def test_a_masked_joint_does_not_depend_on_the_image():
    """Without the exchange among the tokens, its token depends on nothing but itself."""
    torch.manual_seed(0)
    block = GraphTransformerBlock([8, 8], DIM, num_units=2, radius=2, map_size=14, point_channels=POINTS).eval()
    for unit in block.units:
        torch.nn.init.zeros_(unit.exchange.out.weight)
    for layer in (block.to_rot6d, block.head, block.embed):
        torch.nn.init.normal_(layer.weight, std=0.3)
    tokens, joints_2d = torch.randn(2, 26, DIM), torch.rand(2, 24, 2) * 2 - 1
    masked = draw_masked(2, 0.5, torch.device("cpu"))
    assert masked.any() and not masked.all()
    first, second = (block(tokens, made_up(seed), joints_2d, masked) for seed in (1, 2))
    changed = (first[1] - second[1]).abs().amax((-1, -2)) > 1e-6
    assert torch.equal(changed, ~masked)
    unmasked = block(tokens, made_up(1), joints_2d, torch.zeros_like(masked))
    assert all(torch.equal(a, b) for a, b in zip(unmasked, block(tokens, made_up(1), joints_2d), strict=True))


@pytest.fixture
def features():
    return made_up(3, channels=(200, 344), points=344, image=1280)


def test_only_training_masks_joints(features):
    flags = ["--preset=movenet_s", "--loss_vertices=40", "--num_transformers=1", "--stage_weights", "1", "1"]
    network, _ = build_model(parse_args([*flags, "--mask_joints=0.9", "--regressor_dropout=0"]))
    plain, _ = build_model(parse_args([*flags, "--regressor_dropout=0"]))
    plain.load_state_dict(network.state_dict())
    assert network.mask_joints == 0.9 and plain.mask_joints == 0
    with torch.no_grad():
        whole = plain.train()(features)["pred_rotmat"]
        torch.testing.assert_close(plain.eval()(features)["pred_rotmat"], network.eval()(features)["pred_rotmat"])
        assert (network.train()(features)["pred_rotmat"] - whole).abs().max() > 1e-5


def test_the_share_is_that_of_the_joints():
    masked = draw_masked(500, 0.3, torch.device("cpu"))
    assert masked.shape == (500, 24) and masked.float().mean() == pytest.approx(0.3, abs=0.02)
    assert (masked.float().mean(0) - 0.3).abs().max() < 0.1
