"""--place, --height, --same_floor, --tilt and --save scene as a user meets them, with the network of the repository."""

import json

import cv2
import numpy as np
import pytest
import trimesh

import demo
from tests.helpers.films import make_film
from tests.helpers.gltf import Reader
from tests.helpers.programs import run_main
from utils.camera import UPRIGHT
from utils.media.images import load_image
from utils.paths import SAMPLES

SAMPLE = SAMPLES / "im03.png"
BOXES = {"im03.png": [[47, 32, 476, 538], [438, 60, 101, 291]]}
ONE = "438,60,101,291"


@pytest.fixture
def run(tmp_path, capsys):
    """Run the demo into tmp_path / "out" -> exit code, stdout, stderr."""

    def call(*flags, img_path=SAMPLE):
        command = "--img_path", img_path, "--device", "cpu", "--no-flip_test", "--output", tmp_path / "out"
        return run_main(demo, *command, *flags), *capsys.readouterr()

    return call


@pytest.fixture
def boxes(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(BOXES))
    return "--boxes", path


def results(folder):
    """-> record, arrays, vertices of both meshes."""
    record = json.loads((folder / "im03.json").read_text())
    meshes = [
        trimesh.load(folder / name, process=False, force="mesh").vertices for name in ("im03.glb", "im03_person2.glb")
    ]
    return record, dict(np.load(folder / "im03.npz")), meshes


def project(record: dict, points: np.ndarray) -> np.ndarray:
    middle = (record["width"] - 1) / 2, (record["height"] - 1) / 2
    return record["focal"] * points[:, :2] / points[:, 2:] + middle


def test_on_the_ground_with_a_known_height(run, boxes, tmp_path):
    code, out, err = run(*boxes, "--place", "ground", "--height", "175", "--save", "scene,glb,json,npz")
    assert (code, err) == (0, "") and "above the floor" in out and "175" in out
    record, arrays, meshes = results(tmp_path / "out")
    assert record["people"][0]["height"] == pytest.approx(1.75) and record["place"] == "ground"
    assert "ground frame" in record["fields"]["joints_3d"]
    np.testing.assert_allclose(arrays["vertices"], meshes, atol=1e-5)
    scene, to_camera = Reader(tmp_path / "out" / "im03_scene.glb"), np.array(record["ground_to_camera"])
    for number, (person, mesh) in enumerate(zip(record["people"], meshes, strict=True), 1):
        assert abs(mesh[:, 1].min()) < 0.03 and person["on_floor"]
        camera = mesh @ to_camera[:3, :3].T + to_camera[:3, 3]
        joints = np.array(person["joints_3d"]) @ to_camera[:3, :3].T + to_camera[:3, 3]
        np.testing.assert_allclose(project(record, joints), person["joints_2d"], atol=0.01)
        shown = scene.project(scene.vertices(f"person {number}"), record["height"], record["width"])
        np.testing.assert_allclose(shown, project(record, camera), atol=0.05)
    assert np.abs(np.array(record["people"][0]["joints_3d"])[0, [0, 2]]).max() < 1e-4  # the first person's pelvis


def test_before_the_camera_and_at_the_origin(run, boxes, tmp_path):
    run(*boxes, "--place", "camera", "--save", "glb,json,npz")
    record, arrays, meshes = results(tmp_path / "out")
    np.testing.assert_allclose(arrays["vertices"] * UPRIGHT, meshes, atol=1e-5)
    np.testing.assert_allclose(record["people"][0]["mesh_to_camera"], np.diag((*UPRIGHT, 1)))
    run(*boxes, "--place", "origin", "--save", "glb,json,npz")
    _, same, at_origin = results(tmp_path / "out")
    np.testing.assert_array_equal(same["vertices"], arrays["vertices"])
    run(*boxes, "--save", "glb,json,npz")
    _, same, by_default = results(tmp_path / "out")
    np.testing.assert_array_equal(at_origin, by_default)
    assert np.abs(np.mean(at_origin, axis=1)).max() < 0.5  # metres
    run(*boxes, "--height", "180,90", "--save", "glb,json,npz")
    record, _, meshes = results(tmp_path / "out")
    assert [person["height"] for person in record["people"]] == pytest.approx([1.8, 0.9])
    for before, after, person in zip(by_default, meshes, record["people"], strict=True):
        np.testing.assert_allclose(after, person["scale"] * before, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--height", "0"), "0 is below 40"),
        (("--height", "1.8"), "1.8 is below 40"),
        (("--height", "tall"), "tall"),
        (("--height", "180,170,160", "--bbox", ONE), "3 heights for one person"),
        (("--tilt", "200", "--place", "ground"), "200 is not below"),
        (("--tilt", "10"), "add --place ground"),
        (("--place", "moon"), "moon"),
    ],
)
def test_mistakes_are_one_line(run, flags, message):
    code, _, err = run(*flags)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_scene_needs_people(run, tmp_path):
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((60, 80, 3), 128, np.uint8))
    code, _, err = run("--save", "scene", img_path=tmp_path / "wall.png")
    assert code == 2 and "nobody was found" in err and err.count("\n") == 1
    code, _, err = run("--save", "all", img_path=tmp_path / "wall.png")
    assert (code, err) == (0, "") and not list((tmp_path / "out").glob("*_scene.glb"))


def test_a_film_on_the_ground(run, tmp_path):
    image = load_image(SAMPLE)
    frames = [np.roll(image, -4 * t, axis=1)[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2] for t in range(6)]
    make_film(tmp_path / "film.mp4", frames, [t / 10 for t in range(6)])
    flags = ("--bbox", ONE, "--place", "ground", "--height", "160", "--save", "scene,glb,bvh,json")
    code, _, err = run(*flags, img_path=tmp_path / "film.mp4")
    assert code == 0, err
    record = json.loads((tmp_path / "out" / "film.json").read_text())
    (person,) = record["people"]
    assert person["height"] == pytest.approx(1.6) and record["place"] == "ground"
    rows = (tmp_path / "out" / "film.bvh").read_text().partition("Frame Time:")[2].splitlines()[1:]
    for row, time in enumerate(person["times"]):
        scene = Reader(tmp_path / "out" / "film_scene.glb", time + 1e-6)
        joints = np.array([scene.world[scene.names[name]][:3, 3] for name in record["joint_names"]])
        shown = scene.project(joints, record["height"], record["width"])
        np.testing.assert_allclose(shown, person["joints_2d"][row], atol=0.5)
        rig = Reader(tmp_path / "out" / "film.glb", time + 1e-6)
        assert abs(rig.vertices("body")[:, 1].min()) < 0.03
        pelvis = rig.world[rig.names["pelvis"]][:3, 3]
        np.testing.assert_allclose(pelvis, person["joints_3d"][row][0], atol=1e-3)
        if len(rows) == len(person["times"]):
            np.testing.assert_allclose(np.array(rows[row].split()[:3], float), pelvis, atol=1e-2)
    run(*flags[:2], "--place", "origin", "--save", "glb", img_path=tmp_path / "film.mp4")
    places = [Reader(tmp_path / "out" / "film.glb", t / 10).world[0][:3, 3] for t in range(6)]
    assert np.ptp(places, axis=0).max() < 1e-6 and np.abs(places).max() < 0.5
