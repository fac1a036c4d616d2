"""Renderings against geometry that can be computed by hand, and the two backends against each other."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import trimesh

from utils.camera import Perspective, WeakPerspective
from utils.paths import OPEN_BODY, ROOT
from utils.render import mesh as render
from utils.render.mesh import BACKENDS, RenderOptions, overlay, render_mesh
from utils.render.panels import draw_overlay, draw_sheet, draw_side_view

CAMERAS = {"weak": WeakPerspective(60, 70.3, 64.6), "perspective": Perspective(260, 250, 70.3, 64.6)}
both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_cameras = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())


def sphere(radius=1.0, centre=(0, 0, 4.0), subdivisions=4):
    mesh = trimesh.creation.icosphere(subdivisions, radius)
    return (mesh.vertices + centre).astype(np.float32), mesh.faces


@pytest.fixture(scope="module")
def body():
    """The open body at rest, upright, 4 m away: vertices, faces."""
    with np.load(OPEN_BODY) as data:
        return (data["v_template"] * (1, -1, -1) + (0, 0, 4)).astype(np.float32), data["f"].astype(np.int64)


@both_backends
def test_sphere_weak_perspective(backend):
    vertices, faces = sphere()
    camera = WeakPerspective(50, 79.5, 59.5)
    result = render_mesh(vertices, faces, camera, 120, 160, RenderOptions(backend))
    assert result.rgb.shape == (120, 160, 3) and result.rgb.dtype == np.uint8
    assert result.mask.dtype == bool and result.depth.dtype == result.alpha.dtype == np.float32
    assert result.alpha.sum() == pytest.approx(np.pi * 50**2, rel=0.005)
    y, x = np.mgrid[:120, :160]
    r2 = ((x - 79.5) ** 2 + (y - 59.5) ** 2) / 50**2
    inner = r2 < 0.9
    np.testing.assert_allclose(result.depth[inner], 4 - np.sqrt(1 - r2[inner]), atol=4e-3)
    assert np.isinf(result.depth[r2 > 1.1]).all() and not result.rgb[r2 > 1.1].any()


@both_backends
def test_sphere_perspective(backend):
    vertices, faces = sphere()
    result = render_mesh(vertices, faces, Perspective(200, 200, 79.5, 59.5), 120, 160, RenderOptions(backend))
    outline = 200 / np.sqrt(4**2 - 1)  # tangent of the cone around the sphere
    assert result.alpha.sum() == pytest.approx(np.pi * outline**2, rel=0.005)
    y, x = np.mgrid[:120, :160]
    direction = np.stack(((x - 79.5) / 200, (y - 59.5) / 200, np.ones_like(x)), -1)
    inner = np.hypot(x - 79.5, y - 59.5) < 0.9 * outline
    a = (direction**2).sum(-1)[inner]  # |z d - (0, 0, 4)| = 1 is a z^2 - 8 z + 15 = 0
    np.testing.assert_allclose(result.depth[inner], (4 - np.sqrt(16 - 15 * a)) / a, atol=4e-3)


@both_cameras
def test_backends_agree(camera, body):
    vertices, faces = body
    a, b = (render_mesh(vertices, faces, camera, 130, 140, RenderOptions(backend)) for backend in BACKENDS)
    assert (a.mask & b.mask).sum() / (a.mask | b.mask).sum() > 0.98
    both = (a.alpha == 1) & (b.alpha == 1)
    assert both.sum() > 1000
    assert np.percentile(np.abs(a.depth[both] - b.depth[both]), 99) < 1e-3
    assert np.abs(a.rgb.astype(int) - b.rgb)[both].mean() < 1


@both_backends
@both_cameras
def test_points_land_where_the_camera_projects_them(backend, camera):
    rng = np.random.default_rng(0)
    for place in np.column_stack((rng.uniform(-0.5, 0.5, (5, 2)), rng.uniform(3, 5, 5))):
        vertices, faces = sphere(0.05, place, subdivisions=2)
        alpha = render_mesh(vertices, faces, camera, 130, 140, RenderOptions(backend)).alpha
        y, x = np.mgrid[:130, :140]
        found = np.array(((alpha * x).sum(), (alpha * y).sum())) / alpha.sum()
        np.testing.assert_allclose(found, camera.project(place), atol=0.15)


@both_cameras
def test_every_vertex_lands_on_the_body(camera, body):
    vertices, faces = body
    mask = render_mesh(vertices, faces, camera, 130, 140).alpha > 0
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    x, y = camera.project(vertices).round().astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < 140) & (y < 130)
    assert inside.mean() > 0.9 and near[y[inside], x[inside]].all()


@both_backends
def test_beyond_the_picture(backend):
    vertices, faces = sphere()
    cut = render_mesh(vertices, faces, WeakPerspective(50, 0, 59.5), 120, 160, RenderOptions(backend))
    assert cut.mask[59, 0] and cut.alpha.sum() == pytest.approx(np.pi * 50**2 / 2 + 50, rel=0.02)
    away = render_mesh(vertices, faces, WeakPerspective(50, -400, 59.5), 120, 160, RenderOptions(backend))
    behind = render_mesh(vertices - (0, 0, 8), faces, Perspective(200, 200, 80, 60), 120, 160, RenderOptions(backend))
    for result in (away, behind):
        assert not result.mask.any() and not result.rgb.any() and np.isinf(result.depth).all()


def test_strips_make_no_seams(body, monkeypatch):
    vertices, faces = body
    whole = render_mesh(vertices, faces, CAMERAS["weak"], 130, 140)
    monkeypatch.setattr(render, "CHUNK", 4000)
    strips = render_mesh(vertices, faces, CAMERAS["weak"], 130, 140)
    assert (np.abs(strips.alpha - whole.alpha) > 0).mean() < 1e-3  # a ray that grazes an edge may round the other way
    both = (strips.alpha == 1) & (whole.alpha == 1)
    np.testing.assert_allclose(strips.depth[both], whole.depth[both], atol=1e-4)
    assert np.abs(strips.rgb.astype(int) - whole.rgb)[both].max() <= 2


def test_light_falls_from_above_and_the_inside_is_lit():
    vertices, faces = sphere()
    camera = WeakPerspective(50, 79.5, 59.5)
    rgb = render_mesh(vertices, faces, camera, 120, 160).rgb.mean(-1)
    assert rgb[30, 55] > rgb[90, 105] + 30
    turned_inside_out = render_mesh(vertices, faces[:, ::-1], camera, 120, 160).rgb.mean(-1)
    np.testing.assert_allclose(turned_inside_out[40:80, 60:100], rgb[40:80, 60:100], atol=2)


def test_overlay_changes_only_what_the_body_covers():
    vertices, faces = sphere()
    result = render_mesh(vertices, faces, WeakPerspective(50, 79.5, 59.5), 120, 160)
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    before = image.copy()
    picture = overlay(image, result)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(picture[result.alpha == 0], image[result.alpha == 0])
    np.testing.assert_array_equal(picture[result.alpha == 1], result.rgb[result.alpha == 1])
    assert 100 < ((result.alpha > 0) & (result.alpha < 1)).sum() < 700  # a soft edge, one pixel wide


@pytest.mark.parametrize("x", [70.3, 3.0, 130.0, 1000.0])
def test_bodies_are_laid_over_a_picture_as_their_full_renderings_are(x, body):
    """Also where they are cut off by an edge, or beyond it; the picture that was given is left alone."""
    image = np.random.default_rng(0).integers(0, 256, (130, 140, 3), dtype=np.uint8)
    before, camera = image.copy(), WeakPerspective(60, x, 64.6)
    expected = overlay(image, render_mesh(*body, camera, 130, 140, RenderOptions(supersampling=1)))
    result = draw_overlay(image, [body[0]], body[1], [camera], RenderOptions(supersampling=1))
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(image, before)
    assert (result == image).all() == (x == 1000)


def test_nearer_bodies_cover_farther_ones():
    vertices, faces = sphere(subdivisions=2)
    image = np.zeros((100, 160, 3), np.uint8)
    near, far = WeakPerspective(40, 60, 50), WeakPerspective(20, 100, 50)
    pictures = [draw_overlay(image, [vertices] * 2, faces, cameras) for cameras in ((near, far), (far, near))]
    np.testing.assert_array_equal(*pictures)
    alone = draw_overlay(image, [vertices], faces, [near])
    np.testing.assert_array_equal(pictures[0][50, 85:95], alone[50, 85:95])


@pytest.mark.parametrize("size", [(120, 160), (160, 120), (40, 200)])
def test_side_view_fits_and_is_seen_from_the_side(size, body):
    vertices, faces = body
    picture = draw_side_view(vertices, faces, *size)
    assert picture.shape == (*size, 3)
    drawn = np.abs(picture.astype(int) - picture[:, :1]).max(-1) > 12
    rows, columns = np.nonzero(drawn.any(1))[0], np.nonzero(drawn.any(0))[0]
    assert rows[0] > 0 and rows[-1] < size[0] - 1 and columns[0] > 0 and columns[-1] < size[1] - 1
    low, high = vertices.min(0), vertices.max(0)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx((high - low)[2] / (high - low)[1], rel=0.15)
    feet = drawn[rows[-3:]].any(0).nonzero()[0]
    assert feet[-1] > columns.mean()  # towards the picture's viewer is to the right, and toes point there


@pytest.mark.parametrize(("max_height", "height", "width"), [(200, 100, 80), (50, 50, 40)])
def test_sheet_keeps_proportions(max_height, height, width):
    image, covered = np.full((100, 80, 3), 9, np.uint8), np.full((100, 80, 3), 99, np.uint8)
    vertices, faces = sphere(subdivisions=2)
    sheet = draw_sheet(image, covered, vertices, faces, max_height)
    assert sheet.shape == (height, 3 * width + 2 * 2, 3)
    assert (sheet[:, :width] == 9).all() and (sheet[:, width + 2 : 2 * width + 2] == 99).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@both_backends
def test_gpu_draws_what_the_cpu_draws(backend, body):
    vertices, faces = body
    a = render_mesh(vertices, faces, CAMERAS["perspective"], 130, 140, RenderOptions(backend))
    b = render_mesh(torch.from_numpy(vertices).cuda(), faces, CAMERAS["perspective"], 130, 140, RenderOptions(backend))
    assert (a.mask & b.mask).sum() / (a.mask | b.mask).sum() > 0.98
    both = (a.alpha == 1) & (b.alpha == 1)
    assert np.percentile(np.abs(a.depth[both] - b.depth[both]), 99) < 1e-3


def test_without_a_home_it_is_quiet_and_leaves_nothing(tmp_path):
    program = (
        "import sys, numpy, utils.render.mesh as r, utils.camera as c; assert 'warp' not in sys.modules\n"
        "v = numpy.array([[0, 0, 2], [1, 0, 2], [0, 1, 2.0]])\n"
        "assert r.render_mesh(v, [[0, 1, 2]], c.WeakPerspective(20, 5, 5), 40, 40).mask.sum() > 100\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "WARP_CACHE_PATH")}
    environment |= {"HOME": "/dev/null/nobody", "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
