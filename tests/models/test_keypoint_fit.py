"""Keypoint fit: limbs of an estimate rotated onto the detected keypoints."""

import numpy as np
import pytest
import roma
import torch
from torch import nn

from main import describe_protocol
from models.build import build_model
from models.criterion import Criterion
from models.inference.flip_average import mirror_rotation
from models.inference.keypoint_fit import KEYPOINT_SIGMA, KeypointFit
from models.inference.prepare import refine
from models.predictor import load_predictor
from utils.errors import UserError
from utils.options import parse_args
from utils.paths import SAMPLES
from utils.skeleton import COCO17, COCO17_TO_J14, J14, SMPL_PARENTS, flip_permutation

COCO_LIMBS, J14_LIMBS = map(list, zip(*COCO17_TO_J14.items(), strict=True))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model(parse_args(["--backbone=movenet", "--num_transformers=1"]))[0].eval()


@pytest.fixture(scope="module")
def fit(network):
    return KeypointFit(network)


@pytest.fixture
def people():
    """rotmat, betas, cam of 20 people in moderate poses."""
    generator = torch.Generator().manual_seed(1)
    rotvec = 0.3 * torch.randn(20, 24, 3, generator=generator)
    rotvec[:, 0] += torch.tensor([torch.pi, 0, 0])  # upright in the camera frame
    return (
        roma.rotvec_to_rotmat(rotvec),
        torch.randn(20, 10, generator=generator),
        torch.tensor([[0.9, 0.05, -0.1]] * 20),
    )


def keypoints_of(network, rotmat, betas, cam, confidence=0.9):
    """Keypoints of a perfect detector for the limbs, (B, 17, 3)."""
    keypoints = torch.zeros(len(cam), 17, 3)
    keypoints[:, COCO_LIMBS, :2] = network.estimate(rotmat, betas, cam)["pred_keypoints_2d"][:, J14_LIMBS]
    keypoints[:, COCO_LIMBS, 2] = confidence
    return keypoints


def turned(rotmat, sigma):
    noise = sigma * torch.randn(*rotmat.shape[:2], 3, generator=torch.Generator().manual_seed(2))
    return rotmat @ roma.rotvec_to_rotmat(noise)


def miss(estimate, keypoints):
    """Mean distance of projected limbs from keypoints (B,), crop units."""
    return (estimate["pred_keypoints_2d"][:, J14_LIMBS] - keypoints[:, COCO_LIMBS, :2]).norm(dim=-1).mean(1)


def test_limbs_are_paired_by_name():
    for coco, j14 in COCO17_TO_J14.items():
        side, part = COCO17[coco].split("_")
        assert J14[j14] == f"{side[0].upper()}_{part.capitalize()}"


@torch.inference_mode()
def test_derivatives_agree_with_differences(fit, people):
    rotmat, betas, cam = (part[:3] for part in people)
    keypoints = torch.zeros(3, 12, 2)
    before, jacobian = fit._residual(rotmat, betas, cam, keypoints)
    for k in (0, 2, 3, 5, 13 * 3, 17 * 3 + 1, 19 * 3 + 2, 23 * 3, 72, 73):
        step = torch.zeros(3, 75)
        step[:, k] = 1e-3
        moved_rotmat, moved_cam = fit._move(rotmat, betas, cam, step)
        after, _ = fit._residual(moved_rotmat, betas, moved_cam, keypoints)
        # not exact: the vertices of a keypoint follow several joints, among them its own
        torch.testing.assert_close((before - after) / 1e-3, jacobian[..., k], atol=0.06, rtol=0.1)


@torch.inference_mode()
def test_a_rotated_body_returns_to_its_keypoints(network, people):
    fit = KeypointFit(network, in_plane_sigma=0.1, out_of_plane_sigma=0.1)
    rotmat, betas, cam = people
    keypoints = keypoints_of(network, rotmat, betas, cam)
    truth = network.estimate(rotmat, betas, cam)
    wrong = turned(rotmat, 0.1), betas, cam * torch.tensor([1.05, 1, 1])
    start, found = network.estimate(*wrong), fit.fit(*wrong, keypoints)
    assert (miss(found, keypoints) < 0.35 * miss(start, keypoints)).all()
    errors = [
        (e["pred_keypoints_3d"] - truth["pred_keypoints_3d"])[..., :2].norm(dim=-1).mean() for e in (start, found)
    ]
    assert errors[1] < errors[0]
    torch.testing.assert_close(torch.linalg.det(found["pred_rotmat"]), torch.ones(20, 24))
    assert found["pred_betas"] is betas


@torch.inference_mode()
def test_the_fit_changes_depth_less_than_an_even_one(network, fit, people):
    """The keypoints are fitted nearly as well, and rotations out of the picture plane, which they do not show, less."""
    keypoints = keypoints_of(network, turned(people[0], 0.2), *people[1:])
    even = KeypointFit(network, in_plane_sigma=0.2, out_of_plane_sigma=0.2)
    start, found, found_evenly = network.estimate(*people), fit.fit(*people, keypoints), even.fit(*people, keypoints)
    assert miss(found, keypoints).mean() < 0.5 * miss(start, keypoints).mean()
    change, even_change = (
        (e["pred_keypoints_3d"] - start["pred_keypoints_3d"])[..., 2].abs().mean() for e in (found, found_evenly)
    )
    assert change < 0.5 * even_change


