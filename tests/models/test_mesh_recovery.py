"""A subsampled body for training: fewer vertices, the same joints and keypoints, and never in a checkpoint."""

import numpy as np
import pytest
import torch
from torch import nn

from models.body_model import BodyModel
from models.criterion import Criterion
from models.features import Features
from models.mesh_recovery import MeshRecovery, subsample_body
from utils.geometry import rot6d_to_rotmat

NUM_VERTICES = 300


@pytest.fixture(params=["with", "without"])
def body(request) -> BodyModel:
    """A random body, with and without pose blend shapes."""
    random = np.random.default_rng(0)
    posedirs = random.normal(0, 0.01, (NUM_VERTICES, 3, 207)) * (request.param == "with")
    return BodyModel(
        v_template=random.normal(0, 0.5, (NUM_VERTICES, 3)),
        shapedirs=random.normal(0, 0.1, (NUM_VERTICES, 3, 10)),
        posedirs=posedirs,
        J_regressor=random.dirichlet(np.ones(NUM_VERTICES), 24),
        weights=random.dirichlet(np.ones(24), NUM_VERTICES),
        faces=random.integers(0, NUM_VERTICES, (50, 3)),
    )


@pytest.fixture
def regressor() -> torch.Tensor:
    """(17, V), a few vertices per keypoint, like real ones."""
    random = np.random.default_rng(1)
    matrix = np.zeros((17, NUM_VERTICES), np.float32)
    for row in matrix:
        row[random.choice(NUM_VERTICES, 4, replace=False)] = random.dirichlet(np.ones(4))
    return torch.from_numpy(matrix)


def pose(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    rotmat = rot6d_to_rotmat(torch.randn(count, 24, 6, generator=generator))
    return rotmat, torch.randn(count, 10, generator=generator)


def test_a_body_at_some_vertices_is_the_body_there(body):
    keep = torch.tensor([5, 0, 299, 17])
    vertices, joints = body(*pose())
    fewer = body.at_vertices(keep)
    fewer_vertices, same_joints = fewer(*pose())
    torch.testing.assert_close(fewer_vertices, vertices[:, keep])
    torch.testing.assert_close(same_joints, joints)
    assert fewer.num_vertices == 4 and body.num_vertices == NUM_VERTICES and len(body.faces) == 50
    torch.testing.assert_close(body(*pose())[0], vertices)  # the body itself is unchanged


@pytest.mark.parametrize("count", [1, 60, 10 * NUM_VERTICES])
def test_a_subsampled_body_has_the_same_keypoints(body, regressor, count):
    fewer, fewer_regressor = subsample_body(body, regressor, count)
    assert min(count, NUM_VERTICES) <= fewer.num_vertices <= min(count + 17 * 4, NUM_VERTICES)
    vertices, fewer_vertices = body(*pose())[0], fewer(*pose())[0]
    torch.testing.assert_close(fewer_regressor @ fewer_vertices, regressor @ vertices, atol=1e-5, rtol=1e-5)
    again, _ = subsample_body(body, regressor, count)
    assert torch.equal(again.v_template, fewer.v_template)


class FixedEstimate(nn.Module):
    """A regressor with the same estimate for every image."""

    def forward(self, pooled):
        rotmat, betas = pose(len(pooled))
        return rotmat, betas, torch.tensor([1.0, 0, 0]).expand(len(pooled), -1)


def test_training_uses_the_subsampled_body_and_evaluation_the_full_one(body, regressor):
    fewer = subsample_body(body, regressor, 60)
    model = MeshRecovery(nn.Identity(), FixedEstimate(), body, regressor, subsampled=fewer)
    criterion = Criterion(body, regressor, subsampled=fewer)
    features = Features((), torch.zeros(3, 1))
    trained, evaluated = model.train()(features), model.eval()(features)
    assert trained["pred_vertices"].shape[1] == fewer[0].num_vertices
    assert evaluated["pred_vertices"].shape[1] == NUM_VERTICES
    for name in ("pred_keypoints_3d", "pred_keypoints_2d", "pred_joints", "pred_rotmat"):
        torch.testing.assert_close(trained[name], evaluated[name], atol=1e-5, rtol=1e-5)
    assert not model.state_dict() and not criterion.state_dict()  # a body may have a licence

    batch = {
        "pose": torch.zeros(3, 72),
        "betas": torch.zeros(3, 10),
        "keypoints_2d": torch.rand(3, 24, 3),
        "keypoints_3d": torch.rand(3, 24, 4),
        **{f"has_{label}": torch.ones(3).bool() for label in ("smpl", "keypoints_2d", "keypoints_3d")},
    }
    thin_losses, losses = criterion.train()(trained, batch), criterion.eval()(evaluated, batch)
    for name in ("theta", "2dj", "3dj"):
        torch.testing.assert_close(thin_losses[name], losses[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        thin_losses["vert"], losses["vert"], rtol=0.3, atol=0
    )  # an estimate from a third of the vertices
    # by hand: distances of the selected vertices, both sides around the pelvis of all vertices
    true = body(torch.eye(3).expand(3, 24, 3, 3), torch.zeros(3, 10))[0]
    found, true = (vertices - regressor[:1] @ vertices for vertices in (evaluated["pred_vertices"], true))
    difference = (found - true).abs()
    needed = (fewer[0].v_template[:, None] == body.v_template[None]).all(-1).any(0)
    torch.testing.assert_close(thin_losses["vert"], difference[:, needed].mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(losses["vert"], difference.mean(), atol=1e-5, rtol=1e-5)
