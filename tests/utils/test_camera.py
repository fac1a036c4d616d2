"""Cameras of a picture: against crops, against known scenes, and focal lengths from EXIF."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from datasets.augment import move_keypoints_2d
from tests.helpers.hostile import png_header
from utils.camera import NEAR, Crop, Perspective, WeakPerspective, default_focal, pinhole, place, read_focal
from utils.crop import CROP_SIZE, crop_image, crop_matrix
from utils.geometry import project

places = st.floats(-500, 5000)
sizes = st.floats(2, 4000)


@given(places, places, sizes, sizes)
def test_labels_of_a_crop_go_back_to_where_they_came_from(x, y, width, height):
    crop = Crop.around((x, y, width, height))
    keypoints = np.column_stack((np.random.default_rng(0).uniform(-500, 5000, (24, 2)), np.ones(24)))
    labels = move_keypoints_2d(keypoints, crop_matrix(crop.center, crop.scale), flip=False)
    np.testing.assert_allclose(crop.to_image(labels[:, :2]), keypoints[:, :2], atol=1e-6)
    np.testing.assert_allclose(crop.from_image(keypoints[:, :2]), labels[:, :2], atol=1e-6, rtol=1e-9)


@given(places, places, sizes, sizes, st.floats(0.1, 3), st.floats(-1, 1), st.floats(-1, 1))
def test_the_camera_of_the_picture_is_that_of_the_crop(x, y, width, height, s, tx, ty):
    crop = Crop.around((x, y, width, height))
    points = np.random.default_rng(1).normal(size=(50, 3))
    in_crop = project(torch.from_numpy(points)[None], torch.tensor([[s, tx, ty]], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(crop.camera((s, tx, ty)).project(points), crop.to_image(in_crop), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("bbox", [(100, 50, 60, 200), (10, 20, 300, 40), (0, 0, 640, 480)])
def test_a_crop_is_a_square_around_the_box_with_a_margin(bbox):
    x, y, width, height = bbox
    crop = Crop.around(bbox, margin=1.25)
    low, high = crop.to_image(np.array(((-1, -1), (1, 1))))
    assert np.allclose(high - low, 1.25 * max(width, height))
    if max(bbox) < CROP_SIZE:  # the half pixel of the crop's own convention grows with the crop
        assert (low < (x, y)).all() and (high > (x + width, y + height)).all()


@pytest.mark.parametrize("scale_down", [1, 3, 8])
def test_what_is_seen_in_the_crop_is_found_in_the_picture(scale_down):
    """A spot in the picture, located in the pixels of its crop, is mapped back to within a quarter of a crop pixel."""
    side = CROP_SIZE * scale_down
    image = np.zeros((1200, 1600, 3), np.uint8)
    y, x = 371.0, 640.0
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    image[np.hypot(rows - y, columns - x) < 6 * scale_down] = 255
    crop = Crop((x + 0.11 * side, y - 0.07 * side), side / 200)
    weight = crop_image(image, crop.center, crop.scale, antialias=True)[..., 0].astype(float)
    pixel = np.array([(weight * grid).sum() for grid in np.mgrid[:CROP_SIZE, :CROP_SIZE][::-1]]) / weight.sum()
    found = crop.to_image((2 * pixel + 1) / CROP_SIZE - 1)
    np.testing.assert_allclose(found, (x, y), atol=0.25 * scale_down)


@pytest.mark.parametrize("camera", [WeakPerspective(80, 31.5, -7.25), Perspective(500, 480, 31.5, -7.25)])
def test_a_window_is_the_same_camera_on_another_raster(camera):
    points = np.random.default_rng(2).uniform((-1, -1, 3), (1, 1, 6), (50, 3))
    pixels, samples = camera.project(points), camera.window(10, 20, 4).project(points)
    # sample 0 to 3 lie evenly in pixel 0, whose left edge is at -0.5
    np.testing.assert_allclose((samples + 0.5) / 4 - 0.5 + (10, 20), pixels, atol=1e-9)


SIZE = (1200, 1600)  # height, width


@pytest.fixture
def body() -> np.ndarray:
    """Points of about a person's size, pelvis near 0."""
    return np.random.default_rng(0).normal(size=(500, 3)) * (0.25, 0.5, 0.15)


def test_from_far_away_both_cameras_see_the_same(body):
    weak = WeakPerspective(400, 300, 700)
    camera = pinhole(1e6, *SIZE)
    pixels = camera.project(place(body, weak, camera).to_camera(body))
    np.testing.assert_allclose(pixels, weak.project(body), atol=0.7)


