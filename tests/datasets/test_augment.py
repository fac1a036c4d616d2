"""Crops and their effect on labels, against independent geometry."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datasets.augment import Augmentation, move_keypoints_2d, move_keypoints_3d, move_pose
from utils.crop import crop_image, crop_matrix
from utils.skeleton import J24, J24_FLIP, SMPL_JOINTS, SMPL_PARENTS

changes = st.tuples(
    st.booleans(),
    st.floats(-60, 60),
    st.floats(0.3, 3),
    st.tuples(st.floats(-50, 500), st.floats(-50, 500)),
)


def blob_image(points: np.ndarray, size: int = 400, width: float = 6) -> np.ndarray:
    """A black picture with a soft white dot at each point (N, 2)."""
    y, x = np.mgrid[:size, :size]
    squared = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
    brightness = np.exp(-squared / (2 * width**2)).sum(-1)
    return np.repeat((255 * brightness.clip(0, 1))[..., None], 3, -1).astype(np.uint8)


def centroid(image: np.ndarray) -> np.ndarray:
    """Brightness-weighted mean pixel (x, y)."""
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0, 37, -60])
@pytest.mark.parametrize("scale", [0.8, 1.7])
@pytest.mark.parametrize("antialias", [False, True])
def test_labels_move_with_the_picture(flip, rotation, scale, antialias):
    """A dot in the picture and its keypoint stay together, within a twentieth of a pixel."""
    center, point = np.array([203.3, 188.6]), np.array([221.4, 161.7])
    crop = crop_image(blob_image(point[None]), center, scale, rotation, flip, antialias=antialias)
    keypoints = np.column_stack((np.tile(point, (24, 1)), np.ones(24)))
    label = move_keypoints_2d(keypoints, crop_matrix(center, scale, rotation, flip), flip)[0, :2]
    # label -1 and 1 are the outer edges of the first and last pixel
    assert np.abs((label + 1) * 112 - 0.5 - centroid(crop)).max() < 0.05


@pytest.mark.parametrize("antialias", [False, True])
def test_a_crop_of_matching_size_is_a_copy(antialias):
    image = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    crop = crop_image(image, (30 + 112, 50 + 112), 1.12, antialias=antialias)
    np.testing.assert_array_equal(crop, image[50:274, 30:254])
    np.testing.assert_array_equal(crop_image(image, (30 + 112, 50 + 112), 1.12, flip=True), crop[:, ::-1])


def test_outside_is_black_and_the_input_untouched():
    image = np.full((50, 40, 3), 255, np.uint8)
    crop = crop_image(image, (20, 25), 1.0)
    assert image.min() == 255
    assert crop[0].max() == crop[-1].max() == crop[:, 0].max() == crop[:, -1].max() == 0
    assert crop[112, 112].min() == 255
    assert crop_image(image, (3000, 3000), 1.0).max() == 0
    assert crop_image(image, (3000, 3000), 10.0, antialias=True).max() == 0


@pytest.mark.parametrize("scale", [2.3, 4.6, 11.1])
def test_antialiasing_averages_pixels_that_bilinear_sampling_skips(scale):
    """Fine noise becomes plain grey at the right place; without antialiasing it stays noise."""
    image = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    plain, smooth = (crop_image(image, (750, 750), scale, 20, antialias=flag)[90:130, 90:130] for flag in (False, True))
    assert plain.std() > 30
    assert smooth.std() < 74 / (200 * scale / 224) * 1.5
    ramp = np.tile((np.arange(1500) / 6)[:, None], (1500, 1, 3)).astype(np.uint8)
    crops = [
        crop_image(ramp, (700, 750), scale, antialias=flag)[100:120, 100:120].astype(int) for flag in (False, True)
    ]
    assert np.abs(crops[0] - crops[1]).max() <= 1


def test_antialiasing_of_a_corner_keeps_the_border_black():
    image = np.full((1000, 1000, 3), 200, np.uint8)
    plain, smooth = (crop_image(image, (0, 0), 9.0, antialias=flag) for flag in (False, True))
    assert np.abs(plain.astype(int) - smooth).mean() < 0.6
    assert smooth[:110, :110].max() == 0 and smooth[116:, 116:].min() == 200


def test_crop_sizes():
    image = blob_image(np.array([[200.0, 200.0]]))
    assert crop_image(image, (200, 200), 1.0, size=96).shape == (96, 96, 3)
    assert np.abs(centroid(crop_image(image, (200, 200), 1.0, size=96)) - 48).max() < 0.05


def test_a_positive_rotation_is_counter_clockwise():
    up, right = np.array([200.0, 150.0]), np.array([250.0, 200.0])
    matrix = crop_matrix((200, 200), 1.12, rotation_deg=90)
    np.testing.assert_allclose(matrix @ (*right, 1), [112, 62], atol=1e-9)
    np.testing.assert_allclose(matrix @ (*up, 1), [62, 112], atol=1e-9)


@given(changes)
@settings(max_examples=60)
def test_the_matrix_is_a_similarity_that_keeps_the_center(change):
    flip, rotation, scale, center = change
    matrix = crop_matrix(center, scale, rotation, flip)
    linear = matrix[:, :2]
    zoom = 224 / (200 * scale)
    np.testing.assert_allclose(linear @ linear.T, zoom**2 * np.eye(2), atol=1e-9)
    assert np.sign(np.linalg.det(linear)) == (-1 if flip else 1)
    np.testing.assert_allclose(matrix @ (*center, 1), [111 if flip else 112, 112], atol=1e-6)


@given(changes, st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_2d_and_3d_keypoints_move_together(change, seed):
    """Under an orthographic camera the moved 3D keypoints project onto the moved 2D ones."""
    flip, rotation, scale, center = change
    rng = np.random.default_rng(seed)
    keypoints_3d = np.column_stack((rng.normal(0, 0.5, (24, 3)), np.ones(24)))
    pixels = 100 * keypoints_3d[:, :2] + center
    matrix = crop_matrix(center, scale, rotation, flip)
    moved_2d = move_keypoints_2d(np.column_stack((pixels, np.ones(24))), matrix, flip)
    moved_3d = move_keypoints_3d(keypoints_3d, rotation, flip)
    origin = move_keypoints_2d(np.array([[*center, 1.0]] * 24), matrix, flip)
    np.testing.assert_allclose(moved_2d[:, :2] - origin[:, :2], moved_3d[:, :2] / scale, atol=1e-9)
    np.testing.assert_allclose(np.sort(moved_3d[:, 2]), np.sort(keypoints_3d[:, 2]))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 33.0, -60.0])
def test_a_moved_pose_gives_the_moved_skeleton(flip, rotation):
    """Forward kinematics of a left-right symmetric skeleton commutes with rotating and mirroring the picture."""
    rng = np.random.default_rng(5)
    offsets = rng.normal(0, 0.3, (24, 3))
    mirror = [
        SMPL_JOINTS.index(name.translate(str.maketrans("LR", "RL")) if name[1] == "_" else name) for name in SMPL_JOINTS
    ]
    offsets = (offsets + offsets[mirror] * (-1, 1, 1)) / 2
    pose = rng.normal(0, 0.8, 72)

    def joints(pose):
        turns, places = [], []
        for joint, parent in enumerate(SMPL_PARENTS):
            turn = Rotation.from_rotvec(pose.reshape(24, 3)[joint])
            turns.append(turn if parent < 0 else turns[parent] * turn)
            places.append(np.zeros(3) if parent < 0 else places[parent] + turns[parent].apply(offsets[joint]))
        return np.array(places)

    expected = joints(pose) @ Rotation.from_euler("z", -rotation, degrees=True).as_matrix().T
    if flip:
        expected = expected[mirror] * (-1, 1, 1)
    np.testing.assert_allclose(joints(move_pose(pose, rotation, flip)), expected, atol=1e-9)


def test_a_flip_twice_is_the_identity():
    rng = np.random.default_rng(1)
    keypoints_3d, pose = rng.normal(size=(24, 4)), rng.normal(size=72)
    np.testing.assert_allclose(move_keypoints_3d(move_keypoints_3d(keypoints_3d, 0, True), 0, True), keypoints_3d)
    np.testing.assert_allclose(move_pose(move_pose(pose, 0, True), 0, True), pose)
    keypoints_2d = rng.uniform(0, 300, (24, 3))
    plain = move_keypoints_2d(keypoints_2d, crop_matrix((150, 150), 1.5), False)
    flipped = move_keypoints_2d(keypoints_2d, crop_matrix((150, 150), 1.5, flip=True), True)
    np.testing.assert_allclose(flipped[list(J24_FLIP)] * (-1, 1, 1), plain, atol=1e-12)
    assert J24[J24_FLIP[J24.index("L_Knee")]] == "R_Knee"


def test_moving_does_not_change_its_input():
    pose, keypoints = np.ones(72), np.ones((24, 4))
    move_pose(pose, 20, True)
    move_keypoints_3d(keypoints, 20, True)
    assert (pose == 1).all() and (keypoints == 1).all()
    np.testing.assert_array_equal(move_pose(pose, 0, False), pose)


def test_the_published_augmentation():
    rng = np.random.default_rng(0)
    draws = [Augmentation.draw(rng) for _ in range(20000)]
    flip, gain, rotation, scale = (np.array(values, dtype=float) for values in zip(*draws, strict=True))
    assert abs(flip.mean() - 0.5) < 0.02
    assert gain.min() >= 0.6 and gain.max() <= 1.4 and np.abs(gain.mean(0) - 1).max() < 0.01
    assert np.abs(np.corrcoef(gain.T) - np.eye(3)).max() < 0.03  # one gain per channel
    turned = rotation[rotation != 0]
    assert abs(len(turned) / len(rotation) - 0.4) < 0.02
    assert np.abs(rotation).max() == 60 and abs(np.median(np.abs(turned)) - 30 * 0.6745) < 1
    assert abs((np.abs(turned) == 60).mean() - 0.0455) < 0.01
    assert scale.min() == 0.75 and scale.max() == 1.25
    assert abs((scale == 0.75).mean() - 0.1587) < 0.01
    assert Augmentation() == (False, (1.0, 1.0, 1.0), 0.0, 1.0)


def test_a_crop_is_one_bilinear_warp():
    """The same picture as sampling every crop pixel in a loop."""
    image = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (200, 210, 3), dtype=np.uint8), (0, 0), 3)
    center, scale, rotation = (101.2, 96.7), 0.7, 25
    crop = crop_image(image, center, scale, rotation, flip=True).astype(float)
    inverse = np.linalg.inv(np.vstack((crop_matrix(center, scale, rotation, True), [0, 0, 1])))
    rng = np.random.default_rng(4)
    for x, y in rng.integers(0, 224, (50, 2)):
        u, v = (inverse @ (x, y, 1))[:2]
        i, j = int(np.floor(v)), int(np.floor(u))
        a, b = v - i, u - j
        patch = image[i : i + 2, j : j + 2].astype(float)
        value = (1 - a) * ((1 - b) * patch[0, 0] + b * patch[0, 1]) + a * ((1 - b) * patch[1, 0] + b * patch[1, 1])
        assert np.abs(crop[y, x] - value).max() < 1.5
