"""Body models: skinning against smplx and by hand, files of every form, errors."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.spatial.transform import Rotation

from models import build
from models.backbones import hrnet
from models.body_model import BodyModel, load_body_model
from utils.errors import UserError
from utils.paths import OPEN_BODY
from utils.skeleton import SMPL_PARENTS

SMPL_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")


def random_pose(batch: int, seed: int = 0, angle: float = 0.7) -> torch.Tensor:
    rotvec = np.random.default_rng(seed).normal(0, angle, (batch * 24, 3))
    return torch.tensor(Rotation.from_rotvec(rotvec).as_matrix().reshape(batch, 24, 3, 3), dtype=torch.float32)


def tiny_body(n: int = 50, seed: int = 0) -> dict[str, np.ndarray]:
    """A random body in SMPL layout."""
    rng = np.random.default_rng(seed)
    regressor = rng.random((24, n)) ** 4
    weights = rng.random((n, 24)) ** 8
    return {
        "v_template": rng.normal(0, 0.5, (n, 3)),
        "shapedirs": rng.normal(0, 0.02, (n, 3, 10)),
        "posedirs": rng.normal(0, 0.01, (n, 3, 207)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *SMPL_PARENTS[1:]], range(24)]),
        "f": rng.integers(0, n, (30, 3)).astype(np.uint32),
    }


def from_arrays(data: dict[str, np.ndarray]) -> BodyModel:
    kwargs = {key: data[key] for key in SMPL_KEYS[:5]}
    return BodyModel(**kwargs, faces=data["f"])


@pytest.fixture(scope="module")
def open_body() -> BodyModel:
    return load_body_model(OPEN_BODY)


def check_against_smplx(path: Path, extra_vertices: dict[str, int] | None):
    smplx = pytest.importorskip("smplx")
    from smplx.utils import Struct

    with np.load(path) as file:
        data = {key: file[key] for key in SMPL_KEYS}
    data["f"], data["kintree_table"] = data["f"].astype(np.int64), data["kintree_table"].astype(np.int64)
    theirs = smplx.SMPL("", data_struct=Struct(**data), vertex_ids=extra_vertices)
    ours = load_body_model(path)
    rotmat, betas = random_pose(4), torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    want = theirs(
        betas=betas, body_pose=rotmat[:, 1:], global_orient=rotmat[:, :1], pose2rot=False, transl=torch.zeros(4, 3)
    )
    vertices, joints = ours(rotmat, betas)
    assert (vertices - want.vertices).abs().max() < 1e-5
    assert (joints - want.joints[:, :24]).abs().max() < 1e-5


def test_agrees_with_smplx_on_the_open_body(open_body):
    # smplx also selects 21 vertices by SMPL's numbering, which the open body does not have
    j24 = open_body.keypoint_regressors["j24"]
    nose, left_eye = j24[19].argmax(), j24[20].argmax()
    names = ("nose", "reye", "leye", "rear", "lear", "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel")
    names += tuple(f"{side}{finger}" for side in "lr" for finger in ("thumb", "index", "middle", "ring", "pinky"))
    check_against_smplx(OPEN_BODY, {name: int(nose) for name in names} | {"leye": int(left_eye)})


def test_agrees_with_smplx_on_smpl_layout(reference):
    check_against_smplx(reference / "toy_body.npz", None)


def test_skinning_by_hand():
    data = tiny_body()
    rotmat, betas = random_pose(2, 1), torch.randn(2, 10)
    vertices, joints = from_arrays(data)(rotmat, betas)
    for b in range(2):
        pose = rotmat[b].double().numpy()
        shaped = data["v_template"] + data["shapedirs"] @ betas[b].double().numpy()
        rest = data["J_regressor"] @ shaped
        shaped = shaped + data["posedirs"] @ (pose[1:] - np.eye(3)).reshape(-1)
        world = []
        for j in range(24):
            step = np.eye(4)
            step[:3, :3], step[:3, 3] = pose[j], rest[j] - (rest[SMPL_PARENTS[j]] if j else 0)
            world.append(world[SMPL_PARENTS[j]] @ step if j else step)
        want = np.zeros_like(shaped)
        for j in range(24):
            back = np.eye(4)
            back[:3, 3] = -rest[j]
            moved = (world[j] @ back @ np.c_[shaped, np.ones(len(shaped))].T).T[:, :3]
            want += data["weights"][:, j, None] * moved
        np.testing.assert_allclose(vertices[b], want, atol=2e-6)
        np.testing.assert_allclose(joints[b], np.stack(world)[:, :3, 3], atol=2e-6)


def test_rest_pose_is_the_shaped_template(open_body):
    betas = torch.randn(3, 10)
    vertices, joints = open_body(torch.eye(3).expand(3, 24, 3, 3), betas)
    with np.load(OPEN_BODY) as file:
        want = file["v_template"] + np.einsum("vck,bk->bvc", file["shapedirs"], betas.numpy())
        want_joints = file["J_regressor"].astype(np.float64) @ want
    np.testing.assert_allclose(vertices, want, atol=1e-6)
    np.testing.assert_allclose(joints, want_joints, atol=5e-6)


def test_standing_height_is_that_of_the_body_at_rest(open_body):
    betas = torch.randn(5, 10)
    vertices, _ = open_body(torch.eye(3).expand(5, 24, 3, 3), betas)
    torch.testing.assert_close(open_body.standing_height(betas), vertices[..., 1].amax(1) - vertices[..., 1].amin(1))


def test_a_global_rotation_is_about_the_pelvis(open_body):
    pose, betas = random_pose(1, 2), torch.randn(1, 10)
    turn = random_pose(1, 3)[:, 0]
    vertices, joints = open_body(pose, betas)
    turned = pose.clone()
    turned[:, 0] = turn @ pose[:, 0]
    vertices_turned, joints_turned = open_body(turned, betas)
    pelvis = joints[:, :1]
    torch.testing.assert_close(vertices_turned, (vertices - pelvis) @ turn.mT + pelvis, atol=1e-5, rtol=0)
    torch.testing.assert_close(joints_turned, (joints - pelvis) @ turn.mT + pelvis, atol=1e-5, rtol=0)


def test_rows_do_not_depend_on_the_batch():
    body = from_arrays(tiny_body())
    pose, betas = random_pose(5), torch.randn(5, 10)
    whole = body(pose, betas)[0]
    for i in range(5):
        torch.testing.assert_close(body(pose[i : i + 1], betas[i : i + 1])[0][0], whole[i], atol=1e-6, rtol=0)
    assert body(pose[:0], betas[:0])[0].shape == (0, 50, 3)


def test_gradients_are_right():
    body = from_arrays(tiny_body(6)).double()
    pose, betas = random_pose(1).double().requires_grad_(), torch.randn(1, 10).double().requires_grad_()
    assert torch.autograd.gradcheck(body, (pose, betas), fast_mode=True)


def test_zero_pose_blend_shapes_are_skipped_not_changed():
    data = tiny_body()
    none = from_arrays({**data, "posedirs": np.zeros_like(data["posedirs"])})
    small = from_arrays({**data, "posedirs": np.full_like(data["posedirs"], 1e-12)})
    assert not none.has_pose_blend_shapes
    assert small.has_pose_blend_shapes
    assert none.posedirs.numel() == 0
    pose, betas = random_pose(2), torch.randn(2, 10)
    torch.testing.assert_close(none(pose, betas)[0], small(pose, betas)[0], atol=1e-7, rtol=0)


def test_runs_in_full_precision_under_autocast():
    body = from_arrays(tiny_body())
    pose, betas = random_pose(2), torch.randn(2, 10)
    want = body(pose, betas)[0]
    with torch.autocast("cpu", torch.bfloat16):
        got = body(pose, betas)[0]
        half = body(pose.bfloat16(), betas.bfloat16())[0]
    assert got.dtype == half.dtype == torch.float32
    torch.testing.assert_close(got, want)


def test_no_tensor_of_the_body_enters_a_checkpoint(open_body):
    assert open_body.state_dict() == {}
    assert list(open_body.parameters()) == []


def test_attributes_of_the_open_body(open_body):
    assert (open_body.name, open_body.parents) == ("open_body", SMPL_PARENTS)
    assert open_body.num_vertices != 6890
    assert open_body.faces.dtype == np.int64
    assert open_body.keypoint_regressors["j17"].shape == (17, open_body.num_vertices)
    assert open_body.keypoint_regressors["j24"].shape == (24, open_body.num_vertices)
    assert {key: np.size(value) for key, value in open_body.mean_params.items()} == {"pose": 144, "shape": 10, "cam": 3}
    assert open_body.uv_faces.shape == open_body.faces.shape
    assert open_body.flip_vertices.shape == (open_body.num_vertices,)


def as_official(data: dict[str, np.ndarray]) -> dict:
    """Keys of SMPL's own files that the body model does not read."""
    extra = {"bs_style": "lbs", "bs_type": "lrotmin", "J": data["J_regressor"] @ data["v_template"]}
    return {**data, "J_regressor": scipy.sparse.csc_matrix(data["J_regressor"]), **extra}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pkl_and_npz_give_the_same_body(tmp_path, protocol):
    data = tiny_body()
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(as_official(data), protocol))
    np.savez(tmp_path / "other.npz", **data)
    a, b = load_body_model(tmp_path / "SMPL_NEUTRAL.pkl"), load_body_model(tmp_path / "other.npz")
    assert (a.name, b.name) == ("smpl", "other")
    assert a.keypoint_regressors == {}
    assert a.mean_params is a.uv is a.flip_vertices is None
    pose, betas = random_pose(2), torch.randn(2, 10)
    torch.testing.assert_close(a(pose, betas), b(pose, betas), atol=1e-7, rtol=0)