@pytest.mark.parametrize("where", [(799.5, 599.5), (100, 200), (1500, 1100)])
def test_a_person_stands_where_and_as_large_as_the_crop_says(body, where):
    weak, camera = WeakPerspective(350, *where), pinhole(1400, *SIZE)
    placement = place(body, weak, camera)
    apart = camera.project(placement.to_camera(body)) - weak.project(body)
    extent = np.ptp(weak.project(body), axis=0).max()
    assert np.linalg.norm(apart.mean(0)) < 0.01 * extent and np.abs(apart).mean() < 0.03 * extent
    distance = np.linalg.norm(placement.shift)
    assert distance == pytest.approx(1400 / 350, rel=0.3)  # off the axis a pinhole stretches


def test_in_the_middle_the_depth_is_focal_length_over_scale(body):
    flat = body * (1, 1, 0)
    placement = place(flat, WeakPerspective(350, 799.5, 599.5), pinhole(1400, *SIZE))
    np.testing.assert_allclose(placement.shift, (0, 0, 4), atol=1e-6)
    np.testing.assert_allclose(placement.rotation, np.eye(3), atol=1e-9)


def test_the_body_is_turned_onto_its_ray_and_keeps_its_shape(body):
    weak, camera = WeakPerspective(350, 100, 200), pinhole(1400, *SIZE)
    placement = place(body, weak, camera)
    np.testing.assert_allclose(placement.rotation @ placement.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(placement.rotation) == pytest.approx(1)
    ray = np.array(((100 - camera.cx) / 1400, (200 - camera.cy) / 1400, 1))
    np.testing.assert_allclose(placement.rotation[:, 2], ray / np.linalg.norm(ray))
    moved = placement.to_camera(body)
    np.testing.assert_allclose(np.linalg.norm(moved - moved[0], axis=1), np.linalg.norm(body - body[0], axis=1))


@pytest.mark.parametrize("scale", [5000, 1e5, 0, -300])
def test_nothing_is_behind_the_camera(body, scale):
    moved = place(body, WeakPerspective(scale, 900, 500), pinhole(1000, *SIZE)).to_camera(body)
    assert np.isfinite(moved).all() and moved[:, 2].min() >= NEAR - 1e-9


def save_with_exif(path, size=(400, 300), **tags):
    exif = Image.Exif()
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        inner[ExifTags.Base[name]] = value
    Image.new("RGB", size).save(path, exif=exif)
    return path


def test_exif_35mm_equivalent(tmp_path):
    """36 mm of film are as wide as a 3:2 picture."""
    path = save_with_exif(tmp_path / "a.jpg", (600, 400), FocalLengthIn35mmFilm=36)
    focal = read_focal(path, 400, 600)
    assert focal.source == "exif" and focal.pixels == pytest.approx(600, rel=1e-4)


def test_exif_focal_plane_of_a_picture_scaled_down(tmp_path):
    """10 mm on a sensor of 200 pixels per millimetre, whose 4000 pixels became 400."""
    tags = {"FocalLength": 10.0, "FocalPlaneXResolution": 2000.0, "FocalPlaneResolutionUnit": 3}
    path = save_with_exif(tmp_path / "a.jpg", ExifImageWidth=4000, ExifImageHeight=3000, **tags)
    assert read_focal(path, 300, 400).pixels == pytest.approx(200)


DUMB = {
    "nothing": {},
    "zero": {"FocalLengthIn35mmFilm": 0},
    "absurd": {"FocalLengthIn35mmFilm": 60000},
    "cut to another shape": {"FocalLengthIn35mmFilm": 28, "ExifImageWidth": 4000, "ExifImageHeight": 1500},
}


@pytest.mark.parametrize("tags", DUMB.values(), ids=DUMB.keys())
def test_without_good_exif_the_default_is_taken(tmp_path, tags):
    path = save_with_exif(tmp_path / "a.jpg", **tags)
    assert read_focal(path, 300, 400) == default_focal(300, 400) == (1000, "default")


def test_a_large_picture_gives_no_warning(tmp_path, recwarn):
    (tmp_path / "a.png").write_bytes(png_header(10_000, 10_000))
    read_focal(tmp_path / "a.png", 10_000, 10_000)
    assert not recwarn.list


def test_no_picture_at_all_has_the_default(tmp_path):
    (tmp_path / "a.jpg").write_text("nothing")
    assert read_focal(tmp_path / "a.jpg", 300, 400).source == "default"
