"""Errors of a batch: SMPLer's way of counting, and labels posed with the body of their gender."""

import cv2
import numpy as np
import pytest
import torch

from datasets.human_mesh import HumanMeshDataset, format_label
from datasets.labels import parse_gender
from datasets.tsv import TSVWriter
from models.body_model import load_body_model
from models.build import load_keypoint_regressor
from models.criterion import Criterion
from models.gendered import load_gendered_bodies
from models.inference.evaluate import sample_errors
from tests.helpers.tiny_data import write_body
from utils.geometry import rotvec_to_rotmat
from utils.skeleton import J14_HIPS, J17_TO_J14, J24_TO_J14


class Recorded(Criterion):
    """A criterion whose vertices are the recorded ones."""

    def __init__(self, vertices: torch.Tensor, has: torch.Tensor):
        torch.nn.Module.__init__(self)
        self.gendered, self.vertices, self.has = None, vertices, has
        self.register_buffer("j14", torch.tensor(J24_TO_J14))

    def targets(self, batch):
        keypoints = batch["keypoints_3d"].clone()
        keypoints[..., 3] *= batch["has_keypoints_3d"][:, None]
        return {"vertices": self.vertices, "has_smpl": self.has, "has_keypoints_3d": self.has,
                "keypoints_3d": keypoints, "keypoints_2d": torch.ones(len(keypoints), 14, 3)}  # fmt: skip

    def minus_pelvis(self, vertices):
        return vertices


def test_smpler_protocol_to_the_digit_of_the_recorded_reference(reference):
    z = {key: torch.from_numpy(value) for key, value in np.load(reference / "tsv" / "expected_metrics.npz").items()}
    has = z["has_3d"].bool()
    z["gt_joints"][::2, 5:9, 3] = 0  # the reference does not read them
    batch = {"keypoints_3d": z["gt_joints"], "has_keypoints_3d": has, "has_keypoints_2d": has}
    outputs = {"pred_keypoints_3d": z["pred_joints"], "pred_vertices": z["pred_vertices"]}
    criterion = Recorded(z["gt_vertices"], has)
    found = sample_errors(outputs, batch, criterion, "smpler")
    torch.testing.assert_close(found["mpjpe"][has], z["mpjpe"].double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found["pa_mpjpe"], z["pa_mpjpe"].double(), rtol=1e-5, atol=2e-7)
    torch.testing.assert_close(found["mpvpe"][has], z["mpve"].double(), rtol=1e-5, atol=0)
    assert found["mpjpe"][~has].isnan().all() and found["mpvpe"][~has].isnan().all()
    torch.testing.assert_close(found["joint_errors"][has].mean(1), found["mpjpe"][has])
    standard = sample_errors(outputs, batch, criterion)
    assert not torch.allclose(standard["mpjpe"][has], found["mpjpe"][has], equal_nan=True)
    valid = (z["gt_joints"][..., 3] > 0) & has[:, None] & standard["mpjpe"].isfinite()[:, None]
    assert torch.equal(standard["joint_errors"].isnan(), ~valid)


@pytest.fixture
def bodies(tmp_path):
    """A neutral body with a male and a female one beside it, of other proportions."""
    write_body(tmp_path)
    content = dict(np.load(tmp_path / "tiny_body.npz"))
    for gender, size in (("MALE", 1.1), ("FEMALE", 0.9)):
        np.savez(tmp_path / f"SMPL_{gender}.npz", **content | {"v_template": size * content["v_template"]})
    body = load_body_model(tmp_path / "tiny_body.npz")
    return tmp_path, body, load_keypoint_regressor(tmp_path / "tiny_j17.npy", body)


