"""Flip test: the mean of the estimates on an image and on its mirror image."""

import math

import numpy as np
import pytest
import roma
import torch

from main import describe_protocol
from models.build import build_model
from models.criterion import Criterion
from models.inference.flip_average import FlipTest, mean_rotation, mirror_rotation, share_of_mirrored
from models.predictor import load_predictor
from utils.options import parse_args
from utils.paths import SAMPLES
from utils.skeleton import COCO17_FLIP, SMPL_FLIP

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
    assert plain.keys() == {key for key in network(image) if key.startswith(("pred_", "detected_"))}
    expected = plain["detected_keypoints"][:, COCO17_FLIP] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(mirrored["detected_keypoints"], expected, **close)


def facing(degrees: float) -> torch.Tensor:
    return roma.rotvec_to_rotmat(torch.tensor([[0, math.radians(degrees), 0]]))


def test_estimates_that_face_different_ways_are_not_averaged():
    certain, doubtful = torch.full((1, 17, 3), 0.9), torch.full((1, 17, 3), 0.4)
    assert share_of_mirrored(facing(0), facing(60), [certain, doubtful]) == 0.5
    assert share_of_mirrored(facing(0), facing(170), [certain, doubtful]) == 0
    assert share_of_mirrored(facing(0), facing(170), [doubtful, certain]) == 1
    assert share_of_mirrored(facing(0), facing(170), None) == 0


@torch.inference_mode()
def test_one_of_two_opposite_estimates_is_taken_whole(network):
    """A network that takes the front of a person for the back in the mirror image."""

    class Undecided(torch.nn.Module):
        body_model, estimate = network.body_model, network.estimate

        def forward(self, image):
            rotmat = roma.rotvec_to_rotmat(0.2 * torch.randn(2, 24, 3, generator=torch.Generator().manual_seed(0)))
            rotmat[1] = mirror_rotation(rotmat[1:])[0]
            rotmat[1, 0] = rotmat[1, 0] @ facing(180)[0]
            keypoints = torch.full((2, 17, 3), 0.5)
            keypoints[image[:, 0, 0, 0] > 0, :, 2] = 0.8
            cam, betas = torch.tensor([[0.9, 0.1, 0.2], [0.7, 0.1, 0.1]]), torch.randn(2, 10)
            return {"pred_rotmat": rotmat, "pred_betas": betas, "pred_cam": cam, "detected_keypoints": keypoints}

    undecided, image = Undecided(), torch.zeros(1, 3, 8, 8)
    image[..., 0], image[..., -1] = 1, -1  # the first pixel tells the image from its mirror image
    first, second = (FlipTest(undecided)(x) for x in (image, image.flip(-1)))
    single = undecided(torch.cat((image, image.flip(-1))))
    torch.testing.assert_close(first["pred_rotmat"], single["pred_rotmat"][:1])
    torch.testing.assert_close(second["pred_rotmat"], mirror_rotation(single["pred_rotmat"][1:]))
    torch.testing.assert_close(second["pred_cam"], single["pred_cam"][1:] * torch.tensor([1, -1, 1]))


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
