"""The open body: symmetry, anatomy, regressors, shape space, and what it must not hold."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from models.body_model import BodyModel, load_body_model
from scripts.lib.open_body.posing import random_poses, skin
from scripts.lib.open_body.regressors import KNEE_SHIFT, fit_row
from utils.geometry import project, rot6d_to_rotmat
from utils.paths import OPEN_BODY
from utils.skeleton import (
    J17,
    J17_TO_J14,
    J24,
    J24_FLIP,
    J24_TO_J14,
    SMPL_FLIP,
    SMPL_JOINTS,
    SMPL_PARENTS,
    flip_permutation,
)

MIRROR = np.array([-1, 1, 1])


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    with np.load(OPEN_BODY) as file:
        return dict(file)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body_model(OPEN_BODY)


@pytest.fixture(scope="module")
def joints(data) -> dict[str, np.ndarray]:
    return dict(zip(SMPL_JOINTS, data["J_regressor"].astype(np.float64) @ data["v_template"], strict=True))


def keypoints(data, vertices=None) -> dict[str, np.ndarray]:
    return dict(zip(J24, data["j24_regressor"] @ (data["v_template"] if vertices is None else vertices), strict=True))


def posed(body, batch=8, seed=0, betas=None):
    rotmat = torch.tensor(random_poses(batch, np.random.default_rng(seed)), dtype=torch.float32)
    betas = torch.randn(batch, 10, generator=torch.Generator().manual_seed(seed)) if betas is None else betas
    vertices, joints = body(rotmat, betas)
    return vertices.numpy(), joints.numpy()


def test_file_is_small_and_layout_is_smpls(data):
    n = len(data["v_template"])
    assert OPEN_BODY.stat().st_size < 6e6
    assert n != 6890
    shapes = {
        "v_template": (n, 3), "shapedirs": (n, 3, 10), "posedirs": (n, 3, 207), "J_regressor": (24, n),
        "weights": (n, 24), "kintree_table": (2, 24), "j17_regressor": (17, n), "j24_regressor": (24, n),
        "mean_pose6d": (144,), "mean_betas": (10,), "mean_cam": (3,), "flip_vertices": (n,),
    }  # fmt: skip
    assert {key: data[key].shape for key in shapes} == shapes
    assert tuple(data["kintree_table"][0]) == SMPL_PARENTS
    assert not data["posedirs"].any()
    assert "CC0" in str(data["license"])
    assert "MakeHuman" in str(data["provenance"])


def test_mirror_map_is_exact(data):
    flip, v = data["flip_vertices"], data["v_template"]
    np.testing.assert_array_equal(flip[flip], np.arange(len(flip)))
    np.testing.assert_array_equal(v[flip] * MIRROR, v)
    np.testing.assert_allclose(data["shapedirs"][flip] * MIRROR[:, None], data["shapedirs"], atol=1e-8)
    np.testing.assert_allclose(data["weights"][flip][:, SMPL_FLIP], data["weights"], atol=1e-7)
    for key, joint_flip in (
        ("J_regressor", SMPL_FLIP),
        ("j17_regressor", flip_permutation(J17)),
        ("j24_regressor", J24_FLIP),
    ):
        np.testing.assert_allclose(data[key][np.array(joint_flip)][:, flip], data[key], atol=1e-7)


def test_a_mirrored_pose_gives_the_mirrored_body(body, data):
    rng = np.random.default_rng(3)
    rotvec = rng.normal(0, 0.5, (24, 3))
    mirrored = rotvec[np.array(SMPL_FLIP)] * [1, -1, -1]
    rotmat = torch.tensor(Rotation.from_rotvec(np.concatenate((rotvec, mirrored))).as_matrix(), dtype=torch.float32)
    vertices, _ = body(rotmat.view(2, 24, 3, 3), torch.randn(1, 10).expand(2, 10))
    np.testing.assert_allclose(vertices[0].numpy()[data["flip_vertices"]] * MIRROR, vertices[1], atol=2e-6)


def test_weights_and_regressors_sum_to_one(data):
    assert (data["weights"] >= 0).all()
    for key in ("weights", "J_regressor", "j17_regressor", "j24_regressor"):
        np.testing.assert_allclose(data[key].sum(1, dtype=np.float64), 1, atol=1e-5)
    assert (data["j17_regressor"] >= 0).all()
    assert (data["j24_regressor"] >= 0).all()
    assert ((data["J_regressor"] != 0).sum(1) < len(data["v_template"]) / 10).all()


def test_mesh_is_clean(data):
    faces, v = data["f"], data["v_template"]
    np.testing.assert_array_equal(np.unique(faces), np.arange(len(v)))
    corners = v[faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.linalg.norm(normal, axis=1) > 0).all()
    volume = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.05 < volume < 0.09  # cubic metres; positive: faces look outwards
    edges = np.sort(np.concatenate((faces[:, :2], faces[:, 1:], faces[:, ::2])), 1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2
    # open only where the lids meet the eyes
    k = keypoints(data)
    border = np.unique(edges[count == 1])
    assert np.minimum(*(np.linalg.norm(v[border] - k[eye], axis=1) for eye in ("L_Eye", "R_Eye"))).max() < 0.025
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(v), len(v)))
    assert connected_components(graph, directed=False)[0] == 3  # the skin and two eyes


def test_uv_coordinates(data):
    assert data["uv_f"].shape == data["f"].shape
    assert data["uv_f"].max() == len(data["uv"]) - 1
    assert (data["uv"] >= 0).all()
    assert (data["uv"] <= 1).all()


def test_t_pose(data, joints):
    v = data["v_template"]
    assert 1.6 < np.ptp(v[:, 1]) < 1.8
    np.testing.assert_allclose(joints["pelvis"], 0, atol=2e-3)
    for side, sign in (("L", 1), ("R", -1)):
        arm = np.stack([joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand")])
        assert (np.diff(arm[:, 0] * sign) > 0.07).all()
        assert np.ptp(arm[:, 1:], 0).max() < 0.02
        leg = np.stack([joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle")])
        assert (np.diff(leg[:, 1]) < -0.35).all()
        assert ((leg[:, 0] * sign > 0.06) & (leg[:, 0] * sign < 0.2)).all()
        foot = joints[f"{side}_foot"] - joints[f"{side}_ankle"]
        assert foot[2] > 0.08
        # palm down: the hand is wider than thick
        hand = v[(data["weights"][:, SMPL_JOINTS.index(f"{side}_wrist")] > 0.9)]
        assert np.ptp(hand[:, 2]) > 1.3 * np.ptp(hand[:, 1])
    toes, heel = v[v[:, 1] < v[:, 1].min() + 0.02, 2].max(), v[v[:, 1] < v[:, 1].min() + 0.02, 2].min()
    assert toes > -heel  # it faces +z


def test_joints_lie_where_anatomy_has_them(data, joints):
    y = {name: place[1] for name, place in joints.items()}
    order = ("L_foot", "L_ankle", "L_knee", "L_hip", "pelvis", "spine1", "spine2", "spine3", "neck", "head")
    assert [y[a] < y[b] for a, b in pairwise(order)] == [True] * 9
    assert 0.14 < joints["L_hip"][0] - joints["R_hip"][0] < 0.21
    assert joints["L_collar"][0] < 0.5 * joints["L_shoulder"][0]
    # every joint is inside the body: skin on both sides of it along each axis across its bone
    for name, place in joints.items():
        axes = (1, 2) if name.split("_")[-1] in ("shoulder", "elbow", "wrist", "hand") else (0, 2)
        across = next(a for a in (0, 1) if a not in axes)
        j = SMPL_JOINTS.index(name)
        moved = data["weights"][:, [j, SMPL_PARENTS[j]] if j else [0]].sum(1) > 0.1
        ring = data["v_template"][moved & (np.abs(data["v_template"][:, across] - place[across]) < 0.03)]
        for axis in axes if name not in ("L_foot", "R_foot") else (0,):
            assert ring[:, axis].min() < place[axis] < ring[:, axis].max(), name


def test_keypoints_agree_between_the_two_sets(data):
    np.testing.assert_array_equal(
        data["j17_regressor"][np.array(J17_TO_J14)], data["j24_regressor"][np.array(J24_TO_J14)]
    )
    k = keypoints(data)
    np.testing.assert_allclose(k["Pelvis"], (k["L_Hip"] + k["R_Hip"]) / 2, atol=1e-6)
    np.testing.assert_array_equal(data["j17_regressor"][0], data["j24_regressor"][J24.index("Pelvis")])


def test_face_keypoints_lie_on_the_face(data, joints):
    k, v = keypoints(data), data["v_template"]
    head = v[v[:, 1] > joints["neck"][1] + 0.08]
    assert k["Nose"][2] > head[:, 2].max() - 0.01
    assert k["Top_of_Head"][1] > v[:, 1].max() - 0.01
    assert k["L_Ear"][0] > head[:, 0].max() - 0.02
    assert k["Jaw"][1] < k["Nose"][1] < k["L_Eye"][1] < k["Head"][1] < k["Top_of_Head"][1]
    assert abs(k["L_Eye"][1] - k["L_Ear"][1]) < 0.05
    assert 0.05 < k["L_Eye"][0] - k["R_Eye"][0] < 0.08
    assert k["L_Ear"][2] < k["L_Eye"][2] < k["Nose"][2]
    assert min(np.linalg.norm(v - k["L_Eye"], axis=1)) < 0.005


def test_limb_keypoints_follow_shape_and_pose(body, data):
    vertices, joints = posed(body, 16)
    k17 = data["j17_regressor"] @ vertices
    for name in J17:
        side, _, part = name.partition("_")
        if side in "LR":
            want = joints[:, SMPL_JOINTS.index(f"{side}_{part.lower()}")]
            if part == "Knee":
                want = want + KNEE_SHIFT * (joints[:, SMPL_JOINTS.index(f"{side}_ankle")] - want)
            error = np.linalg.norm(k17[:, J17.index(name)] - want, axis=1)
            assert error.mean() < 0.02, name
            assert error.max() < 0.045, name


def test_keypoints_of_the_legs_are_at_the_heights_of_people(data):
    """Knee 0.285, ankle 0.039 of the height (Drillis and Contini 1966); thigh and shin are equally long."""
    k, y = keypoints(data), data["v_template"][:, 1]
    height = {name: (k[f"L_{name}"][1] - y.min()) / np.ptp(y) for name in ("Hip", "Knee", "Ankle")}
    assert height["Knee"] == pytest.approx(0.285, abs=0.005)
    assert height["Ankle"] == pytest.approx(0.039, abs=0.01)
    assert (height["Hip"] - height["Knee"]) / (height["Knee"] - height["Ankle"]) == pytest.approx(1, abs=0.03)


def test_joint_regressor_follows_pose(body, data):
    vertices, joints = posed(body, 16, seed=1)
    error = np.linalg.norm(data["J_regressor"].astype(np.float64) @ vertices - joints, axis=-1)
    assert error.mean() < 0.004
    assert error.max() < 0.02


def test_shape_space_is_a_population(data):
    dirs = data["shapedirs"].reshape(-1, 10).astype(np.float64)
    cosine = dirs.T @ dirs / np.outer(*[np.linalg.norm(dirs, axis=0)] * 2)
    np.testing.assert_allclose(cosine, np.eye(10), atol=1e-3)
    assert (np.diff(np.linalg.norm(dirs, axis=0)) < 0).all()
    betas = np.random.default_rng(0).normal(size=(100, 10))
    shapes = data["v_template"] + np.einsum("vck,nk->nvc", data["shapedirs"], betas)
    height = np.ptp(shapes[..., 1], 1)
    assert 1.64 < height.mean() < 1.74
    assert 0.07 < height.std() < 0.12
    corners = shapes[:, data["f"]]
    volume = (corners[:, :, 0] * np.cross(corners[:, :, 1], corners[:, :, 2])).sum((1, 2)) / 6
    bmi = 985 * volume / height**2
    assert 22 < bmi.mean() < 27
    assert 3 < bmi.std() < 6


def test_mean_parameters_show_an_upright_person_in_the_crop(body, data):
    rotmat = rot6d_to_rotmat(torch.tensor(data["mean_pose6d"]).view(1, 24, 6))
    vertices, joints = body(rotmat, torch.tensor(data["mean_betas"])[None])
    down = dict(zip(SMPL_JOINTS, joints[0], strict=True))
    assert down["head"][1] < down["pelvis"][1] < down["L_ankle"][1]  # camera frame: y is down
    assert down["L_shoulder"][0] > down["R_shoulder"][0]  # facing the camera, its left is on the right of the picture
    assert vertices[0, data["v_template"][:, 2].argmax(), 2] < down["head"][2]  # the nose is nearer than the skull
    for side in "LR":
        assert down[f"{side}_wrist"][1] > down[f"{side}_elbow"][1] > down[f"{side}_shoulder"][1]
    xy = project(vertices, torch.tensor(data["mean_cam"])[None])[0]
    assert xy.abs().max() < 0.9
    assert abs(float(xy[:, 1].max() + xy[:, 1].min())) < 1e-3


def test_build_tools_skin_as_the_body_model_does(body, data, joints):
    local = random_poses(2, np.random.default_rng(5))
    template = np.repeat(data["v_template"][None].astype(np.float64), 2, 0)
    rest = np.repeat(np.stack([joints[name] for name in SMPL_JOINTS])[None], 2, 0)
    vertices, moved = skin(template, rest, data["weights"].astype(np.float64), local)
    want, want_joints = body(torch.tensor(local, dtype=torch.float32), torch.zeros(2, 10))
    np.testing.assert_allclose(vertices, want, atol=1e-5)
    np.testing.assert_allclose(moved, want_joints, atol=1e-5)


def test_fitted_rows_recover_a_known_point():
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(60, 20, 3))
    row = np.zeros(20)
    row[[2, 7, 11]] = 0.5, 0.2, 0.3
    for signed in (True, False):
        got = fit_row(vertices, row @ vertices, np.ones(60), signed)
        np.testing.assert_allclose(got, row, atol=1e-4)
        assert got.sum() == pytest.approx(1)
