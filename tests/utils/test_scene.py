"""Scenes: what the camera of the file shows falls on the photograph, in three independent readers."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from string import Template

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from models.body_model import load_body_model
from tests.helpers.gltf import Reader
from utils.camera import pinhole
from utils.errors import UserError
from utils.export.rig import Motion, RestBody
from utils.export.scene import MovingPerson, StillPerson, save_scene
from utils.paths import OPEN_BODY, ROOT
from utils.placement.frame import CAMERA, ground_frame
from utils.render.mesh import render_mesh

HEIGHT, WIDTH, FOCAL = 241, 402, 390.0
FRAMES, RATE = 5, 25
FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
UP = np.array((0.1, -1, -0.3)) / np.linalg.norm((0.1, -1, -0.3))  # of a floor
FRAMES_OF_FILES = {"camera": CAMERA, "ground": ground_frame(UP, 1.4, np.array((-0.3, 0.2, 4.0)))}
ZOOM = 3  # of drawings
SAME = 0.99  # intersection over union of two masks


@pytest.fixture(scope="module")
def body():
    return load_body_model(OPEN_BODY)


@pytest.fixture(scope="module")
def camera():
    return pinhole(FOCAL, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def picture():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.dstack((columns * 255 // WIDTH, rows * 255 // HEIGHT, np.full((HEIGHT, WIDTH), 90))).astype(np.uint8)


@pytest.fixture(scope="module")
def poses():
    """Rotations (2, FRAMES, 24, 3, 3) of two people in a camera frame; the second one turns away."""
    rng = np.random.default_rng(3)
    rotvec = rng.normal(size=(2, FRAMES, 24, 3)) * 0.25
    rotmat = Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(2, FRAMES, 24, 3, 3)
    upright = np.diag((1.0, -1.0, -1.0))
    rotmat[:, :, 0] = upright @ Rotation.from_euler("y", [[0.3], [2.0]]).as_matrix()[:, None] @ rotmat[:, :, 0]
    return rotmat


@pytest.fixture(scope="module")
def moving(body, poses):
    """Two people, of whom the second comes in at the third frame -> them, vertices (P, T, V, 3) in the camera frame."""
    betas = torch.from_numpy(np.random.default_rng(4).normal(size=(2, 10))).float()
    rest = body(torch.eye(3).expand(2, 24, 3, 3), betas)
    people, vertices = [], []
    for p, (shape, joints) in enumerate(zip(*rest, strict=True)):
        translation = np.array((0.9 * p - 0.5, 0.1, 4.0 + p)) + 0.05 * np.arange(FRAMES)[:, None]
        posed, _ = body(torch.from_numpy(poses[p]).float(), betas[p].expand(FRAMES, 10))
        vertices.append(posed.numpy() + translation[:, None])
        motion = Motion(poses[p], translation, np.arange(FRAMES) / RATE)
        visible = [(0.0, np.inf)] if p == 0 else [(2 / RATE, np.inf)]
        people.append(
            MovingPerson(RestBody(shape.numpy(), joints.numpy(), body.weights.numpy(), body.faces), motion, visible)
        )
    return people, np.array(vertices)


@pytest.fixture(scope="module")
def colors(body):
    return np.full((body.num_vertices, 3), 128, np.uint8)


@pytest.fixture(params=list(FRAMES_OF_FILES))
def frame(request):
    return FRAMES_OF_FILES[request.param]


@pytest.fixture
def still_scene(tmp_path, body, moving, camera, picture, colors, frame):
    vertices = moving[1][:, 0]
    save_scene(tmp_path / "still.glb", picture, camera, [StillPerson(v) for v in vertices], body.faces, colors, frame)
    return tmp_path / "still.glb", vertices


@pytest.fixture
def film_scene(tmp_path, body, moving, camera, picture, colors, frame):
    people, vertices = moving
    save_scene(tmp_path / "film.glb", picture, camera, people, body.faces, colors, frame)
    return tmp_path / "film.glb", vertices


def mask_of(bodies, faces, camera) -> np.ndarray:
    """The pixels that the overlay covers, in a picture ZOOM times as large."""
    size = ZOOM * HEIGHT, ZOOM * WIDTH
    masks = [render_mesh(vertices, faces, camera.window(0, 0, ZOOM), *size).mask for vertices in bodies]
    return np.any(masks, axis=0)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_every_vertex_of_a_photograph_falls_on_the_overlay(still_scene, camera):
    path, vertices = still_scene
    scene = Reader(path)
    for number, body in enumerate(vertices, 1):
        pixels = scene.project(scene.vertices(f"person {number}"), HEIGHT, WIDTH)
        np.testing.assert_allclose(pixels, camera.project(body), atol=0.01)


def test_every_vertex_of_a_film_falls_on_the_overlay(film_scene, camera):
    path, vertices = film_scene
    for frame in range(FRAMES):
        scene = Reader(path, frame / RATE + 1e-6)
        for number, body in enumerate(vertices[:, frame], 1):
            if number == 1 or frame >= 2:
                pixels = scene.project(scene.vertices(f"person {number}"), HEIGHT, WIDTH)
                np.testing.assert_allclose(pixels, camera.project(body), atol=0.05)


def test_who_is_out_of_view_is_a_point(film_scene):
    path, _ = film_scene
    assert np.ptp(Reader(path, 1.5 / RATE).vertices("person 2"), axis=0).max() < 1e-5
    assert np.ptp(Reader(path, 2.5 / RATE).vertices("person 2"), axis=0).max() > 1


def test_the_photograph_fills_the_view_behind_everybody(still_scene, picture):
    path, _ = still_scene
    scene = Reader(path)
    corners = scene.vertices("photograph")
    wanted = np.array(((0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT))) - 0.5  # outer edges
    np.testing.assert_allclose(scene.project(corners, HEIGHT, WIDTH), wanted, atol=0.01)
    eye = scene.world[scene.names["camera"]][:3, 3]
    forward = -scene.world[scene.names["camera"]][:3, 2]
    depths = [(scene.vertices(name) - eye) @ forward for name in ("person 1", "person 2", "photograph")]
    assert max(depths[0].max(), depths[1].max()) < depths[2].min()
    shown = np.asarray(Image.open(io.BytesIO(scene.picture("photograph"))).convert("RGB"))
    assert np.abs(shown.astype(int) - picture).mean() < 3


def test_trimesh_reads_the_same_camera_and_people(still_scene, camera, frame):
    path, vertices = still_scene
    scene = trimesh.load(path, process=False)
    for number, body in enumerate(vertices, 1):
        transform, name = scene.graph[f"person {number}"]
        points = trimesh.transform_points(scene.geometry[name].vertices, transform)
        np.testing.assert_allclose(points, frame.apply(body.astype(float)), atol=1e-4)
    eye = scene.graph["camera"][0]
    np.testing.assert_allclose(eye[:3, 3], frame.shift, atol=1e-6)
    np.testing.assert_allclose(eye[:3, :3], frame.rotation @ np.diag((1, -1, -1)), atol=1e-6)


@pytest.fixture(scope="module")
def three():
    """A page with three.js, as the viewer of trimesh brings it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with zipfile.ZipFile(io.BytesIO(trimesh.resources.get_bytes("templates/viewer.zip"))) as archive:
        viewer = archive.read("viewer.html.template").decode()
    library = viewer.split("<script>", 1)[1].split("var camera,controls,scene,renderer", 1)[0]
    page = (ROOT / "tests" / "helpers" / "three.html").read_text()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page()
        tab.set_content(Template(page).safe_substitute(three=library))
        yield tab
        browser.close()


