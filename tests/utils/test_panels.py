"""Pictures of several bodies, and of meshes over crops."""

import numpy as np
import torch
import trimesh

from utils.camera import Perspective
from utils.render import RenderOptions
from utils.render.panels import draw_overlay, mesh_picture

SPHERE = trimesh.creation.icosphere(subdivisions=3)
FACES = np.asarray(SPHERE.faces)
CAMERA = Perspective(200, 200, 99.5, 99.5)


def ball(z: float, radius: float, x: float = 0.0) -> np.ndarray:
    return (np.asarray(SPHERE.vertices) * radius + (x, 0, z)).astype(np.float32)


def test_the_nearest_body_is_in_front_whatever_its_size():
    paper = np.zeros((200, 200, 3), np.uint8)
    small, large = ball(3, 0.2), ball(5, 1.0)
    alone = draw_overlay(paper, [small], FACES, [CAMERA])
    inside = alone.any(-1)
    for bodies in ([small, large], [large, small]):
        both = draw_overlay(paper, bodies, FACES, [CAMERA, CAMERA])
        core = inside & np.roll(inside, 2, 0) & np.roll(inside, -2, 0) & np.roll(inside, 2, 1) & np.roll(inside, -2, 1)
        np.testing.assert_array_equal(both[core], alone[core])
        assert both.any(-1).sum() > 2 * inside.sum()


def test_bodies_that_pass_through_each_other_share_the_picture():
    paper = np.zeros((200, 200, 3), np.uint8)
    left, right = ball(4, 0.5, -0.3), ball(4, 0.5, 0.3)
    both = draw_overlay(paper, [left, right], FACES, [CAMERA, CAMERA])
    mirrored = draw_overlay(paper, [right, left], FACES, [CAMERA, CAMERA])
    assert np.abs(both.astype(int) - mirrored).mean() < 0.5
    alone = [draw_overlay(paper, [body], FACES, [CAMERA]) for body in (left, right)]
    np.testing.assert_array_equal(both[:, :95], alone[0][:, :95])
    np.testing.assert_array_equal(both[:, 105:], alone[1][:, 105:])


def test_meshes_lie_where_the_crops_camera_projects_them():
    image = torch.zeros(2, 3, 224, 224)
    vertices = torch.from_numpy(np.stack((ball(0, 0.25), ball(0, 0.25))))
    vertices[1] = torch.nan
    picture = mesh_picture(image, vertices, FACES, torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert picture.shape == (224, 448, 3)
    rows, columns = np.nonzero((picture[:, :224] != picture[0, 0]).any(-1))
    # x = s (X + tx) = 0.5 in [-1, 1], radius 0.25
    assert abs(columns.mean() - (1.5 / 2 * 224 - 0.5)) < 1 and abs(rows.mean() - 111.5) < 1
    assert abs(np.ptp(columns) - 0.25 * 224) < 3
    assert (picture[:, 224:] == picture[0, 0]).all()


def test_options_reach_the_painter():
    paper = np.zeros((50, 50, 3), np.uint8)
    camera = Perspective(50, 50, 24.5, 24.5)
    red = draw_overlay(paper, [ball(3, 0.5)], FACES, [camera], RenderOptions(color=(1, 0, 0)))
    assert red[..., 0].max() > 100 and red[..., 1].max() < red[..., 0].max() / 2
