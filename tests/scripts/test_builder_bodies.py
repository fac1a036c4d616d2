"""Which body and which keypoints the builders use, on bodies in the form of SMPL's files."""

import numpy as np
import pytest
import torch

from models.body_model import load_body_model
from scripts.lib.builders.bodies import FOURTEEN, load_bodies
from utils.errors import UserError
from utils.geometry import rotvec_to_rotmat
from utils.paths import OPEN_BODY
from utils.skeleton import J24

# rows of SMPL's 24 joints and the 14 of J_regressor_extra.npy behind them that are J24, as METRO has them
METRO = [8, 5, 29, 30, 4, 7, 21, 19, 17, 16, 18, 20, 31, 32, 33, 34, 35, 36, 37, 24, 26, 25, 28, 27]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """SMPL_NEUTRAL, SMPL_MALE (taller) and SMPL_FEMALE (smaller), without keypoint regressors, and the extra one."""
    root = tmp_path_factory.mktemp("smpl")
    with np.load(OPEN_BODY) as file:
        data = {k: file[k] for k in file.files if k not in ("j17_regressor", "j24_regressor", "license", "provenance")}
        j24 = file["j24_regressor"]
    for name, size in (("NEUTRAL", 1.0), ("MALE", 1.1), ("FEMALE", 0.9)):
        np.savez(root / f"SMPL_{name}.npz", **(data | {"v_template": size * data["v_template"]}))
    np.save(root / "extra.npy", np.stack([j24[J24.index(name)] for name in FOURTEEN]))
    return root, data["J_regressor"], np.load(root / "extra.npy")


def draw(seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3, (3, 72)), rng.normal(0, 1, (3, 10))


def test_keypoints_are_metros(folder):
    root, joint_regressor, extra = folder
    body = load_bodies(root / "SMPL_NEUTRAL.npz", root / "extra.npy").neutral
    pose, betas = draw()
    rotmat = rotvec_to_rotmat(torch.tensor(pose, dtype=torch.float32).unflatten(-1, (24, 3)))
    with torch.inference_mode():
        vertices = load_body_model(root / "SMPL_NEUTRAL.npz")(rotmat, torch.tensor(betas, dtype=torch.float32))[0]
    expected = np.concatenate((joint_regressor, extra))[METRO] @ vertices.numpy()
    np.testing.assert_allclose(body.keypoints(pose, betas)[0], expected, atol=1e-5)
    assert body.confidence.sum() == 24
    np.testing.assert_allclose(body.vertices(pose, betas), vertices.numpy(), atol=1e-5)


@pytest.mark.parametrize("rows, count", [(9, 24 - 5), (38, 24), (33, 24 - 5)])
def test_other_forms_of_the_regressor(folder, tmp_path, rows, count):
    root, joint_regressor, extra = folder
    matrix = extra[-9:] if rows in (9, 33) else extra
    np.save(tmp_path / "k.npy", np.concatenate((joint_regressor, matrix)) if rows > 30 else matrix)
    body = load_bodies(root / "SMPL_NEUTRAL.npz", tmp_path / "k.npy").neutral
    whole = load_bodies(root / "SMPL_NEUTRAL.npz", root / "extra.npy").neutral
    assert body.confidence.sum() == count
    given = body.confidence > 0
    np.testing.assert_allclose(body.keypoints(*draw())[0][:, given], whole.keypoints(*draw())[0][:, given], atol=1e-6)


def test_without_a_regressor_limbs_and_pelvis_are_there(folder):
    body = load_bodies(folder[0] / "SMPL_NEUTRAL.npz", None).neutral
    assert {J24[i] for i in np.flatnonzero(body.confidence)} == {*J24[:12], "Pelvis"}
    assert "13 of 24 keypoints" in load_bodies(folder[0] / "SMPL_NEUTRAL.npz", None).describe()


def test_men_and_women_have_bodies_of_their_own(folder):
    bodies = load_bodies(folder[0] / "SMPL_NEUTRAL.npz", None, ("male", "female"))
    zero = np.zeros((1, 72)), np.zeros((1, 10))
    sizes = {gender: np.ptp(bodies.of(gender).vertices(*zero)[0, :, 1]) for gender in ("male", "neutral", "female")}
    assert sizes["male"] > 1.05 * sizes["neutral"] > 1.1 * sizes["female"]
    assert bodies.missing == ()
    alone = load_bodies(OPEN_BODY, None, ("male", "female"))
    assert alone.of("male") is alone.neutral and "not beside it" in alone.describe()


def test_a_regressor_of_another_body_is_refused(folder, tmp_path):
    np.save(tmp_path / "k.npy", np.zeros((14, 6890)))
    with pytest.raises(UserError, match="belongs to one body"):
        load_bodies(folder[0] / "SMPL_NEUTRAL.npz", tmp_path / "k.npy")
    np.save(tmp_path / "k.npy", np.zeros((5, folder[1].shape[1])))
    with pytest.raises(UserError, match="5 rows"):
        load_bodies(folder[0] / "SMPL_NEUTRAL.npz", tmp_path / "k.npy")