def test_pkl_with_chumpy_arrays(tmp_path):
    pytest.importorskip("chumpy", reason="chumpy is not installed; the fork chumpy-fixed works with numpy 2")
    np.savez(tmp_path / "plain.npz", **tiny_body())
    script = """
import sys, pickle, chumpy, numpy, scipy.sparse
data = dict(numpy.load(sys.argv[1]))
for key in ("v_template", "shapedirs", "posedirs", "weights"):
    data[key] = chumpy.array(data[key])
data["J_regressor"] = scipy.sparse.csc_matrix(data["J_regressor"])
pickle.dump(data, open(sys.argv[2], "wb"), 2)
"""
    files = tmp_path / "plain.npz", tmp_path / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"
    subprocess.run([sys.executable, "-c", script, *map(str, files)], check=True)
    plain, official = map(load_body_model, files)
    assert official.name == "smpl"
    pose, betas = random_pose(1), torch.randn(1, 10)
    torch.testing.assert_close(official(pose, betas), plain(pose, betas), atol=1e-7, rtol=0)


def test_further_shape_components_are_ignored(tmp_path):
    data = tiny_body()
    np.savez(tmp_path / "a.npz", **data)
    more = np.concatenate((data["shapedirs"], np.ones((50, 3, 290))), 2)
    np.savez(tmp_path / "b.npz", **{**data, "shapedirs": more})
    a, b = load_body_model(tmp_path / "a.npz"), load_body_model(tmp_path / "b.npz")
    torch.testing.assert_close(a.shapedirs, b.shapedirs)


