"""Quarter turns: a turned image gives the turned estimate, and only doubtful images are turned."""

import pytest
import torch
from torch import nn

from models.body_model import load_body_model
from models.inference import quarter_turns
from models.inference.prepare import prepare_for_inference, refine
from models.inference.quarter_turns import QuarterTurns, quarter_turn, turn_back
from models.predictor import load_network
from tests.helpers.tiny_data import write_body
from utils.crop import crop_image, normalize
from utils.geometry import project, rotvec_to_rotmat
from utils.media.images import load_image
from utils.paths import ROOT

TURNS = range(4)


def turned_points(xy: torch.Tensor, turns: int) -> torch.Tensor:
    """Points (..., 2), y down, where a counter-clockwise turn of the picture takes them."""
    for _ in range(turns):
        xy = torch.stack((xy[..., 1], -xy[..., 0]), -1)
    return xy


@pytest.mark.parametrize("turns", TURNS)
def test_a_bright_pixel_goes_where_the_points_go(turns):
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 1, 6] = 1
    row, column = quarter_turn(image, turns)[0, 0].nonzero()[0].tolist()
    xy = torch.tensor([2 * 6 + 1, 2 * 1 + 1]) / 8 - 1
    torch.testing.assert_close(torch.tensor([2 * column + 1, 2 * row + 1]) / 8 - 1, turned_points(xy, turns))


@pytest.fixture
def body(tmp_path):
    write_body(tmp_path)
    return load_body_model(tmp_path / "tiny_body.npz")


@pytest.mark.parametrize("turns", TURNS)
def test_turning_back_takes_every_joint_to_its_place(body, turns):
    """Also where the root joint is not at the origin, about which the body does not turn."""
    generator = torch.Generator().manual_seed(turns)
    rotmat = rotvec_to_rotmat(torch.randn(3, 24, 3, generator=generator))
    betas, cam = torch.randn(3, 10, generator=generator), torch.tensor([[0.9, 0.2, -0.4]] * 3)
    vertices, joints = body(rotmat, betas)
    before = turn_back(rotmat, betas, cam, joints, turns)
    vertices_before, _ = body(*before[:2])
    in_picture = turned_points(project(vertices_before, before[2]), turns)
    torch.testing.assert_close(in_picture, project(vertices, cam), atol=1e-4, rtol=1e-4)


def test_four_turns_are_none(body):
    rotmat, betas, cam = rotvec_to_rotmat(torch.randn(1, 24, 3)), torch.randn(1, 10), torch.tensor([[0.9, 0.2, -0.4]])
    estimate = rotmat, betas, cam
    for _ in TURNS:
        _, joints = body(*estimate[:2])
        estimate = turn_back(*estimate, joints, 1)
    for ours, given in zip(estimate, (rotmat, betas, cam), strict=True):
        torch.testing.assert_close(ours, given, atol=1e-4, rtol=1e-4)


class Bright(nn.Module):
    """A network whose keypoints have the brightness of the image's upper left pixel as confidence."""

    def __init__(self):
        super().__init__()
        self.detected = 0

    def detect(self, image):
        self.detected += len(image)
        return image[:, 0, :1, :1].expand(-1, 17, 3)

    def estimate(self, rotmat, betas, cam):
        return {
            "pred_rotmat": rotmat,
            "pred_betas": betas,
            "pred_cam": cam,
            "pred_joints": torch.zeros(len(cam), 24, 3),
        }

    def forward(self, image):
        turned = torch.eye(3).repeat(len(image), 24, 1, 1)
        return self.estimate(turned, image[:, 1, :1, 0].repeat(1, 10), torch.tensor([[1.0, 0, 0]] * len(image)))


def test_only_doubtful_images_are_tried_and_only_clearly_better_turns_are_taken():
    corner = quarter_turns.CERTAIN - 0.2
    images = torch.zeros(4, 3, 4, 4)
    images[0, 0, 0, 0] = quarter_turns.CERTAIN + 0.01  # certain
    images[1, 0, 0, 0], images[1, 0, 0, 3] = corner, corner + 0.9 * quarter_turns.MARGIN
    images[2, 0, 0, 0], images[2, 0, 0, 3] = corner, 0.95  # the upper right corner: one counter-clockwise turn
    images[3, 0, 0, 0], images[3, 0, 3, 3] = corner, 0.95  # two turns
    network = Bright()
    refined = QuarterTurns(network, network.detect)
    assert refined.choose(images).tolist() == [0, 0, 1, 2]
    assert network.detected == 4 + 9  # all as they are, three at three turns
    root = refined(images)["pred_rotmat"][:, 0]
    torch.testing.assert_close(root[0], torch.eye(3))
    torch.testing.assert_close(root[2] @ root[2], root[3])


def test_a_photograph_upside_down_is_estimated_as_upright(monkeypatch):
    monkeypatch.setattr(quarter_turns, "CERTAIN", 1.0)
    image = load_image(ROOT / "samples/im02.png")
    height, width = image.shape[:2]
    crop = normalize(crop_image(image, (width / 2, height / 2), max(height, width) / 200, antialias=True))[None]
    network = refine(prepare_for_inference(load_network(), "cpu"), True, True, quarter_turns=True)
    upright, turned = network(crop), network(quarter_turn(crop, 2))
    torch.testing.assert_close(turned["pred_joints_2d"], -upright["pred_joints_2d"], atol=1e-3, rtol=0)
    facing = upright["pred_rotmat"][:, 0] * torch.tensor([-1.0, -1, 1])[:, None]
    torch.testing.assert_close(turned["pred_rotmat"][:, 0], facing, atol=1e-3, rtol=0)
