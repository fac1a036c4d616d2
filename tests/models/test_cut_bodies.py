"""People whom the picture's edge cuts at the waist."""

import numpy as np
import pytest
import roma
import torch

from models.build import build_model
from models.inference.cut_bodies import CutBodies, at_rest, joints_of
from models.inference.keypoint_fit import KeypointFit
from models.predictor import load_predictor
from utils.camera import Crop
from utils.detect.visibility import HALVES, cut_half
from utils.media.images import load_image
from utils.options import parse_args
from utils.paths import SAMPLES
from utils.skeleton import COCO17_TO_J14, SMPL_JOINTS

UPPER, LOWER = [*range(11)], [*range(11, 17)]  # COCO-17
EDGES = np.array(((-1.0, -1.0), (1.0, 1.0)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model(parse_args(["--backbone=movenet", "--num_transformers=1"]))[0].eval()


@pytest.fixture
def people():
    """rotmat, betas, cam of 6 people who stand in moderate poses, facing different ways."""
    generator = torch.Generator().manual_seed(3)
    rotmat = roma.rotvec_to_rotmat(0.2 * torch.randn(6, 24, 3, generator=generator))
    headings = roma.rotvec_to_rotmat(torch.linspace(-2, 3, 6)[:, None] * torch.tensor([0.0, 1, 0]))
    upright = roma.rotvec_to_rotmat(torch.tensor([torch.pi, 0, 0]))
    rotmat[:, 0] = upright @ headings @ rotmat[:, 0]
    return rotmat, torch.zeros(6, 10), torch.tensor([[0.9, 0.05, 0.1]] * 6)


def output_of(network, rotmat, betas, cam, confidence=0.8):
    """What a network with perfect keypoints returns."""
    output = network.estimate(rotmat, betas, cam)
    keypoints = torch.full((len(cam), 17, 3), confidence)
    coco, j14 = map(list, zip(*COCO17_TO_J14.items(), strict=True))
    keypoints[:, coco, :2] = output["pred_keypoints_2d"][:, j14]
    keypoints[:, :5, :2] = output["pred_joints_2d"][:, [SMPL_JOINTS.index("head")]]
    return output | {"detected_keypoints": keypoints}


def joints(standing_hips_at: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """A standing stick figure (24, 2), y down, its hips at a height, one unit is a metre."""
    heights = {"pelvis": 0, "hip": 0, "knee": 0.4, "ankle": 0.85, "foot": 0.9, "shoulder": -0.5, "elbow": -0.25}
    heights |= {"wrist": 0, "hand": 0.1, "head": -0.7, "neck": -0.55, "collar": -0.5}
    heights |= {"spine1": -0.1, "spine2": -0.2, "spine3": -0.3}
    xs = {"L": 0.1, "R": -0.1}
    points = [(xs.get(name[:2].rstrip("_"), 0), heights[name.split("_")[-1]]) for name in SMPL_JOINTS]
    return np.array(points) * scale + (0, standing_hips_at)


def seen(*groups: list[int]) -> np.ndarray:
    visible = np.zeros(17, bool)
    for group in groups:
        visible[group] = True
    return visible


def test_a_half_is_cut_if_it_is_not_visible_and_beyond_the_edge():
    assert cut_half(seen(UPPER, LOWER), joints(0.9), 1, EDGES) is None
    assert cut_half(seen(UPPER), joints(0.9), 1, EDGES) == "legs"
    assert cut_half(seen(UPPER, [11, 12]), joints(0.9), 1, EDGES) == "legs"  # hips are in the upper half's picture
    assert cut_half(seen(UPPER), joints(0.0), 1, EDGES) is None  # hidden by a table: there is room for them
    assert cut_half(seen(UPPER, [15]), joints(0.9), 1, EDGES) is None
    assert cut_half(seen(LOWER), joints(-0.9), 1, EDGES) == "upper body"
    assert cut_half(seen(LOWER), joints(0.1), 1, EDGES) is None
    assert cut_half(seen(LOWER, [9]), joints(-0.9), 1, EDGES) is None  # a hand at the ankles: the body is bent
    assert cut_half(seen(), joints(0.9), 1, EDGES) is None
    assert cut_half(seen([0, 1, 2]), joints(0.9), 1, EDGES) is None  # a face alone says nothing about where legs are


def test_the_scale_counts():
    assert cut_half(seen(UPPER), joints(0.5, 0.5), 0.5, EDGES) is None
    assert cut_half(seen(UPPER), joints(0.5, 2), 2, EDGES) == "legs"


def test_legs_at_rest_are_straight_and_the_rest_stays(people):
    for rotmat in people[0]:
        rested = at_rest(rotmat, "legs")
        torch.testing.assert_close(rested[joints_of("legs")], torch.eye(3).expand(8, 3, 3))
        others = [j for j in range(24) if j not in joints_of("legs")]
        torch.testing.assert_close(rested[others], rotmat[others])


@torch.inference_mode()
def test_an_upper_body_at_rest_is_upright_with_hanging_arms_over_the_same_legs(network, people):
    rotmat, betas, cam = people
    bent = rotmat.clone()  # pelvis and spine fold over the legs
    bow = roma.rotvec_to_rotmat(torch.tensor([0.9, 0, 0]))
    bent[:, 0] = bent[:, 0] @ bow
    bent[:, [1, 2]] = bow.mT @ bent[:, [1, 2]]
    bent[:, [3, 6, 9]] = bow
    rested = torch.stack([at_rest(one, "upper body") for one in bent])
    torch.testing.assert_close(torch.linalg.det(rested), torch.ones(6, 24))
    before, after = network.estimate(bent, betas, cam), network.estimate(rested, betas, cam)
    places = {name: after["pred_joints"][:, j] for j, name in enumerate(SMPL_JOINTS)}
    assert (places["head"] - places["pelvis"])[:, 1].max() < -0.55  # y points down
    for s in "LR":
        assert ((places[f"{s}_wrist"] - places[f"{s}_shoulder"])[:, 1] > 0.35).all()
        for upper, lower in (("hip", "knee"), ("knee", "ankle")):
            a, b = SMPL_JOINTS.index(f"{s}_{upper}"), SMPL_JOINTS.index(f"{s}_{lower}")
            bones = [e["pred_joints"][:, b] - e["pred_joints"][:, a] for e in (before, after)]
            torch.testing.assert_close(*bones, atol=1e-4, rtol=0)


def test_over_legs_in_the_air_the_trunk_hangs_down(people):
    handstand = people[0].clone()
    handstand[:, 0] = roma.rotvec_to_rotmat(torch.tensor([0, 0, torch.pi])) @ handstand[:, 0]
    rested = torch.stack([at_rest(one, "upper body") for one in handstand])
    assert (rested[:, 0, 1, 1] > 0.99).all()  # the body's y axis points down in the picture
    assert (torch.stack([at_rest(one, "upper body") for one in people[0]])[:, 0, 1, 1] < -0.99).all()


@pytest.mark.parametrize("half", HALVES)
@torch.inference_mode()
def test_the_visible_half_keeps_its_keypoints(network, people, half):
    """The keypoints of the other half are nonsense, and do not count."""
    shown, hidden = (UPPER, [13, 14, 15, 16]) if half == "legs" else (LOWER, UPPER)
    output = output_of(network, *people)
    output["detected_keypoints"][:, hidden, :2] = 3 * torch.randn(6, len(hidden), 2)
    visible = np.zeros((6, 17), bool)
    visible[:, shown] = True
    fitted = CutBodies(KeypointFit(network)).refit(output, [half] * 6, visible)
    limbs = [k for k in shown if k in COCO17_TO_J14]
    found = fitted["pred_keypoints_2d"][:, [COCO17_TO_J14[k] for k in limbs]]
    miss = (found - output["detected_keypoints"][:, limbs, :2]).norm(dim=-1).mean(1)
    assert (miss < 0.03).all(), miss
    expected = torch.stack([at_rest(one, half) for one in people[0]])[:, joints_of(half)]
    locked = [i for i, j in enumerate(joints_of(half)) if not SMPL_JOINTS[j].endswith("hip") or half == "legs"]
    torch.testing.assert_close(
        fitted["pred_rotmat"][:, joints_of(half)][:, locked], expected[:, locked], atol=1e-3, rtol=0
    )


@torch.inference_mode()
def test_only_people_who_are_cut_off_change(network, people):
    """Of three copies of the same people, one whole, one cut at the waist, one in the middle of a larger picture."""
    output = output_of(network, *(part[:3] for part in people))
    output["detected_keypoints"][1, 13:, 2] = 0
    hips = output["pred_joints_2d"][1, [1, 2], 1].max().item()
    crop = Crop((112.0, 112.0), 224 / 200)
    edge = int(crop.to_image(np.array((0, hips)))[1]) + 4
    sizes = [(224, 224), (edge, 224), (224, 224)]
    changed, halves = CutBodies(KeypointFit(network))(output, [crop] * 3, sizes)
    assert halves == [None, "legs", None]
    for name, value in output.items():
        torch.testing.assert_close(changed[name][[0, 2]], value[[0, 2]])
    torch.testing.assert_close(
        changed["pred_rotmat"][1, joints_of("legs")], torch.eye(3).expand(8, 3, 3), atol=1e-3, rtol=0
    )


@pytest.fixture(scope="module")
def predictor():
    return load_predictor(device="cpu", precision="fp32", flip_test=False)


def test_a_photograph_of_legs_gives_an_upright_body_and_says_so(predictor):
    """The woman who walks from the waist down; without the rest pose her body is bent over her legs."""
    image = np.ascontiguousarray(load_image(SAMPLES / "im01.png")[300:])
    box = (190, 0, 210, 190)
    (person,), (folded,) = predictor(image, box), predictor.refined_by(rest_halves=False)(image, box)
    assert person.at_rest == "upper body" and folded.at_rest is None
    assert {"trunk", "head", "left forearm", "right upper arm"} <= {*person.guessed}
    assert not {"left lower leg", "right lower leg"} & {*person.guessed}
    lean = [float(one.record()["angles"]["trunk_lean"]) for one in (person, folded)]
    assert lean[0] < 10 and lean[1] > 20
    ankles = [SMPL_JOINTS.index(f"{s}_ankle") for s in "LR"]
    np.testing.assert_allclose(person.joints_2d[ankles], folded.joints_2d[ankles], atol=12)  # pixels


def test_a_photograph_down_to_the_waist_gives_straight_legs(predictor):
    image = np.ascontiguousarray(load_image(SAMPLES / "im03.png")[:300])
    (person,) = predictor(image, (56, 39, 456, 261))
    assert person.at_rest == "legs" and "left thigh" in person.guessed and "head" not in person.guessed
    assert np.abs(person.pose[joints_of("legs")]).max() < 0.01
    angles = person.record()["angles"]
    assert all(abs(angles[f"{side}_knee_flexion"]) < 5 for side in ("left", "right"))


def test_whole_people_have_no_rest_pose(predictor):
    for name in ("im01.png", "im02.png"):
        (person,) = predictor(SAMPLES / name)
        assert person.at_rest is None and not person.guessed
        (other,) = predictor.refined_by(rest_halves=False)(SAMPLES / name)
        np.testing.assert_array_equal(person.vertices, other.vertices)