def draw_by_three(three, path, time=0.0) -> tuple[list[str], np.ndarray]:
    """-> names of the nodes, pixels of the people, in a picture ZOOM times as large."""
    data = base64.b64encode(path.read_bytes()).decode()
    answer = three.evaluate("args => draw(...args)", [data, ZOOM * WIDTH, ZOOM * HEIGHT, time])
    picture = Image.open(io.BytesIO(base64.b64decode(answer["picture"].split(",")[1]))).convert("L")
    return answer["names"], np.asarray(picture) >= 128


def test_three_js_draws_a_photograph_as_the_overlay(three, still_scene, body, camera):
    path, vertices = still_scene
    names, mask = draw_by_three(three, path)
    assert {"camera", "photograph", "person_1", "person_2"} <= {*names}
    assert overlap(mask, mask_of(vertices, body.faces, camera)) > SAME


@pytest.mark.parametrize("number", [0, 3])
def test_three_js_draws_a_film_as_the_overlay(three, film_scene, body, camera, number):
    path, vertices = film_scene
    _, mask = draw_by_three(three, path, number / RATE + 1e-6)
    people = vertices[:, number] if number >= 2 else vertices[:1, number]
    assert overlap(mask, mask_of(people, body.faces, camera)) > SAME


BLENDER = """
import json, sys
import bpy
import numpy as np
path, output, height, width, frame = *sys.argv[-5:-3], *map(int, sys.argv[-3:])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 25
bpy.ops.import_scene.gltf(filepath=path, merge_vertices=False)
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
scene.camera = next(o for o in bpy.data.objects if o.type == "CAMERA")
scene.frame_set(frame)
from bpy_extras.object_utils import world_to_camera_view
pixels = {}
depsgraph = bpy.context.evaluated_depsgraph_get()
for number in (1, 2):
    name = f"person {number}"
    mesh = next(o for o in bpy.data.objects if o.type == "MESH" and o.name.startswith(name))
    seen = mesh.evaluated_get(depsgraph)
    points = [world_to_camera_view(scene, scene.camera, seen.matrix_world @ v.co) for v in seen.data.vertices]
    pixels[name] = [[p.x * width - 0.5, (1 - p.y) * height - 0.5] for p in points]
json.dump(pixels, open(output, "w"))
"""


def blender() -> str:
    python = os.environ.get("BLENDER_PYTHON", sys.executable)  # bpy wants another NumPy than this project
    if subprocess.run([python, "-c", "import bpy"], capture_output=True).returncode:
        pytest.skip("needs Blender: pip install bpy into a virtual environment and set BLENDER_PYTHON to its python")
    return python


@pytest.mark.parametrize("number", [0, 3])
def test_blender_sees_every_vertex_on_the_overlay(film_scene, still_scene, camera, tmp_path, number):
    python = blender()
    path, vertices = film_scene if number else still_scene
    now = vertices[:, number] if number else vertices
    command = [python, "-c", BLENDER, path, tmp_path / "pixels.json", HEIGHT, WIDTH, number]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    pixels = json.loads((tmp_path / "pixels.json").read_text())
    for person, body in enumerate(now, 1):
        np.testing.assert_allclose(np.array(pixels[f"person {person}"]), camera.project(body), atol=1)


def test_a_scene_needs_people(tmp_path, picture, camera, body, colors):
    with pytest.raises(UserError, match="without people"):
        save_scene(tmp_path / "empty.glb", picture, camera, [], body.faces, colors)
    assert not list(tmp_path.iterdir())


def test_a_lens_that_gltf_cannot_hold_is_refused(tmp_path, picture, camera, body, colors, moving):
    person = StillPerson(moving[1][0, 0])
    with pytest.raises(ValueError, match="principal point"):
        save_scene(tmp_path / "a.glb", picture, camera._replace(cx=3.0), [person], body.faces, colors)
