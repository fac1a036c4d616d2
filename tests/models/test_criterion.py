import pytest
import roma
import torch
from torch import nn

from models.criterion import Criterion, angle_between, rotation_angle
from utils.skeleton import J14_BONES, J14_HIPS, J17_PELVIS, J17_TO_J14, J24_TO_J14
from utils.train.batches import split_batch

NUM_VERTICES = 40


class TinyBody(nn.Module):
    """24 rigid joints in a chain, each with its own vertices: they depend on every rotation and on the betas."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.template = torch.randn(NUM_VERTICES, 3, generator=generator)
        self.shapes = torch.randn(NUM_VERTICES, 3, 10, generator=generator)
        self.weights = torch.rand(NUM_VERTICES, 24, generator=generator).softmax(1)

    def forward(self, rotmat, betas):
        rest = self.template + torch.einsum("vcs,bs->bvc", self.shapes, betas)
        blended = torch.einsum("vj,bjcd->bvcd", self.weights, rotmat)
        vertices = torch.einsum("bvcd,bvd->bvc", blended, rest)
        return vertices, vertices[:, :24]


@pytest.fixture
def regressor():
    return torch.rand(17, NUM_VERTICES, generator=torch.Generator().manual_seed(1)).softmax(1)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    return {
        "pose": torch.randn(6, 72, generator=generator),
        "betas": torch.randn(6, 10, generator=generator),
        "keypoints_2d": torch.rand(6, 24, 3, generator=generator),
        "keypoints_3d": torch.rand(6, 24, 4, generator=generator),
        "has_smpl": torch.tensor([1, 1, 0, 1, 0, 0]).bool(),
        "has_keypoints_3d": torch.tensor([0, 1, 1, 0, 1, 1]).bool(),
        "has_keypoints_2d": torch.tensor([1, 0, 1, 1, 1, 1]).bool(),
    }


@pytest.fixture
def outputs(regressor):
    return make_outputs(regressor, seed=3) | {"aux_outputs": [make_outputs(regressor, seed) for seed in (4, 5)]}


def make_outputs(regressor, seed):
    generator = torch.Generator().manual_seed(seed)
    rotmat = roma.rotvec_to_rotmat(torch.randn(6, 24, 3, generator=generator))
    vertices, _ = TinyBody()(rotmat, torch.randn(6, 10, generator=generator))
    keypoints = (regressor @ vertices)[:, J17_TO_J14]
    return {
        "pred_rotmat": rotmat.requires_grad_(),
        "pred_vertices": vertices.detach().requires_grad_(),
        "pred_keypoints_3d": keypoints.detach().requires_grad_(),
        "pred_keypoints_2d": torch.randn(6, 14, 2, generator=generator).requires_grad_(),
    }


def by_hand(outputs, batch, regressor, keypoint_loss=lambda error: error**2):
    """The four losses with loops and explicit lists of entries."""
    rotmat = roma.rotvec_to_rotmat(batch["pose"].view(6, 24, 3))
    vertices, _ = TinyBody()(rotmat, batch["betas"])
    vert, theta, kp2d, kp3d = [], [], [], []
    hips = list(J14_HIPS)
    for i in range(6):
        gt_3d, gt_2d = batch["keypoints_3d"][i, J24_TO_J14, :], batch["keypoints_2d"][i, J24_TO_J14, :]
        if batch["has_smpl"][i]:
            pred, gt = outputs["pred_vertices"][i], vertices[i]
            difference = (pred - regressor[J17_PELVIS] @ pred) - (gt - regressor[J17_PELVIS] @ gt)
            vert.append(difference.abs())
            theta.append((outputs["pred_rotmat"][i] - rotmat[i]).abs())
        if batch["has_keypoints_3d"][i]:
            pred = outputs["pred_keypoints_3d"][i] - outputs["pred_keypoints_3d"][i, hips].mean(0)
            gt = gt_3d[:, :3] - gt_3d[hips, :3].mean(0)
            kp3d.append(gt_3d[:, 3:] * keypoint_loss(pred - gt))
        confidence = gt_2d[:, 2:] * batch["has_keypoints_2d"][i]
        kp2d.append(confidence * keypoint_loss(outputs["pred_keypoints_2d"][i] - gt_2d[:, :2]))
    means = [torch.stack(entries).mean() for entries in (vert, theta, kp2d, kp3d)]
    return dict(zip(("vert", "theta", "2dj", "3dj"), means, strict=True))


def test_losses_equal_those_by_hand(outputs, batch, regressor):
    losses = Criterion(TinyBody(), regressor)(outputs, batch)
    expected = by_hand(outputs, batch, regressor)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    weights = {"vert": 100, "theta": 50, "2dj": 100, "3dj": 1000}
    torch.testing.assert_close(losses["loss"], sum(weights[name] * value for name, value in expected.items()))


def test_absolute_keypoint_losses_equal_those_by_hand(outputs, batch, regressor):
    losses = Criterion(TinyBody(), regressor, keypoint_loss="l1")(outputs, batch)
    for name, value in by_hand(outputs, batch, regressor, torch.abs).items():
        torch.testing.assert_close(losses[name], value)


def test_shape_loss_is_of_the_labelled_shapes(outputs, batch, regressor):
    outputs["pred_betas"] = torch.randn(6, 10, generator=torch.Generator().manual_seed(6)).requires_grad_()
    plain = Criterion(TinyBody(), regressor)(outputs, batch)
    losses = Criterion(TinyBody(), regressor, w_betas=2.0)(outputs, batch)
    expected = torch.stack([(outputs["pred_betas"][i] - batch["betas"][i]).abs() for i in (0, 1, 3)]).mean()
    torch.testing.assert_close(losses["betas"], expected)
    torch.testing.assert_close(losses["loss"], plain["loss"] + 2 * expected)
    assert "betas" not in plain
    losses["loss"].backward()
    assert (outputs["pred_betas"].grad.abs().sum(1) > 0).tolist() == batch["has_smpl"].tolist()


def test_orientation_and_bone_losses_equal_those_by_hand(outputs, batch, regressor):
    batch["keypoints_3d"][~batch["has_keypoints_3d"]] = 0  # as in data sets
    plain = Criterion(TinyBody(), regressor)(outputs, batch)
    losses = Criterion(TinyBody(), regressor, w_orient=3.0, w_bones=5.0)(outputs, batch)
    true_root = roma.rotvec_to_rotmat(batch["pose"].view(6, 24, 3)[:, 0])
    angles = roma.rotmat_geodesic_distance(outputs["pred_rotmat"][:, 0], true_root)
    torch.testing.assert_close(losses["orient"], angles[batch["has_smpl"]].mean())
    bones = []
    for i in batch["has_keypoints_3d"].nonzero()[:, 0]:
        label = batch["keypoints_3d"][i, J24_TO_J14]
        for start, end in J14_BONES:
            a = outputs["pred_keypoints_3d"][i, end] - outputs["pred_keypoints_3d"][i, start]
            b = label[end, :3] - label[start, :3]
            bones.append(torch.acos(a @ b / a.norm() / b.norm()) * label[[start, end], 3].min())
    torch.testing.assert_close(losses["bones"], torch.stack(bones).mean())
    torch.testing.assert_close(losses["loss"], plain["loss"] + 3 * losses["orient"] + 5 * losses["bones"])
    assert plain["loss"].item() == Criterion(TinyBody(), regressor, w_orient=0.0, w_bones=0.0)(outputs, batch)["loss"]
    assert not {"orient", "bones"} & set(plain)
    losses["loss"].backward()
    for name, labelled in (("pred_rotmat", "has_smpl"), ("pred_keypoints_3d", "has_keypoints_3d")):
        gradient = outputs[name].grad
        assert gradient.isfinite().all()
        assert (gradient.flatten(1).abs().sum(1) > 0).tolist() == batch[labelled].tolist()


def test_angles_have_exact_gradients():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(angle_between, (a.requires_grad_(), b))
    rotation, vector = roma.rotvec_to_rotmat(a.detach()), b.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: rotation_angle(roma.rotvec_to_rotmat(v), rotation), vector)


@pytest.mark.parametrize("degrees", [1.0, 90, 179])
def test_the_gradient_of_an_angle_does_not_depend_on_its_size(degrees):
    turn = torch.tensor(degrees, dtype=torch.float64).deg2rad().requires_grad_()
    axis = torch.tensor([0.6, 0, 0.8], dtype=torch.float64)
    angle = rotation_angle(roma.rotvec_to_rotmat(turn * axis), torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(angle, turn)
    torch.testing.assert_close(torch.autograd.grad(angle, turn)[0].item(), 1.0)


def test_angles_that_have_no_direction_have_no_gradient():
    opposite = torch.diag(torch.tensor([-1.0, -1, 1]))
    for pair in ((torch.eye(3), torch.eye(3)), (torch.eye(3), opposite)):
        estimate = pair[0].clone().requires_grad_()
        rotation_angle(estimate, pair[1]).backward()
        assert estimate.grad.isfinite().all()
    for label in (torch.zeros(3), torch.tensor([1.0, 0, 0]), torch.tensor([-1.0, 0, 0])):
        estimate = torch.tensor([1.0, 0, 0]).requires_grad_()
        angle_between(estimate, label).backward()
        assert estimate.grad.tolist() == [0, 0, 0]
    with torch.no_grad():
        assert angle_between(torch.tensor([1.0, 0, 0]), torch.tensor([-2.0, 0, 0])) == pytest.approx(torch.pi)


def test_a_perfect_estimate_has_no_loss(batch, regressor):
    criterion = Criterion(TinyBody(), regressor)
    batch["betas"] = torch.zeros(6, 10)
    targets = criterion.targets(batch)
    outputs = {
        "pred_rotmat": targets["rotmat"],
        "pred_vertices": targets["vertices"] + 5.0,  # translation does not count
        "pred_keypoints_3d": targets["keypoints_3d"][..., :3] - 2.0,
        "pred_keypoints_2d": targets["keypoints_2d"][..., :2],
        "aux_outputs": [],
    }
    assert criterion(outputs, batch)["loss"] < 1e-3  # 100 times the rounding error of coordinates at 5 m


def test_stage_weights(outputs, batch, regressor):
    stages = [*outputs["aux_outputs"], outputs]
    single = [Criterion(TinyBody(), regressor)(stage, batch)["loss"] for stage in stages]
    weighted = Criterion(TinyBody(), regressor, stage_weights=[0.5, 0.0, 2.0])(outputs, batch)
    torch.testing.assert_close(weighted["loss"], 0.5 * single[0] + 2 * single[2])
    torch.testing.assert_close(weighted["vert"], by_hand(outputs, batch, regressor)["vert"])


@pytest.mark.parametrize("missing", ["has_smpl", "has_keypoints_3d", "has_keypoints_2d"])
def test_without_any_label_of_a_kind(outputs, batch, regressor, missing):
    batch[missing] = torch.zeros(6).bool()
    losses = Criterion(TinyBody(), regressor)(outputs, batch)
    zero = {"has_smpl": ["vert", "theta"], "has_keypoints_3d": ["3dj"], "has_keypoints_2d": ["2dj"]}[missing]
    assert all((losses[name] == 0) == (name in zero) for name in ("vert", "theta", "2dj", "3dj"))
    losses["loss"].backward()
    for name in ("pred_vertices", "pred_rotmat", "pred_keypoints_3d", "pred_keypoints_2d"):
        assert outputs[name].grad is not None and outputs[name].grad.isfinite().all()


def test_unlabelled_samples_get_no_gradient(outputs, batch, regressor):
    Criterion(TinyBody(), regressor)(outputs, batch)["loss"].backward()
    assert (outputs["pred_vertices"].grad.flatten(1).abs().sum(1) > 0).tolist() == batch["has_smpl"].tolist()
    touched = (outputs["pred_keypoints_3d"].grad.flatten(1).abs().sum(1) > 0).tolist()
    assert touched == batch["has_keypoints_3d"].tolist()


def test_labels_are_not_modified(outputs, batch, regressor):
    before = {key: value.clone() for key, value in batch.items()}
    Criterion(TinyBody(), regressor)(outputs, batch)
    assert all(torch.equal(batch[key], before[key]) for key in batch)


def test_losses_of_half_precision_estimates_are_float32(outputs, batch, regressor):
    low = {key: value.bfloat16() for key, value in outputs.items() if key != "aux_outputs"} | {"aux_outputs": []}
    losses = Criterion(TinyBody(), regressor)(low, batch)
    assert all(loss.dtype == torch.float32 for loss in losses.values())


@pytest.mark.parametrize("num_parts", [2, 3, 4, 6])
def test_losses_of_parts_add_up_to_those_of_the_batch(outputs, batch, regressor, num_parts):
    """Also where the parts have different numbers of labels, or none."""
    criterion = Criterion(TinyBody(), regressor, w_orient=3, w_bones=2, stage_weights=[0.5, 0.2, 1])
    whole = criterion(outputs, batch)
    parts = split_batch(batch, num_parts)
    rows = iter(range(6))
    total = dict.fromkeys(whole, 0)
    for part, share in parts:
        chosen = [next(rows) for _ in part["pose"]]
        own = {key: value[chosen] for key, value in outputs.items() if key != "aux_outputs"}
        own["aux_outputs"] = [{key: value[chosen] for key, value in one.items()} for one in outputs["aux_outputs"]]
        for name, value in criterion(own, part, whole=batch).items():
            total[name] = total[name] + share * value
    for name, value in whole.items():
        torch.testing.assert_close(total[name], value, msg=name)
