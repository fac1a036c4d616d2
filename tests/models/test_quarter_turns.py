"""Quarter turns: a turned image gives the turned estimate, and only images of people who are not upright are turned."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.body_model import load_body_model
from models.inference.prepare import prepare_for_inference, refine
from models.inference.quarter_turns import QuarterTurns, quarter_turn, turn_back, turns_to_upright
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
    """A network whose trunk points to the image's brightest pixel."""

    def estimate(self, rotmat, betas, cam):
        joints = torch.zeros(len(cam), 24, 3)
        joints[:, 12] = rotmat[:, 0, :, 1]
        return {"pred_rotmat": rotmat, "pred_betas": betas, "pred_cam": cam, "pred_joints": joints}

    def forward(self, image):
        self.seen += len(image)
        size = image.shape[-1]
        place = image[:, 0].flatten(1).argmax(1)
        xy = (torch.stack((place % size, place // size), 1) * 2 + 1) / size - 1
        x, y = F.normalize(xy).unbind(1)
        root = torch.stack((-y, x, 0 * x, x, y, 0 * x, 0 * x, 0 * x, 1 + 0 * x), 1).view(-1, 3, 3)
        rotmat = torch.cat((root[:, None], torch.eye(3).expand(len(image), 23, 3, 3)), 1)
        return self.estimate(
            rotmat, torch.full((len(image), 10), float(self.seen)), torch.tensor([[1.0, 0, 0]] * len(image))
        )

    seen = 0


def with_trunk_at(degrees: float) -> torch.Tensor:
    """An image (3, 101, 101) whose bright pixel is at an angle, clockwise from the upper edge's middle."""
    image = torch.zeros(3, 101, 101)
    angle = math.radians(degrees)
    image[0, round(50 - 45 * math.cos(angle)), round(50 + 45 * math.sin(angle))] = 1
    return image


@pytest.mark.parametrize(
    ("degrees", "turns"), [(0, 0), (70, 0), (-70, 0), (80, 1), (130, 1), (140, 2), (-140, 2), (180, 2), (-95, 3)]
)
def test_the_first_estimate_says_how_to_turn(degrees, turns):
    estimate = Bright()(with_trunk_at(degrees)[None])
    assert turns_to_upright(estimate["pred_joints"]).tolist() == [turns]


def test_only_people_who_are_not_upright_are_estimated_again():
    images = torch.stack([with_trunk_at(degrees) for degrees in (10, 90, -60, 180)])
    network = Bright()
    plain = network(images)["pred_rotmat"]
    network.seen = 0
    output = QuarterTurns(network)(images)
    assert network.seen == 4 + 2
    assert output["pred_betas"][:, 0].tolist() == [4, 5, 4, 6]
    torch.testing.assert_close(output["pred_rotmat"], plain)  # the turned estimates are turned back


def test_a_photograph_upside_down_is_estimated_as_upright():
    image = load_image(ROOT / "samples/im01.png")
    height, width = image.shape[:2]
    crop = normalize(crop_image(image, (width / 2, height / 2), max(height, width) / 200, antialias=True))[None]
    network = refine(prepare_for_inference(load_network(), "cpu"), True, True, quarter_turns=True)
    upright, turned = network(crop), network(quarter_turn(crop, 2))
    torch.testing.assert_close(turned["pred_joints_2d"], -upright["pred_joints_2d"], atol=1e-3, rtol=0)
    facing = upright["pred_rotmat"][:, 0] * torch.tensor([-1.0, -1, 1])[:, None]
    torch.testing.assert_close(turned["pred_rotmat"][:, 0], facing, atol=1e-3, rtol=0)
