"""Cameras of the whole picture against the crops that the data sets cut."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.augment import move_keypoints_2d
from utils.camera import Crop, Perspective, WeakPerspective
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
