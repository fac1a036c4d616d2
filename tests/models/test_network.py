"""The network against recorded outputs of the published one, and properties that it has by construction."""

import json

import numpy as np
import pytest
import torch

from models.backbones.hrnet import build_hrnet
from models.build import build_model
from models.features import Features, bilinear_weights, pixels, sample_bilinear
from models.graph_transformer import GraphTransformerBlock, Window
from scripts.convert_smpler_checkpoint import convert_state
from utils.errors import UserError
from utils.options import get_args_parser

TOLERANCE = 2e-5  # rotation entries, shape, camera, crop units, metres; the README claims it
RECORDED = {
    "theta": "pred_rotmat",
    "beta": "pred_betas",
    "cam": "pred_cam",
    "joints2d": "pred_keypoints_2d",
    "smpl_joints2d": "pred_joints_2d",
}


def recorded_weights(spec: list) -> dict[str, torch.Tensor]:
    """The random weights of the recording, by the rule stated there."""
    state = {}
    for i, (key, shape, dtype) in enumerate(spec):
        if dtype.startswith("int"):
            continue
        a = np.random.RandomState(i).standard_normal(shape).astype(np.float32)
        a *= 0.6 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.05
        if key.endswith("running_var"):
            a = 1 + np.abs(a)
        elif len(shape) == 1 and key.endswith("weight"):
            a = 1 + a
        state[key] = torch.from_numpy(a)
    return state


@pytest.fixture(scope="session")
def toy_args(reference, tmp_path_factory):
    """Options that build the network on the recording's body: a function of further flags."""
    regressor = tmp_path_factory.mktemp("toy") / "h36m_regressor.npy"
    np.save(regressor, np.load(reference / "toy_body.npz")["h36m_regressor"])
    words = ["--smpl_path", str(reference / "toy_body.npz"), "--keypoint_regressor", str(regressor)]
    words += ["--mean_params", "none", "--backbone_weights", "none"]
    return lambda *more: get_args_parser().parse_args([*words, *more])


@pytest.mark.parametrize("hrnet_type", ["w32", "w48"])
def test_all_stages_equal_the_published_network(reference, toy_args, hrnet_type):
    args = toy_args("--model_type", "SMPL-Pose", "--hrnet_type", hrnet_type, "--graph", "none", "--joint_prior", "none")
    model, _ = build_model(args)
    spec = json.loads((reference / f"smpler_{hrnet_type}_state_spec.json").read_text())
    state = convert_state(recorded_weights(spec))
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    model.load_state_dict(state | counters)  # strict
    model.eval()

    image = np.random.RandomState(7).standard_normal((2, 3, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(image))
    expected = np.load(reference / f"smpler_{hrnet_type}_outputs.npz")
    stages = [*outputs["aux_outputs"], outputs]
    assert len(stages) == 4
    for t, stage in enumerate(stages):
        pelvis = (model.keypoint_regressor[:1] @ stage["pred_vertices"]).float()
        found = {name: stage[key] for name, key in RECORDED.items()}
        found["vertices"] = stage["pred_vertices"][:, :400]
        found["vertices_minus_pelvis"] = (stage["pred_vertices"] - pelvis)[:, :400]
        found["joints_minus_pelvis"] = stage["pred_keypoints_3d"] - pelvis
        for name, value in found.items():
            np.testing.assert_allclose(
                value, expected[f"stage{t}_{name}"], atol=TOLERANCE, rtol=0, err_msg=f"{t} {name}"
            )


def test_window_reads_the_pixels_around_each_joint():
    size, radius = 56, 4
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    pixels = torch.stack((column, row), dim=-1).flatten(0, 1)[None].float()
    joints = torch.tensor([[[0.0, 0.0], [-1.0, 1.0], [3.0, -0.5]]])
    window = Window(joints, size, radius)
    seen = window.gather(pixels)
    pixel = (joints + 1) / 2 * (size - 1)
    assert seen.shape == (1, 3, (2 * radius) ** 2, 2)
    torch.testing.assert_close(window.offset * radius, seen - pixel[:, :, None])
    # the window of an inner joint has r pixels to the right of its own and r - 1 to the left
    assert seen[0, 0].amin(0).tolist() == [24, 24] and seen[0, 0].amax(0).tolist() == [31, 31]
    assert seen[0, 1].amin(0).tolist() == [0, 52] and seen[0, 1].amax(0).tolist() == [4, 55]
    assert set(seen[0, 2, :, 0].tolist()) == {55.0}


def test_a_diverged_estimate_has_a_valid_window():
    window = Window(torch.full((1, 24, 2), float("nan")), 56, 4)
    assert window.index.min() >= 0 and window.index.max() < 56 * 56


def test_sample_bilinear_is_exact_on_a_linear_ramp():
    ramp = torch.linspace(-1, 1, 56).expand(1, 1, 56, 56)
    xy = torch.rand(1, 24, 2) * 2 - 1
    torch.testing.assert_close(sample_bilinear(ramp, xy)[..., 0], xy[..., 0])


def test_weights_of_pixels_equal_bilinear_sampling():
    """In value and in gradient; inside, on the border and outside."""
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(2, 5, 6, 9, generator=generator, requires_grad=True)
    xy = (torch.rand(2, 40, 2, generator=generator) * 2.6 - 1.3).requires_grad_()
    found, expected = bilinear_weights(xy, (6, 9)) @ pixels(feature), sample_bilinear(feature, xy)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn(expected.shape, generator=generator)
    gradients = (torch.autograd.grad((read * weight).sum(), (feature, xy)) for read in (found, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    corners = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]])
    read = bilinear_weights(corners, (6, 9)) @ pixels(feature)[:1]
    torch.testing.assert_close(read[0].T, feature[0][:, [0, 5, 5], [0, 8, 0]])


