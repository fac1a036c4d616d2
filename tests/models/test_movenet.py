import json
import tarfile

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from datasets.augment import move_keypoints_2d
from models.backbones.movenet import build_movenet_backbone, load_statistics
from models.movenet import IMAGENET_MEAN, IMAGENET_STD, Conv, MoveNet, load_movenet
from scripts import convert_movenet
from utils.crop import crop_matrix
from utils.detect.movenet_decoder import decode_argmax, decode_single_person, to_crop_frame
from utils.errors import UserError
from utils.paths import PRETRAINED, ROOT, SAMPLES

WEIGHTS = PRETRAINED / "movenet_thunder.safetensors"
STATISTICS = WEIGHTS.with_name("movenet_features.safetensors")
RECORDED = json.loads((ROOT / "tests" / "data" / "movenet_tfjs.json").read_text())


@pytest.fixture(scope="module")
def movenet():
    return load_movenet(WEIGHTS)


@pytest.fixture(scope="module")
def image():
    """(1, 3, 256, 256), ImageNet-normalised: the input of TensorFlow.js."""
    rgb = cv2.imread(str(SAMPLES / "im01.png"))[20:532:2, 14:526:2, ::-1].copy()
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((torch.from_numpy(rgb).permute(2, 0, 1) / 255 - mean) / std)[None]


@pytest.fixture(scope="module")
def maps(movenet, image):
    with torch.no_grad():
        return movenet(image)


