"""Feedback from 2D keypoints: zero before training, trainable, and without a gradient to the estimate."""

import pytest
import torch

from models.features import Features
from models.graph_transformer import ERROR_GAIN, GraphTransformerBlock, KeypointFeedback
from utils.skeleton import COCO17, SMPL_JOINTS

DIM, POINTS = 32, 6


@pytest.fixture
def feedback():
    torch.manual_seed(0)
    return KeypointFeedback(26, DIM)


@pytest.fixture
def keypoints():
    return torch.cat((torch.rand(2, 17, 2) * 2 - 1, torch.rand(2, 17, 1)), dim=-1)


def joints() -> torch.Tensor:
    return torch.rand(2, 24, 2) * 2 - 1


def observed_error(feedback, keypoints, joints_2d) -> torch.Tensor:
    """The errors in the input of the first layer, (B, 12, 2)."""
    seen = []
    handle = feedback.encode[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    feedback(keypoints, joints_2d)
    handle.remove()
    return seen[0][:, -24:].unflatten(1, (12, 2))


def test_it_is_zero_before_training(feedback, keypoints):
    assert feedback(keypoints, joints()).shape == (2, 26, DIM) and not feedback(keypoints, joints()).any()
    block = GraphTransformerBlock([8, 8], DIM, num_units=1, radius=2, map_size=14, point_channels=POINTS).eval()
    maps = tuple(torch.randn(2, 8, size, size) for size in (14, 7))
    features = Features(maps, torch.zeros(2, 1), torch.randn(2, 17, POINTS), keypoints)
    inputs = torch.randn(2, 26, DIM), features, joints()
    with_feedback = block(*inputs)
    block.feedback.forward = lambda *_: 0
    assert all(torch.equal(a, b) for a, b in zip(with_feedback, block(*inputs), strict=True))


def test_every_parameter_learns_and_the_joints_get_no_gradient(feedback, keypoints):
    optimizer = torch.optim.Adam(feedback.parameters(), lr=1e-2)
    joints_2d = joints().requires_grad_()
    for _ in range(2):  # the first step moves the last layer away from zero, which lets the second reach the others
        optimizer.zero_grad()
        (feedback(keypoints, joints_2d) - 1).square().mean().backward()
        optimizer.step()
    assert [name for name, p in feedback.named_parameters() if not p.grad.any()] == []
    assert joints_2d.grad is None


def test_the_error_is_from_each_limb_joint_to_its_own_keypoint(feedback, keypoints):
    """Paired by name: `left_elbow` is `L_elbow`."""
    joints_2d = joints()
    limbs = COCO17[5:]
    expected = []
    for name in limbs:
        side, part = name.split("_")
        *xy, confidence = keypoints[:, COCO17.index(name)].unbind(1)
        joint = joints_2d[:, SMPL_JOINTS.index(f"{side[0].upper()}_{part}")]
        expected.append(ERROR_GAIN * confidence[:, None] * (torch.stack(xy, 1) - joint))
    found = observed_error(feedback, keypoints, joints_2d)
    # the order of the limbs is the module's own: compare as sets of rows
    distance = (found[:, :, None] - torch.stack(expected, 1)[:, None]).abs().amax((0, 3))
    assert (distance.amin(0) < 1e-6).all() and (distance.amin(1) < 1e-6).all()


def test_an_undetected_keypoint_has_no_error_and_a_diverged_joint_a_bounded_one(feedback, keypoints):
    unseen = keypoints.clone()
    unseen[..., 2] = 0
    assert not observed_error(feedback, unseen, joints()).any()
    torch.nn.init.normal_(feedback.decode.weight)
    far, farther = (feedback(keypoints, torch.full((2, 24, 2), x)) for x in (50.0, 1e6))
    assert far.isfinite().all() and torch.equal(far, farther)