@torch.inference_mode()
def test_a_correct_estimate_stays(network, fit, people):
    keypoints = keypoints_of(network, *people)
    found = fit.fit(*people, keypoints)
    torch.testing.assert_close(found["pred_vertices"], network.estimate(*people)["pred_vertices"], atol=2e-5, rtol=0)


@torch.inference_mode()
def test_undetected_keypoints_have_no_effect(network, fit, people):
    keypoints = torch.randn(20, 17, 3)
    keypoints[..., 2] = 0
    found = fit.fit(*people, keypoints)
    torch.testing.assert_close(found["pred_vertices"], network.estimate(*people)["pred_vertices"], atol=2e-5, rtol=0)
    keypoints[:, :5, 2] = 1  # eyes, ears, nose
    torch.testing.assert_close(fit.fit(*people, keypoints)["pred_cam"], people[2])


@torch.inference_mode()
def test_an_outlier_moves_the_other_keypoints_little(network, fit, people):
    keypoints = keypoints_of(network, *people)
    keypoints[:, COCO17.index("left_wrist"), :2] += 1.0  # half a crop
    found = fit.fit(*people, keypoints)
    others = [i for i in J14_LIMBS if J14[i] != "L_Wrist"]
    before = network.estimate(*people)["pred_keypoints_2d"]
    assert (found["pred_keypoints_2d"] - before)[:, others].norm(dim=-1).mean() < KEYPOINT_SIGMA


@torch.inference_mode()
def test_people_of_a_batch_are_independent(network, fit, people):
    keypoints = keypoints_of(network, turned(people[0], 0.1), *people[1:])
    together = fit.fit(*people, keypoints)
    alone = fit.fit(*(part[4:5] for part in people), keypoints[4:5])
    torch.testing.assert_close(together["pred_rotmat"][4:5], alone["pred_rotmat"], atol=2e-5, rtol=0)


@torch.inference_mode()
def test_the_fit_commutes_with_mirroring(network, fit, people):
    rotmat, betas, cam = people
    keypoints = keypoints_of(network, turned(rotmat, 0.1), betas, cam)
    mirror = torch.tensor([-1.0, 1, 1])
    plain = fit.fit(rotmat, betas, cam, keypoints)
    mirrored = fit.fit(
        mirror_rotation(rotmat), betas, cam * mirror[[1, 0, 2]], keypoints[:, flip_permutation(COCO17)] * mirror
    )
    # the open body is symmetric up to the accuracy of its modelling
    torch.testing.assert_close(mirrored["pred_rotmat"], mirror_rotation(plain["pred_rotmat"]), atol=0.02, rtol=0)


@torch.inference_mode()
def test_only_joints_that_move_a_limb_are_rotated(fit, network, people):
    rotmat, betas, cam = people
    found = fit.fit(rotmat, betas, cam, keypoints_of(network, turned(rotmat, 0.2), betas, cam))
    movable = set(range(24)) - {7, 8, 10, 11, 12, 15, 20, 21, 22, 23}  # not ankles, feet, neck, head, wrists, hands
    change = roma.rotmat_geodesic_distance(found["pred_rotmat"], rotmat).amax(0)
    assert all((change[j] > 1e-3) == (j in movable) for j in range(24))
    assert SMPL_PARENTS[20] in movable


@torch.inference_mode()
def test_an_extreme_estimate_gives_finite_numbers(fit, people):
    rotmat, betas, _ = people
    keypoints = torch.rand(20, 17, 3) * 2 - 1
    for cam in ([0.0, 0, 0], [-0.5, 3, 3], [1e-4, -50, 50]):
        found = fit.fit(rotmat, betas, torch.tensor([cam] * 20), keypoints)
        assert all(value.isfinite().all() for value in found.values())


@torch.inference_mode()
def test_without_keypoints_the_estimate_is_unchanged(network):
    class WithoutKeypoints(nn.Module):
        body_model, estimate = network.body_model, network.estimate

        def forward(self, image):
            return {"pred_cam": image}

    image = torch.randn(1, 3)
    assert KeypointFit(WithoutKeypoints())(image) == {"pred_cam": image}


@torch.inference_mode()
def test_both_refinements_together(network):
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = {flags: refine(network, *flags)(image)["pred_rotmat"] for flags in ((0, 0), (0, 1), (1, 0), (1, 1))}
    assert refine(network, False, False) is network
    for flags, rotmat in found.items():
        assert all((rotmat - other).abs().max() > 1e-3 for key, other in found.items() if key != flags)


def test_the_fit_is_the_default_of_the_demo():
    image = SAMPLES / "im02.png"
    default, on, off = (
        load_predictor(precision="fp32", **flags)(image, bbox=(0, 0, 400, 620))[0].pose
        for flags in ({}, {"fit_keypoints": True}, {"fit_keypoints": False})
    )
    np.testing.assert_array_equal(default, on)
    assert np.abs(on - off).max() > 0.01


def test_the_protocol_names_the_fit(network):
    for flags in ((), ("--fit_keypoints",)):
        args = parse_args(["--data_mode=synthetic", "--backbone=movenet", *flags])
        assert (
            "keypoint fit" in describe_protocol(args, Criterion(network.body_model, network.keypoint_regressor))
        ) == bool(flags)
    with pytest.raises(UserError, match="movenet"):
        parse_args(["--fit_keypoints"])