def people_maps(people, size=64):
    """Maps of synthetic people: list of (centre cell (2,), keypoints (17, 2) in cells), as MoveNet defines them."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    heatmaps, centre = torch.zeros(17, size, size), torch.zeros(size, size)
    regression, offsets = torch.zeros(17, 2, size, size), torch.zeros(17, 2, size, size)
    for cell, keypoints in people:
        centre = torch.maximum(centre, torch.exp(-((x - cell[0]) ** 2 + (y - cell[1]) ** 2) / 8))
        regression[:, :, cell[1], cell[0]] = keypoints - torch.tensor(cell)
        for k, (u, v) in enumerate(keypoints):
            heatmaps[k] = torch.maximum(heatmaps[k], torch.exp(-((x + 0.375 - u) ** 2 + (y + 0.375 - v) ** 2) / 4))
            offsets[k, :, int(v), int(u)] = torch.tensor([u % 1, v % 1])
    return [part[None] for part in (heatmaps, centre, regression, offsets)]


def random_keypoints(low, high):
    """(17, 2) cells; each is nearest to the middle of the cell that it lies in."""
    return torch.randint(low, high, (17, 2)) + 0.375 + 0.5 * (torch.rand(17, 2) - 0.5)


def test_agrees_with_tensorflow_js(maps):
    keypoints = decode_single_person(*maps)[0].numpy() / (256, 256, 1)
    np.testing.assert_allclose(keypoints[:, [1, 0, 2]], RECORDED["keypoints_yx_score"], atol=2e-5)
    np.testing.assert_allclose(maps.heatmaps[0].amax((1, 2)), RECORDED["heatmap_peaks"], atol=5e-5)
    np.testing.assert_allclose(maps.heatmaps[0].mean((1, 2)), RECORDED["heatmap_means"], atol=1e-5)
    np.testing.assert_allclose(maps.centre[0, 32], RECORDED["centre_row_32"], atol=5e-5)
    for ours, theirs in ((maps.regression, "regression_yx_at_32_32"), (maps.offsets, "offsets_yx_at_32_32")):
        np.testing.assert_allclose(ours[0, :, :, 32, 32].flip(1).flatten(), RECORDED[theirs], atol=5e-4)


def test_finds_the_same_keypoints_at_project_size(movenet, image, maps):
    smaller = F.interpolate(image, size=(224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        keypoints = decode_single_person(*movenet(smaller))[0]
    distance = (keypoints / 224 - decode_single_person(*maps)[0] / 256)[:, :2].norm(dim=1)
    assert distance.median() < 0.01 and distance.max() < 0.05


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows(stride):
    torch.manual_seed(0)
    conv, x = Conv(3, 5, 3, stride), torch.randn(2, 3, 8, 8)
    total = (8 // stride - 1) * stride + 3 - 8
    before = total // 2
    padded = F.pad(x, (before, total - before, before, total - before))
    torch.testing.assert_close(conv(x), F.conv2d(padded, conv.weight, conv.bias, stride))


def test_backbone_features(movenet, image):
    backbone = build_movenet_backbone(WEIGHTS, STATISTICS)
    picture = image.repeat(2, 1, 1, 1)[..., 16:240, 16:240]
    features = backbone(picture)
    for feature, channels, size in zip(features.maps, backbone.map_channels, (14, 7), strict=True):
        assert feature.shape == (2, channels, size, size)
    assert features.pooled.shape == (2, backbone.pooled_channels)
    assert features.points.shape == (2, 17, backbone.point_channels)
    keypoints = to_crop_frame(decode_single_person(*movenet(picture)), (224, 224))
    torch.testing.assert_close(features.keypoints, keypoints)
    torch.testing.assert_close(features.pooled[:, -51:], keypoints.flatten(1))
    for f in (*features.maps, features.points):
        assert 0.5 < f.std() < 2 and not f.requires_grad
    torch.testing.assert_close(backbone.train()(picture).maps[0], features.maps[0])


@pytest.mark.parametrize("align_corners", [False, True])
def test_points_are_sampled_at_the_keypoints(image, align_corners):
    """The stride-16 part of a point lies between the four cells around its keypoint."""
    features = build_movenet_backbone(WEIGHTS, STATISTICS, align_corners=align_corners)(image)
    coarse = features.maps[0]
    size = coarse.shape[-1]
    position = features.keypoints[0, :, :2] + 1
    pixel = position / 2 * (size - 1) if align_corners else (position * size - 1) / 2
    cell = pixel.floor().long().clamp(0, size - 2)
    for point, (x, y) in zip(features.points[0, :, -coarse.shape[1] :], cell.tolist(), strict=True):
        around = coarse[0, :, y : y + 2, x : x + 2].flatten(1)
        assert (point >= around.amin(1) - 1e-4).all() and (point <= around.amax(1) + 1e-4).all()


def test_fine_tuning_reaches_every_trainable_parameter():
    torch.manual_seed(0)
    backbone = build_movenet_backbone(None, frozen=False)
    seen = backbone(torch.randn(1, 3, 64, 64))
    sum(f.square().mean() for f in (*seen.maps, seen.pooled, seen.points)).backward()
    trainable = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in trainable} == {"trunk", "pyramid"}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trainable.values())
    assert not any(p.requires_grad for p in build_movenet_backbone(None).parameters())


def test_statistics_of_other_networks_are_refused(tmp_path):
    with pytest.raises(UserError, match="not a readable"):
        load_statistics(tmp_path / "absent.safetensors")
    save_file({"top": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not hold the statistics"):
        load_statistics(tmp_path / "other.safetensors")


def test_argmax_finds_peaks_between_cells():
    torch.manual_seed(0)
    keypoints = random_keypoints(10, 50)
    heatmaps, *_ = people_maps([((32, 32), keypoints)])
    found = decode_argmax(heatmaps)[0]
    assert (found[:, :2] / 4 - keypoints).abs().max() < 0.3
    assert found[:, 2].min() > 0.8


def test_the_central_person_is_decoded_and_not_the_other():
    torch.manual_seed(0)
    middle, other = random_keypoints(24, 40), random_keypoints(2, 14)
    parts = people_maps([((32, 32), middle), ((8, 8), other)])
    parts[0][:, :, 2:14, 2:14] *= 1.2  # the other one has higher scores
    found = decode_single_person(*parts)[0]
    assert (found[:, :2] / 4 - middle).abs().max() < 1e-4
    assert (decode_argmax(parts[0])[0, :, :2] / 4 - middle).norm(dim=1).min() > 5


def test_crop_frame_is_that_of_labels():
    points = np.array([[0.0, 0, 1], [223, 223, 1], [40.5, 100.25, 0.3]])
    matrix = crop_matrix((112, 112), 224 / 200)
    labels = move_keypoints_2d(np.tile(points, (8, 1)), matrix, flip=False)[:3]
    np.testing.assert_allclose(to_crop_frame(torch.tensor(points), (224, 224)), labels, atol=1e-6)


def test_weights_carry_provenance_and_licence():
    with safe_open(WEIGHTS, "pt") as file:
        provenance = json.loads(file.metadata()["provenance"])
    assert provenance["license"] == "Apache-2.0" and provenance["package"] == convert_movenet.PACKAGE
    assert "Apache License" in WEIGHTS.with_name("movenet_thunder.LICENSE.txt").read_text()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match="not found"):
        load_movenet(tmp_path / "absent.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no such thing")
    with pytest.raises(UserError, match="not a readable"):
        load_movenet(broken)
    save_file({"weight": torch.zeros(3)}, broken)
    with pytest.raises(UserError, match="does not hold MoveNet"):
        load_movenet(broken)


def test_conversion_refuses_other_archives(tmp_path):
    archive = tmp_path / "package.tgz"
    archive.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="is not the archive"):
        convert_movenet.read_members(archive, convert_movenet.MEMBERS)
    (tmp_path / "x").write_text("{}")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "x", next(iter(convert_movenet.MEMBERS)))
    with pytest.raises(UserError, match="is not that of"):
        convert_movenet.read_members(archive, convert_movenet.MEMBERS)


def test_conversion_writes_all_or_nothing(tmp_path, movenet):
    state = {key: value.half() for key, value in movenet.state_dict().items()}
    convert_movenet.write(state, {"generatedBy": "test"}, tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["movenet_thunder.LICENSE.txt", "out.safetensors"]
    for a, b in zip(load_movenet(tmp_path / "out.safetensors").parameters(), movenet.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_check_detects_a_wrong_network():
    """A graph of two nodes with an output that the network does not have."""
    node = {"name": "StatefulPartitionedCall/Sigmoid", "op": "Identity", "input": ["constant"]}
    graph = {"modelTopology": {"node": [node, {"name": "Identity", "op": "Identity", "input": ["keypoints"]}]}}
    weights = {"constant": torch.zeros(1, 64, 64, 17), "keypoints": torch.zeros(1, 1, 17, 3)}
    with pytest.raises(UserError, match="nothing was written"):
        convert_movenet.check(MoveNet().eval(), graph, weights)
