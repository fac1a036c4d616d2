"""Pictures of several bodies, their numbers and hatching, and meshes over crops."""

import itertools

import numpy as np
import pytest
import torch
import trimesh

from utils.camera import Perspective
from utils.render import RenderOptions
from utils.render.labels import PERSON_COLORS, number_people, place_numbers
from utils.render.panels import GRIDS, draw_overlay, draw_sheet, draw_side_view, draw_views, mesh_picture

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


def colored(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: where something is drawn on the grey paper or the white gaps."""
    return np.ptp(picture.astype(int), axis=-1) > 25


def looks(count: int) -> list[RenderOptions]:
    return [RenderOptions(color=PERSON_COLORS[i % len(PERSON_COLORS)]) for i in range(count)]


def cells(count: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """The panels of a picture, a few pixels within."""
    rows, columns = GRIDS[min(count, 5)]
    edges = [np.linspace(0, n, k + 1).astype(int) for n, k in ((height, rows), (width, columns))]
    boxes = [[slice(a + 8, b - 8) for a, b in itertools.pairwise(edge)] for edge in edges]
    return list(itertools.product(*boxes))[: min(count, 5)]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("view", [{"angle_deg": 90}, {"angle_deg": 0, "tilt_deg": 90}], ids=["side", "top"])
def test_everybody_fills_a_panel_whatever_the_depth(count, view):
    """Between 3 m and 40 m away, near and far, left and right: side by side they would be specks."""
    bodies = [ball(3 + 37 * i / (count - 1), 0.4, x=(-1) ** i * 5.0) for i in range(count)]
    picture = draw_views(bodies, FACES, 600, 900, looks(count), **view)
    assert picture.shape == (600, 900, 3) and picture.dtype == np.uint8
    for cell in cells(count, 600, 900):
        rows, columns = np.nonzero(colored(picture[cell]))
        smaller = min(picture[cell].shape[:2])
        assert np.ptp(rows) > 0.7 * smaller and np.ptp(columns) > 0.7 * smaller
        assert colored(picture[cell]).mean() > 0.15


def test_panels_have_the_colours_of_their_people_in_order():
    picture = draw_views([ball(4, 0.5), ball(9, 0.5), ball(5, 0.2)], FACES, 400, 400, looks(3))
    for color, cell in zip(PERSON_COLORS, cells(3, 400, 400), strict=False):
        panel = picture[cell]
        mean = panel[colored(panel)].mean(0)
        hue = np.array(color) - np.mean(color)
        drawn = mean - mean.mean()
        assert hue @ drawn > 0.85 * np.linalg.norm(hue) * np.linalg.norm(drawn)


def test_one_body_has_no_number_and_is_the_side_view():
    body = ball(4, 0.5)
    np.testing.assert_array_equal(draw_views([body], FACES, 120, 90), draw_side_view(body, FACES, 120, 90))
    image = np.full((100, 100, 3), 7, np.uint8)
    number_people(image, {1: np.full((24, 2), 50.0)}, 1)
    assert (image == 7).all()


def test_a_note_is_written_below_and_more_than_five_people_are_counted():
    bodies = [ball(4, 0.5)] * 7
    plain, noted = (draw_views(bodies, FACES, 500, 750, looks(7), notes) for notes in (None, ["", "legs", *[""] * 5]))
    changed = (plain != noted).any(-1)
    rows, columns = np.nonzero(changed)
    assert changed.any() and rows.min() > 200 and rows.max() < 250 and columns.min() > 250 and columns.max() < 500
    last = plain[260:490, 510:740]
    assert (last < 128).any() and (last > 250).all(-1).mean() > 0.9  # a few words on white


def test_a_sheet_of_several_people_has_all_of_them():
    image = np.full((300, 400, 3), 9, np.uint8)
    for count, beside in ((1, 300), (2, 300), (4, 300), (5, 450)):
        bodies = [ball(3 + 5 * i, 0.4) for i in range(count)]
        sheet = draw_sheet(image, image, bodies, FACES, 1000, looks(count))
        assert sheet.shape == (300, 2 * (400 + 4) + beside, 3)
        assert (sheet[:, :400] == 9).all()
    assert draw_sheet(image, image, bodies, FACES, 1000, looks(5), min_height=600).shape[0] == 600


def test_numbers_stand_above_their_heads_and_apart():
    image = np.zeros((400, 600, 3), np.uint8)
    joints = {}
    for number, x in ((1, 100), (2, 105), (3, 112), (4, 500)):
        joints[number] = np.column_stack((np.full(24, x), np.linspace(380, 120, 24)))
        joints[number][15] = x, 120
    number_people(image, joints, 4)
    assert not image[150:].any()
    for number in joints:
        fill = np.round(255 * np.array(PERSON_COLORS[number - 1]))
        assert (np.abs(image - fill).max(-1) < 2).sum() > 60, number
    rng = np.random.default_rng(0)
    heads, radii = rng.uniform(0, 300, (12, 2)), rng.uniform(9, 14, 12)
    placed = place_numbers(heads, radii)
    np.testing.assert_array_equal(placed[0], heads[0])
    np.testing.assert_array_equal(placed[:, 1], heads[:, 1])


def test_numbers_at_the_border_stay_inside():
    image = np.zeros((120, 160, 3), np.uint8)
    number_people(image, {1: np.full((24, 2), -50.0), 2: np.full((24, 2), 900.0)}, 2)
    rows, columns = np.nonzero(image.any(-1))
    assert rows.min() >= 0 and columns.max() < 160 and image.any(-1).sum() > 300


def test_hatched_parts_let_the_picture_through():
    """In stripes: about half of the hatched surface, and nothing of the rest."""
    image = np.full((200, 200, 3), (0, 255, 0), np.uint8)
    body = ball(4, 1.0)
    upper = (body[:, 1] < 0).astype(np.float32)
    plain = draw_overlay(image, [body], FACES, [CAMERA])
    hatched = draw_overlay(image, [body], FACES, [CAMERA], RenderOptions(hatched=upper))
    covered = (plain != image).any(-1)
    top, bottom = covered & (np.arange(200) < 96)[:, None], covered & (np.arange(200) > 103)[:, None]
    np.testing.assert_array_equal(hatched[bottom], plain[bottom])
    green = (hatched[..., 1].astype(int) - hatched[..., 0] > 100)[top]
    assert 0.3 < green.mean() < 0.6
    same = (np.abs(hatched.astype(int) - plain).max(-1) < 3)[top]
    assert 0.3 < same.mean() < 0.6
    none = draw_overlay(image, [body], FACES, [CAMERA], RenderOptions(hatched=np.zeros(len(body), np.float32)))
    np.testing.assert_array_equal(none, plain)


def test_each_body_has_its_own_look():
    paper = np.full((200, 200, 3), 255, np.uint8)
    options = [RenderOptions(color=(0.9, 0.2, 0.2)), RenderOptions(color=(0.2, 0.2, 0.9))]
    picture = draw_overlay(paper, [ball(4, 0.5, -0.8), ball(4, 0.5, 0.8)], FACES, [CAMERA] * 2, options)
    left, right = picture[:, :95].astype(int), picture[:, 105:].astype(int)
    assert (left[..., 0] - left[..., 2]).max() > 60 and (right[..., 2] - right[..., 0]).max() > 60
    assert (left[..., 2] - left[..., 0]).max() < 10 and (right[..., 0] - right[..., 2]).max() < 10


def test_a_thin_picture_is_not_scaled_up_to_any_width():
    thin = np.zeros((1, 1000, 3), np.uint8)
    assert draw_sheet(thin, thin, [ball(3, 0.2)], FACES, 1000, min_height=320).shape[1] < 20_000
