"""Tight crop: the estimate of the enlarged middle of an image, in the frame of the image."""

import pytest
import torch
from torch import nn

from main import describe_protocol
from models.build import build_model
from models.criterion import Criterion
from models.inference.prepare import refine
from models.inference.tight_crop import BORDER, TightCrop
from models.predictor import load_predictor
from utils.geometry import project
from utils.options import parse_args
from utils.paths import SAMPLES

SIZE, CUT = 224, 9  # pixels, of them left out on each side


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model(parse_args(["--backbone=movenet", "--num_transformers=1"]))[0].eval()


def image(seed=0):
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


class DotFinder(nn.Module):
    """A network that detects the brightest spot of an image."""

    body_model = estimate = None

    def forward(self, image):
        place = (2 * torch.arange(image.shape[-1]) + 1) / image.shape[-1] - 1  # -1 and 1 are the outer edges
        light = image[:, 0] / image[:, 0].sum((1, 2), keepdim=True)
        xy = torch.stack(((light.sum(1) * place).sum(1), (light.sum(2) * place).sum(1)), -1)
        keypoints = torch.cat((xy, torch.full_like(xy[:, :1], 0.7)), -1)[:, None]
        return {"pred_cam": image.new_ones(len(image), 3), "detected_keypoints": keypoints, "aux_outputs": []}


def test_points_are_where_they_are_in_the_whole_image():
    whole = torch.zeros(2, 3, SIZE, SIZE)
    whole[0, :, 30:34, 180:184] = 1
    whole[1, :, 100:104, 60:64] = 1
    plain, tight = DotFinder()(whole), TightCrop(DotFinder())(whole)
    torch.testing.assert_close(
        tight["detected_keypoints"], plain["detected_keypoints"], atol=1e-3, rtol=0
    )  # half a pixel: 4e-3
    torch.testing.assert_close(tight["pred_cam"], torch.tensor([[(SIZE - 2 * CUT) / SIZE, 1, 1]] * 2))
    assert tight.keys() == {"pred_cam", "detected_keypoints"}


@torch.inference_mode()
def test_the_camera_projects_onto_the_2d_joints(network):
    tight = TightCrop(network)(image())
    torch.testing.assert_close(project(tight["pred_joints"], tight["pred_cam"]), tight["pred_joints_2d"])
    torch.testing.assert_close(project(tight["pred_keypoints_3d"], tight["pred_cam"]), tight["pred_keypoints_2d"])
    again = network.estimate(*(tight[name] for name in ("pred_rotmat", "pred_betas", "pred_cam")))
    for name, value in again.items():
        torch.testing.assert_close(tight[name], value, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_border_has_no_effect_and_the_middle_has(network):
    assert round(BORDER * SIZE) == CUT
    whole, tight = image(), TightCrop(network)
    before = tight(whole)["pred_rotmat"]
    whole[..., :CUT] = whole[..., -CUT:] = whole[..., :CUT, :] = whole[..., -CUT:, :] = 5
    torch.testing.assert_close(tight(whole)["pred_rotmat"], before)
    whole[..., CUT : CUT + 60, CUT : CUT + 60] = 5
    assert (tight(whole)["pred_rotmat"] - before).abs().max() > 1e-3


@torch.inference_mode()
def test_it_works_with_the_other_refinements(network):
    """Fitted limbs lie nearer to the keypoints; the mirror image of the input gives the mirrored estimate."""
    tight = refine(network, fit_keypoints=True, flip_test=True, tight_crop=True)
    plain, mirrored = tight(image()), tight(image().flip(-1))
    torch.testing.assert_close(mirrored["pred_cam"], plain["pred_cam"] * torch.tensor([1, -1, 1]), atol=1e-4, rtol=1e-3)
    wide = refine(network, fit_keypoints=True, flip_test=True)(image())
    assert (wide["pred_rotmat"] - plain["pred_rotmat"]).abs().max() > 1e-3


def test_it_is_the_default_of_the_demo():
    picture = SAMPLES / "im02.png"
    default, on, off = (
        load_predictor(precision="fp32", **flags)(picture, bbox=(0, 0, 400, 620))[0]
        for flags in ({}, {"tight_crop": True}, {"tight_crop": False})
    )
    assert (default.pose == on.pose).all() and abs(on.pose - off.pose).max() > 0.01
    assert abs(on.joints_2d - off.joints_2d).mean() < 20  # of 620 pixels


def test_the_protocol_names_it(network):
    criterion = Criterion(network.body_model, network.keypoint_regressor)
    for flags in ((), ("--tight_crop",)):
        assert ("tight crop" in describe_protocol(parse_args(["--data_mode=synthetic", *flags]), criterion)) == bool(
            flags
        )
