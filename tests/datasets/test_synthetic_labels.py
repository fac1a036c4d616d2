"""Synthetic people: labels agree with pictures, also when flipped; recorded samples; damaged assets."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import datasets.synthetic.dataset as dataset_module
from datasets.augment import move_keypoints_2d, move_keypoints_3d, move_pose
from datasets.synthetic import OCCLUDED, SyntheticDataset
from datasets.synthetic.assets import load_assets
from datasets.synthetic.person.body import rotvec_to_rotmat
from datasets.synthetic.raster.rasterizer import perspective, rasterize
from utils.crop import crop_matrix
from utils.errors import UserError
from utils.paths import OPEN_BODY
from utils.skeleton import J24, J24_FLIP, J24_LIMBS, J24_PELVIS

BODY = OPEN_BODY
SIZE = 224


@pytest.fixture(scope="module")
def clean():
    """Pictures without occluders, bystanders and camera faults, and without fetched assets."""
    return SyntheticDataset(
        BODY, "test", num_samples=50, assets=Path("/nonexistent"), clean=True, with_image_uint8=True
    )


@pytest.fixture(scope="module")
def drawn(clean):
    """Subject and row of a few samples."""
    return [(clean._draw(i, 0, SIZE)[0], clean[i]) for i in range(8)]


def naked(body, pose, betas, to_label, pelvis, crop):
    """The labelled body without clothes -> outline (SIZE, SIZE) bool, J24 keypoints (24, 2) in pixels.

    pelvis (3,): J24 pelvis in the camera frame; to_label (3, 3): camera frame to label frame.
    """
    vertices, _, _ = body.posed(rotvec_to_rotmat(pose.reshape(24, 3)), betas)
    points = (vertices - body.keypoints(vertices)[J24_PELVIS]) @ to_label + pelvis
    x, y, half = crop
    focal, middle = 0.5 * SIZE / half, 0.5 * SIZE - 0.5
    screen = perspective(points.astype(np.float32), focal, middle - focal * x, middle - focal * y)
    whole, one_sided = np.ones(len(points), np.float32), np.zeros(len(body.faces), bool)
    _, index = rasterize(screen, body.faces, whole, one_sided, SIZE, SIZE, 1)
    keypoints = body.keypoints(points)
    return index >= 0, focal * keypoints[:, :2] / keypoints[:, 2:] + (middle - focal * x, middle - focal * y)


def test_the_flip_of_a_sample_is_the_sample_of_the_flipped_body(clean, drawn):
    """Labels flipped as in training describe the body in the flipped picture."""
    body, mirror = clean.generator.body, np.diag((-1.0, 1, 1))
    for subject, row in drawn:
        pose, betas = row["pose"].numpy().astype(float), row["betas"].numpy()
        pelvis, (x, y, half) = subject.keypoints_camera[J24_PELVIS], subject.crop
        outline, keypoints = naked(body, pose, betas, subject.to_label, pelvis, subject.crop)
        flipped_outline, flipped_keypoints = naked(
            body,
            move_pose(pose, 0, True),
            betas,
            mirror @ subject.to_label @ mirror,
            pelvis * (-1, 1, 1),
            (-x, y, half),
        )
        both = flipped_outline & outline[:, ::-1]
        assert both.sum() > 0.98 * (flipped_outline | outline[:, ::-1]).sum()

        matrix = crop_matrix((SIZE / 2, SIZE / 2), SIZE / 200, flip=True)
        labels = move_keypoints_2d(np.column_stack((keypoints, np.ones(24))), matrix, True)
        np.testing.assert_allclose(((labels[:, :2] + 1) * SIZE - 1) / 2, flipped_keypoints, atol=1.0)
        points = move_keypoints_3d(row["keypoints_3d"].numpy().astype(float), 0, True)
        vertices, _, _ = body.posed(rotvec_to_rotmat(move_pose(pose, 0, True).reshape(24, 3)), betas)
        expected = body.keypoints(vertices)
        np.testing.assert_allclose(points[:, :3], expected - expected[J24_PELVIS], atol=3e-3)


def test_keypoints_of_the_labels_are_those_of_the_rendered_body(clean, drawn):
    """The posed body, projected by the true camera, has its keypoints at `keypoints_2d`, within a tenth of a pixel.
    Limb keypoints lie inside the outline of the body, and over 95 % of the outline inside the mask."""
    for subject, row in drawn:
        outline, keypoints = naked(
            clean.generator.body, row["pose"].numpy().astype(float), row["betas"].numpy(), subject.to_label,
            subject.keypoints_camera[J24_PELVIS], subject.crop,
        )  # fmt: skip
        xy = ((row["keypoints_2d"][:, :2].numpy() + 1) * SIZE - 1) / 2
        np.testing.assert_allclose(xy, keypoints, atol=0.1)
        confidence = row["keypoints_2d"][:, 2].numpy()
        inside = [j for j in J24_LIMBS if confidence[j] > 0]
        column, line = np.round(xy[inside]).astype(int).T
        assert cv2.dilate(outline.astype(np.uint8), np.ones((3, 3)))[line, column].all()
        assert (outline & row["mask"].numpy()).sum() > 0.95 * outline.sum()
        assert set(np.unique(confidence)) <= {0.0, OCCLUDED, 1.0}


# Training sample 3 of seed 0 without assets, as recorded when its features were first cached. Cached features and
# published weights belong to these people: a change of the generator needs new ones, under another name.
GREYS = (
    (113.3, 76.2, 120.3, 111.2),
    (67.7, 93.1, 107.7, 67.8),
    (82.8, 104.4, 128.7, 82.8),
    (82.1, 101.6, 148.9, 84.0),
)
ANKLES = ((-0.1828, 0.6763), (0.1000, 0.8281))


def test_samples_equal_the_recorded_one():
    row = SyntheticDataset(BODY, "train", assets=Path("/nonexistent"), with_image_uint8=True)[3]
    greys = cv2.resize(row["image_uint8"].float().mean(0).numpy(), (4, 4), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(greys, GREYS, atol=0.5)  # processors differ in the last digits
    np.testing.assert_allclose(row["keypoints_2d"][[0, 5], :2], ANKLES, atol=1e-3)


def test_turned_people_have_any_rotation(monkeypatch):
    """Keypoints in the camera frame of turned people have any rotation; those of the others are unchanged."""
    monkeypatch.setattr(dataset_module, "render_picture", lambda *_: None)

    def angles(turned):
        dataset = SyntheticDataset(BODY, "train", assets=Path("/nonexistent"), turned=turned, num_samples=200)
        points = np.stack([dataset._draw(i, 0, 224)[0].keypoints_3d() for i in range(200)])
        trunk = points[:, J24.index("Neck")] - points[:, J24_PELVIS]
        return np.degrees(np.arctan2(trunk[:, 0], -trunk[:, 1]))

    never, some, always = angles(0), angles(0.2), angles(1)
    assert np.histogram(always, 4, (-180, 180))[0].min() > 30
    assert (np.abs(never) > 120).mean() < 0.05
    assert 0.7 < (never == some).mean() < 0.9


@pytest.mark.parametrize(
    "name", ["photos/a.jpg", "surfaces/a.png", "light/a.hdr", "people/morse/body.png", "people/morse/jeans.png"]
)
@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_corrupt_asset_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=path.name):
        [load_assets(tmp_path, split) for split in ("train", "val", "test")]


def test_labels_flip_twice_to_themselves(drawn):
    _, row = drawn[0]
    pose, points = row["pose"].numpy().astype(float), row["keypoints_3d"].numpy().astype(float)
    np.testing.assert_allclose(move_pose(move_pose(pose, 0, True), 0, True), pose)
    np.testing.assert_allclose(move_keypoints_3d(move_keypoints_3d(points, 0, True), 0, True), points)
    assert [J24_FLIP[j] for j in J24_FLIP] == list(range(24))
