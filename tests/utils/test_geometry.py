"""Rotations, cameras and joint sets."""

import numpy as np
import pytest
import roma
import torch

from tests.helpers.weak_perspective import fit_weak_perspective
from utils import skeleton
from utils.geometry import nearest_rotation, project, rot6d_to_rotmat, rotvec_to_rotmat


def test_rot6d_round_trip():
    rotmat = roma.random_rotmat((100,), dtype=torch.float64)
    torch.testing.assert_close(rot6d_to_rotmat(rotmat[..., :2].flatten(-2)), rotmat)


def test_rot6d_reads_columns_and_ignores_their_length():
    rotmat = roma.random_rotmat((100,), dtype=torch.float64)
    a, b = rotmat[..., 0], rotmat[..., 1]
    skewed = torch.stack((3 * a, 0.5 * b + 0.2 * a), dim=-1).flatten(-2)
    torch.testing.assert_close(rot6d_to_rotmat(skewed), rotmat)
    identity = torch.tensor([1.0, 0, 0, 1, 0, 0])
    torch.testing.assert_close(rot6d_to_rotmat(identity), torch.eye(3))


def test_any_six_numbers_give_a_rotation():
    rotmat = rot6d_to_rotmat(torch.randn(1000, 6).double())
    torch.testing.assert_close(rotmat @ rotmat.mT, torch.eye(3).double().expand(1000, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotmat), torch.ones(1000).double())


def test_fitted_camera_is_the_one_that_projected():
    points, cam = torch.randn(50, 14, 3).double(), torch.randn(50, 3).double()
    confidence = (torch.rand(50, 14) > 0.3).double()
    confidence[:, :2] = 1
    projected = project(points, cam)
    projected[confidence == 0] = 1e6  # must not matter
    torch.testing.assert_close(fit_weak_perspective(points, projected, confidence), cam)


def test_fitted_camera_equals_the_recorded_one(reference):
    z = np.load(reference / "tsv" / "expected_metrics.npz")
    points = torch.from_numpy(z["pred_joints"][3:]).double()
    keypoints = torch.from_numpy(z["cam_joints_2d"][3:]).double()
    confidence = torch.from_numpy(z["cam_conf"][3:]).double()
    cam = fit_weak_perspective(points, keypoints, confidence).numpy()
    # the recording is in float32 and the translation of a camera with a tiny scale is ill-conditioned
    np.testing.assert_allclose(cam, z["cam"], rtol=1e-4, atol=1e-4)


def test_the_nearest_rotation_of_what_is_not_finite_is_nan():
    matrix = torch.eye(3).repeat(2, 3, 1, 1)
    matrix[0, 1, 2, 2], matrix[1, 0, 0, 1] = torch.nan, torch.inf
    rotation = nearest_rotation(matrix)
    is_finite = matrix.isfinite().all(-1).all(-1)
    assert rotation[~is_finite].isnan().all() and (~is_finite).sum() == 2
    torch.testing.assert_close(rotation[is_finite], matrix[is_finite])


def test_joint_sets_agree():
    assert len(skeleton.SMPL_JOINTS) == len(skeleton.SMPL_PARENTS) == len(skeleton.J24) == 24
    assert all(parent < child for child, parent in enumerate(skeleton.SMPL_PARENTS))
    by_j17 = [skeleton.J17[i] for i in skeleton.J17_TO_J14]
    assert tuple(by_j17) == skeleton.J14
    for flip in (
        skeleton.SMPL_FLIP,
        skeleton.J24_FLIP,
        *map(skeleton.flip_permutation, (skeleton.J17, skeleton.J14, skeleton.COCO17)),
    ):
        assert [flip[i] for i in flip] == list(range(len(flip)))
    left = skeleton.J14.index("L_Wrist")
    assert skeleton.J14[skeleton.flip_permutation(skeleton.J14)[left]] == "R_Wrist"
    parents = np.array(skeleton.SMPL_PARENTS[1:])
    flip = np.array(skeleton.SMPL_FLIP)
    assert (np.array(skeleton.SMPL_PARENTS)[flip[1:]] == flip[parents]).all()  # mirrored children, mirrored parents


@pytest.mark.parametrize("scale", [0, 1e-9, 1e-6, 1e-3, 1, 10])
def test_rotation_vectors_agree_with_roma_and_so_do_gradients(scale):
    torch.manual_seed(0)
    rotvec = (scale * torch.randn(5, 24, 3, dtype=torch.float64)).requires_grad_()
    rotmat, expected = rotvec_to_rotmat(rotvec), roma.rotvec_to_rotmat(rotvec)
    torch.testing.assert_close(rotmat, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(rotmat)
    found, wanted = (torch.autograd.grad((weights * r).sum(), rotvec)[0] for r in (rotmat, expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_usual_rotation_vectors_equal_roma_to_the_bit():
    torch.manual_seed(0)
    rotvec = torch.randn(10_000, 3)
    assert torch.equal(rotvec_to_rotmat(rotvec), roma.rotvec_to_rotmat(rotvec))
    rot6d = torch.randn(10_000, 6)
    assert torch.equal(rot6d_to_rotmat(rot6d), roma.special_gramschmidt(rot6d.unflatten(-1, (3, 2))))


def test_the_nearest_rotation_agrees_with_roma_and_is_a_rotation():
    torch.manual_seed(0)
    matrix = torch.randn(1000, 3, 3, dtype=torch.float64)  # half of them reflect
    rotmat = nearest_rotation(matrix)
    torch.testing.assert_close(rotmat, roma.special_procrustes(matrix, method="svd"), rtol=0, atol=1e-9)
    torch.testing.assert_close(rotmat @ rotmat.mT, torch.eye(3, dtype=torch.float64).expand_as(rotmat))
    torch.testing.assert_close(torch.linalg.det(rotmat), torch.ones(1000, dtype=torch.float64))
