"""TensorFlow.js graphs in PyTorch, and the regions and landmarks of BlazePose, without its weights."""

import base64
import json

import numpy as np
import pytest
import torch

from datasets.augment import move_keypoints_3d
from scripts import compare_blazepose
from scripts.lib import blazepose
from scripts.lib.blazepose import CENTER, INPUT_SIZE, LIMBS, TOP, Landmarks, Region, refine, to_picture, turn_back
from scripts.lib.tfjs import read_weights, run_graph
from utils.camera import Crop
from utils.crop import crop_image
from utils.paths import ROOT
from utils.skeleton import J14

RECORDED = json.loads((ROOT / "tests" / "data" / "tfjs_graph.json").read_text())


def test_the_graph_gives_what_tensorflow_js_gives():
    weights = read_weights(RECORDED["graph"], base64.b64decode(RECORDED["weights"]))
    values = run_graph(RECORDED["graph"], weights, torch.tensor(RECORDED["image"]).view(1, 9, 8, 3))
    assert len(RECORDED["outputs"]) == 6
    for name, expected in RECORDED["outputs"].items():
        assert list(values[name].shape) == expected["shape"]
        np.testing.assert_allclose(values[name].flatten(), expected["values"], atol=2e-5, err_msg=name)


def test_every_limb_has_its_landmark():
    """Left landmarks have odd numbers, the shoulders come first, and each right one follows its left one."""
    assert sorted(LIMBS.values()) == [*range(11, 17), *range(23, 29)]
    assert set(LIMBS) == set(J14) - {"Neck", "Head"}
    for name, landmark in LIMBS.items():
        assert (landmark % 2 == 1) == (name[0] == "L")
        assert LIMBS["L" + name[1:]] + 1 == LIMBS["R" + name[1:]]
    assert (
        LIMBS["L_Shoulder"] < LIMBS["L_Elbow"] < LIMBS["L_Wrist"] < LIMBS["L_Hip"] < LIMBS["L_Knee"] < LIMBS["L_Ankle"]
    )


@pytest.mark.parametrize("degrees", [0, 30, -100, 180])
def test_the_own_region_is_upright_around_the_circle(degrees):
    """A person whose axis is turned clockwise by some degrees."""
    points = np.zeros((39, 2))
    angle = np.deg2rad(degrees)
    points[CENTER] = 300, 200
    points[TOP] = points[CENTER] + 80 * np.array([np.sin(angle), -np.cos(angle)])
    region = Landmarks(points, np.zeros((33, 3))).region()
    np.testing.assert_allclose(200 * region.crop.scale, 1.25 * 160)
    in_region = region.matrix() @ np.array([*points[TOP], 1])
    # above the centre of the input; 80 of the region's 200 pixels
    np.testing.assert_allclose(in_region, [INPUT_SIZE / 2, INPUT_SIZE * (0.5 - 80 / 200)], atol=1e-6)


def test_points_return_to_the_picture():
    """A bright dot in the picture is found in the input and mapped back."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[118:123, 168:173] = 255  # around (170, 120)
    region = Region(Crop((160, 110), 100 / 200), 25.0)
    pixels = crop_image(image, *region.crop, region.rotation_deg, size=INPUT_SIZE)[..., 0].astype(float)
    y, x = np.mgrid[:INPUT_SIZE, :INPUT_SIZE]
    mean = np.array([(pixels * x).sum(), (pixels * y).sum()]) / pixels.sum()
    np.testing.assert_allclose(to_picture((mean[None] + 0.5) / INPUT_SIZE, region), [[170, 120]], atol=0.05)


def test_world_landmarks_turn_back_as_labels_turn():
    points = np.random.default_rng(0).normal(size=(24, 4))
    turned = move_keypoints_3d(points, 35.0, flip=False)[:, :3]
    np.testing.assert_allclose(turn_back(turned, 35.0), points[:, :3], atol=1e-12)


def test_landmarks_move_to_the_heat_around_them():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    heat = torch.exp(-((x - 21.5) ** 2 + (y - 40.0) ** 2) / 2)
    points = torch.tensor([[20.5 / 64, 40.5 / 64], [0.5, 0.1], [1.2, 0.5]])
    refined = refine(points, heat.expand(3, -1, -1))
    torch.testing.assert_close(refined[0] * 64, torch.tensor([21.5, 40.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(refined[1:], points[1:])  # no heat around the second, the third is outside
    torch.testing.assert_close(refine(points, 0.4 * heat.expand(3, -1, -1)), points)


def test_the_network_reads_the_square_and_returns_to_the_picture(monkeypatch):
    """A graph in place of BlazePose's whose landmarks are the colours of a picture's corner."""
    network = object.__new__(blazepose.BlazePose)
    network.graph, network.weights = {}, {}

    def run(graph, weights, image):
        assert image.shape == (1, INPUT_SIZE, INPUT_SIZE, 3) and image.max() <= 1
        rows = torch.zeros(39, 5)
        rows[:, :2] = INPUT_SIZE * image[0, 0, 0, :2]
        world = torch.arange(117.0)
        return {"Identity_2": rows.view(1, -1), "Identity": torch.zeros(1, 64, 64, 39), "Identity_4": world[None]}

    monkeypatch.setattr(blazepose, "run_graph", run)
    image = np.full((100, 100, 3), (51, 204, 0), np.uint8)
    found = network(image, Region(Crop((50, 40), 60 / 200)))
    # the crop covers 20 .. 80 and 10 .. 70 with its outer edges, counted from the first pixel's centre as 0
    np.testing.assert_allclose(found.points, [[20 + 0.2 * 60, 10 + 0.8 * 60]] * 39, atol=0.13)
    np.testing.assert_allclose(found.world, np.arange(99).reshape(33, 3))
    joints = compare_blazepose.blazepose(network, own_region=False)(image, Crop((50, 40), 60 / 200))
    np.testing.assert_allclose(joints.metres[0], [3 * LIMBS["R_Ankle"] + i for i in range(3)])