CHANGES = {
    "missing key": lambda d: d.pop("weights"),
    "wrong regressor": lambda d: d.update(J_regressor=d["J_regressor"][:, :-1]),
    "huge sparse regressor": lambda d: d.update(J_regressor=scipy.sparse.csc_matrix((10**6, 10**5))),
    "few components": lambda d: d.update(shapedirs=d["shapedirs"][..., :5]),
    "not finite": lambda d: d["v_template"].__setitem__((0, 0), np.nan),
    "face outside": lambda d: d["f"].__setitem__((0, 0), 50),
    "other tree": lambda d: d["kintree_table"].__setitem__((0, 5), 7),
    "text": lambda d: d.update(weights="lbs"),
    "no vertices": lambda d: d.update(v_template=np.zeros((0, 3))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_wrong_bodies_are_refused_in_one_line(tmp_path, name):
    data = tiny_body()
    CHANGES[name](data)
    path = tmp_path / "body.pkl"
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(UserError) as caught:
        load_body_model(path)
    assert "body.pkl" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("joints", "vertices", "features", "name"),
    [(55, 60, 486, "SMPL-X"), (52, 50, 459, "SMPL-H"), (16, 40, 135, "MANO"), (24, 50, 93, "STAR")],
)
@pytest.mark.parametrize("suffix", [".PKL", ".npz"])
def test_relatives_of_smpl_are_named(tmp_path, suffix, joints, vertices, features, name):
    body = tiny_body(vertices) | {
        "posedirs": np.zeros((vertices, 3, features)),
        "kintree_table": np.zeros((2, joints), int),
        "weights": np.full((vertices, joints), 1 / joints),
    }
    path = tmp_path / f"BODY{suffix}"
    path.write_bytes(pickle.dumps(body)) if suffix == ".PKL" else np.savez(path, **body)
    with pytest.raises(UserError, match=f"{name} body model .* is not supported; give a body in SMPL layout"):
        load_body_model(path)


def test_suffixes_have_no_case(tmp_path):
    (tmp_path / "SMPL_MALE.PKL").write_bytes(pickle.dumps(tiny_body()))
    np.savez(tmp_path / "a.npz", **tiny_body())
    (tmp_path / "a.npz").rename(tmp_path / "SMPL_MALE.NPZ")
    assert (
        load_body_model(tmp_path / "SMPL_MALE.PKL").name == load_body_model(tmp_path / "SMPL_MALE.NPZ").name == "smpl"
    )


def test_licensed_files_are_found_in_upper_or_lower_case(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "META_DATA", tmp_path)
    monkeypatch.setattr(hrnet, "PRETRAINED", tmp_path)
    body = from_arrays(tiny_body())
    assert build.find_body() == OPEN_BODY and hrnet.find_hrnet_weights("auto", "w32") is None
    (tmp_path / "hrnet").mkdir()
    (tmp_path / "hrnet/POSE_HRNET_w32_256X256.pth").touch()
    assert hrnet.find_hrnet_weights("auto", "w32") == tmp_path / "hrnet/POSE_HRNET_w32_256X256.pth"
    (tmp_path / "j_regressor_H36M_correct.npy").touch()
    assert build.find_keypoint_regressor(None, "h36m", body) == tmp_path / "j_regressor_H36M_correct.npy"
    np.savez(tmp_path / "SMPL_mean_params.npz", pose=np.ones(144), shape=np.arange(10.0), cam=np.zeros(3))
    assert build.load_mean_params(None, body)[1].tolist() == [*range(10)]
    (tmp_path / "smpl_neutral.NPZ").touch()
    assert build.find_body() == tmp_path / "smpl_neutral.NPZ"
    assert build.find_body(data_mode="synthetic") == OPEN_BODY  # whose labels synthetic people have
    (tmp_path / "SMPL_NEUTRAL.npz").touch()
    with pytest.raises(UserError, match=r"SMPL_NEUTRAL\.npz and smpl_neutral\.NPZ, whose names differ only in case"):
        build.find_body()


def test_damaged_files_are_refused(tmp_path):
    good = OPEN_BODY.read_bytes()
    noise = np.random.default_rng(0).bytes(5000)
    cases = {
        "cut.npz": good[:100_000],
        "middle.npz": good[:5000] + noise + good[10_000:],
        "text.npz": b"hello",
        "empty.npz": b"",
        "number.npz": b"\x93NUMPY\x01\x00",
        "text.pkl": b"hello",
        "list.pkl": pickle.dumps([1]),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            load_body_model(tmp_path / name)
        assert "\n" not in str(caught.value), name
    with pytest.raises(UserError, match="not found"):
        load_body_model(tmp_path / "absent.npz")
