"""Flip test: the mean of the estimates on an image and on its mirror image."""

import numpy as np
import pytest
import roma
import torch

from main import describe_protocol
from models.build import build_model
from models.criterion import Criterion
from models.inference.flip_average import FlipTest, mean_rotation, mirror_rotation
from models.predictor import load_predictor
from utils.options import parse_args
from utils.paths import SAMPLES
from utils.skeleton import SMPL_FLIP

MIRROR = torch.tensor([-1.0, 1, 1])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model(parse_args(["--backbone=movenet", "--num_transformers=1"]))[0].eval()


@torch.inference_mode()
def test_a_mirrored_pose_is_a_mirrored_body(network):
    torch.manual_seed(0)
    rotmat, betas, cam = roma.random_rotmat((2, 24)), torch.randn(2, 10), torch.tensor([[0.9, 0.1, 0.2]] * 2)
    body = network.estimate(rotmat, betas, cam)
    mirrored = network.estimate(mirror_rotation(rotmat), betas, cam * torch.tensor([1, -1, 1]))
    # the open body is symmetric up to the accuracy of its modelling
    torch.testing.assert_close(mirrored["pred_joints"], body["pred_joints"][:, SMPL_FLIP] * MIRROR, atol=2e-3, rtol=0)
    expected = body["pred_joints_2d"][:, SMPL_FLIP] * MIRROR[:2]
    torch.testing.assert_close(mirrored["pred_joints_2d"], expected, atol=2e-3, rtol=0)


def test_mirroring_twice_changes_nothing():
    rotmat = roma.random_rotmat((3, 24))
    torch.testing.assert_close(mirror_rotation(mirror_rotation(rotmat)), rotmat)
    torch.testing.assert_close(torch.linalg.det(mirror_rotation(rotmat)), torch.ones(3, 24))


def test_the_mean_lies_halfway():
    a, b = (roma.random_rotmat(50, dtype=torch.float64) for _ in range(2))
    mean = mean_rotation(a, b)
    to_a, to_b = roma.rotmat_geodesic_distance(mean, a), roma.rotmat_geodesic_distance(mean, b)
    torch.testing.assert_close(to_a, to_b)
    torch.testing.assert_close(to_a + to_b, roma.rotmat_geodesic_distance(a, b))


@torch.inference_mode()
def test_a_mirrored_image_gives_the_mirrored_estimate(network):
    """For any weights; the network alone does not have this property."""
    torch.manual_seed(0)
    image = torch.randn(2, 3, 224, 224)
    flip_test = FlipTest(network)
    plain, mirrored = flip_test(image), flip_test(image.flip(-1))
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(mirrored["pred_rotmat"], mirror_rotation(plain["pred_rotmat"]), **close)
    torch.testing.assert_close(mirrored["pred_betas"], plain["pred_betas"], **close)
    torch.testing.assert_close(mirrored["pred_cam"], plain["pred_cam"] * torch.tensor([1, -1, 1]), **close)
    once = network(image)["pred_rotmat"], network(image.flip(-1))["pred_rotmat"]
    assert (once[1] - mirror_rotation(once[0])).abs().max() > 1e-3
    assert plain.keys() == {key for key in network(image) if key.startswith("pred_")}


def test_the_flip_test_is_the_default_of_the_demo():
    image = SAMPLES / "im02.png"
    default, both, once = (
        load_predictor(precision="fp32", **flags)(image, bbox=(0, 0, 400, 620))[0].betas
        for flags in ({}, {"flip_test": True}, {"flip_test": False})
    )
    np.testing.assert_array_equal(default, both)
    assert np.abs(both - once).max() > 0.02


def test_the_protocol_names_the_flip_test(network):
    for flags in ((), ("--flip_test",)):
        protocol = describe_protocol(
            parse_args(["--data_mode=synthetic", *flags]), Criterion(network.body_model, network.keypoint_regressor)
        )
        assert ("flip test" in protocol) == bool(flags)