def test_labels_are_posed_with_the_body_of_their_gender(bodies):
    folder, body, regressor = bodies
    criterion = Criterion(body, regressor).eval()
    criterion.gendered = load_gendered_bodies(folder / "tiny_body.npz", body, regressor)
    generator = torch.Generator().manual_seed(0)
    pose, betas = 0.3 * torch.randn(4, 72, generator=generator), torch.randn(4, 10, generator=generator)
    yes = torch.ones(4, dtype=torch.bool)
    batch = {
        "pose": pose, "betas": betas, "keypoints_2d": torch.ones(4, 24, 3), "keypoints_3d": torch.zeros(4, 24, 4),
        "has_smpl": torch.tensor([True, True, True, False]), "has_keypoints_2d": yes, "has_keypoints_3d": yes,
        "gender": torch.tensor([0, 1, 2, 1]),
    }  # fmt: skip
    batch["keypoints_3d"][..., 3] = 1
    rotmat = rotvec_to_rotmat(pose.view(4, 24, 3))
    vertices = body(rotmat, betas)[0]
    outputs = {"pred_vertices": vertices, "pred_keypoints_3d": regressor[list(J17_TO_J14)] @ vertices}
    found = sample_errors(outputs, batch, criterion)
    hips = list(J14_HIPS)
    for row, name in ((1, "SMPL_MALE"), (2, "SMPL_FEMALE")):
        own = load_body_model(folder / f"{name}.npz")(rotmat[row : row + 1], betas[row : row + 1])[0][0].double()
        estimate = vertices[row].double()
        points = [regressor[list(J17_TO_J14)].double() @ each for each in (estimate, own)]
        a, b = (each - each[hips].mean(0) for each in points)
        assert found["mpjpe"][row] == pytest.approx((a - b).norm(dim=-1).mean().item(), rel=1e-4)
        estimate, own = (each - regressor[0].double() @ each for each in (estimate, own))
        assert found["mpvpe"][row] == pytest.approx((estimate - own).norm(dim=-1).mean().item(), rel=1e-4)
    assert found["mpvpe"][0] == 0  # the neutral body poses the neutral label
    joints = outputs["pred_keypoints_3d"][0].double()
    expected = (joints - joints[hips].mean(0)).norm(dim=-1).mean().item()
    assert found["mpjpe"][0] == pytest.approx(expected, rel=1e-5)  # the labelled keypoints are kept
    assert found["mpvpe"][3].isnan()  # gender, but no pose


def test_without_both_bodies_labels_stay_neutral(bodies):
    folder, body, regressor = bodies
    (folder / "SMPL_FEMALE.npz").unlink()
    assert load_gendered_bodies(folder / "tiny_body.npz", body, regressor) is None


@pytest.mark.parametrize("names", [("Smpl_Male.npz", "smpl_FEMALE.NPZ"), ("Body_MALE.npz", "body_female.npz")])
def test_bodies_of_genders_are_found_in_upper_or_lower_case(bodies, names):
    folder, body, regressor = bodies
    neutral = (folder / "tiny_body.npz").rename(folder / "body_Neutral.npz")
    for gender, name in zip(("MALE", "FEMALE"), names, strict=True):
        (folder / f"SMPL_{gender}.npz").rename(folder / name)
    found = load_gendered_bodies(neutral, body, regressor)
    assert found.male.v_template.norm() > body.v_template.norm() > found.female.v_template.norm()


def test_gender_of_a_row(tmp_path):
    genders = {"m": 1, "f": 2, "male": 1, "Female": 2, "neutral": 0, "n": 0, None: 0, 3: 0}
    assert {name: parse_gender({"gender": name}) for name in genders} == genders
    assert parse_gender({}) == 0

    _, jpeg = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))
    with TSVWriter(tmp_path / "set" / "a.yaml") as writer:
        writer.add("a", jpeg.tobytes(), format_label((32, 32), 0.3, gender="f"), height=64, width=64)
    assert HumanMeshDataset(tmp_path / "set" / "a.yaml", with_gender=True)[0]["gender"] == 2
    assert "gender" not in HumanMeshDataset(tmp_path / "set" / "a.yaml")[0]