def test_untrained_block_changes_the_estimate_little():
    torch.manual_seed(0)
    block = GraphTransformerBlock([8, 8, 8, 8], dim=32).eval()
    features = Features(tuple(torch.randn(2, 8, s, s) for s in (56, 28, 14, 7)), torch.zeros(2, 8))
    _, rotation, d_betas, d_cam = block(torch.randn(2, 26, 32), features, torch.rand(2, 24, 2) * 2 - 1)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
    assert rotation.diagonal(dim1=-2, dim2=-1).sum(-1).mean() > 2.5  # trace 3 is the identity
    assert d_betas.abs().max() < 0.5 and d_cam.abs().max() < 0.5


@pytest.fixture(scope="module")
def tiny_hrnet():
    return build_hrnet("w18")


def test_every_parameter_learns(toy_args):
    """DistributedDataParallel waits for the gradient of every parameter."""
    model, criterion = build_model(toy_args("--model_type", "SMPL-Pose", "--hrnet_type", "w18"))
    b = 2
    batch = {
        "image": torch.randn(b, 3, 224, 224),
        "keypoints_2d": torch.cat((torch.rand(b, 24, 2) * 2 - 1, torch.ones(b, 24, 1)), -1),
        "keypoints_3d": torch.cat((torch.randn(b, 24, 3), torch.ones(b, 24, 1)), -1),
        "pose": torch.randn(b, 72) * 0.3,
        "betas": torch.randn(b, 10),
        **{f"has_{k}": torch.ones(b, dtype=torch.bool) for k in ("keypoints_2d", "keypoints_3d", "smpl")},
    }
    criterion(model(batch["image"]), batch)["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_official_pose_hrnet_weights_load_and_others_are_refused(tmp_path, tiny_hrnet):
    """An official checkpoint has a keypoint head and fuses its last stage to the finest map alone."""
    state = {k: v.clone() for k, v in tiny_hrnet.state_dict().items()}
    state["conv1.weight"] += 1
    absent = tuple(f"stage4.2.fuse_layers.{i}." for i in (1, 2, 3))
    official = {k: v for k, v in state.items() if not k.startswith(absent)}
    official |= {"final_layer.weight": torch.zeros(17, 18, 1, 1), "final_layer.bias": torch.zeros(17)}
    path = tmp_path / "pose_hrnet_w18.pth"
    torch.save(official, path)
    loaded = build_hrnet("w18", path)
    torch.testing.assert_close(loaded.state_dict()["conv1.weight"], state["conv1.weight"])

    with pytest.raises(UserError, match=r"of another shape.*same width"):
        build_hrnet("w32", path)
    torch.save({k: v for k, v in official.items() if k != "conv2.weight"}, path)
    with pytest.raises(UserError, match=r"missing, first conv2\.weight"):
        build_hrnet("w18", path)
    torch.save(official | {"head.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"unexpected, first head\.weight"):
        build_hrnet("w18", path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="HRNet weights cannot be read"):
        build_hrnet("w18", path)
    with pytest.raises(UserError, match="not found"):
        build_hrnet("w18", tmp_path / "absent.pth")


def test_a_regressor_of_another_body_is_refused(toy_args, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((17, 13718), np.float32))
    with pytest.raises(UserError, match="belongs to one body"):
        build_model(toy_args("--keypoint_regressor", str(tmp_path / "other.npy")))
    with pytest.raises(UserError, match="not found"):
        build_model(toy_args("--keypoint_regressor", str(tmp_path / "absent.npy")))
    with pytest.raises(UserError, match="not found"):
        build_model(toy_args("--mean_params", str(tmp_path / "absent.npz")))
