"""The demo as a user meets it: pictures in, people and files out, and every mistake told in one line.

The network is small and random: its bodies are odd, but where they are drawn has to be right all the same.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import roma
import torch
import trimesh
from PIL import ExifTags, Image

import demo
from models.build import build_model, config_from_args
from tests.helpers.programs import run_main
from utils.checkpoint import save_checkpoint
from utils.demo.photo_results import SHEET_HEIGHT
from utils.errors import UserError
from utils.media.images import load_image, save_image
from utils.media.video import read_frames, read_video_info
from utils.media.video_writer import write_video
from utils.options import get_args_parser
from utils.paths import OPEN_BODY, ROOT, SAMPLES
from utils.render import render_mesh

SAMPLE = SAMPLES / "im01.png"
WHERE = (170, 84, 252, 420)  # the woman who walks in it


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    flags = ["--backbone", "movenet", "--num_transformers", "1", "--smpl_path", str(OPEN_BODY)]
    args = get_args_parser().parse_args(flags)
    torch.manual_seed(0)
    model, _ = build_model(args)
    save_checkpoint(path, model, config_from_args(args, model.body_model))
    return path


@pytest.fixture(scope="module")
def predictor(checkpoint):
    return demo.load_predictor(checkpoint, "cpu", precision="fp32")


@pytest.fixture
def run(checkpoint, capsys):
    """Run the command with more flags -> exit code, stdout, stderr."""

    def call(*flags, img_path=SAMPLE):
        command = "--img_path", img_path, "--load_checkpoint", checkpoint, "--device", "cpu"
        return run_main(demo, *command, *flags), *capsys.readouterr()

    return call


def test_a_person_has_all_that_is_promised(predictor):
    (person,) = predictor(SAMPLE, WHERE)
    shapes = {
        "bbox": (4,),
        "pose": (24, 3),
        "betas": (10,),
        "cam": (3,),
        "vertices": (predictor.model.body_model.num_vertices, 3),
        "joints": (24, 3),
        "joints_2d": (24, 2),
        "keypoints_3d": (14, 3),
        "keypoints_2d": (14, 2),
    }
    assert {key: getattr(person, key).shape for key in shapes} == shapes
    assert person.score is None and predictor.faces.max() == len(person.vertices) - 1
    np.testing.assert_allclose(person.camera.project(person.joints), person.joints_2d, atol=1e-3)
    np.testing.assert_allclose(person.camera.project(person.keypoints_3d), person.keypoints_2d, atol=1e-3)
    rotmat = roma.rotvec_to_rotmat(torch.from_numpy(person.pose))
    with torch.inference_mode():
        vertices, _ = predictor.model.body_model(rotmat[None], torch.from_numpy(person.betas)[None])
    np.testing.assert_allclose(vertices[0], person.vertices, atol=1e-5)


def test_paths_and_arrays_are_the_same_picture(predictor):
    a, b, c = (predictor(image, WHERE)[0] for image in (SAMPLE, str(SAMPLE), load_image(SAMPLE)))
    np.testing.assert_array_equal(a.vertices, b.vertices)
    np.testing.assert_array_equal(a.vertices, c.vertices)


def test_the_person_is_found(predictor):
    (person,) = predictor(SAMPLE)
    assert person.score > 0.5
    np.testing.assert_allclose(person.bbox, WHERE, atol=25)


def test_nobody_there_means_the_whole_picture(predictor):
    (person,) = predictor(np.full((70, 90, 3), 128, np.uint8))
    assert person.score is None
    np.testing.assert_array_equal(person.bbox, (0, 0, 90, 70))
    assert person.crop.scale * 200 == 90 and person.crop.center == (44.5, 34.5)


@pytest.mark.parametrize("image_scale", [0.5, 3])
def test_a_larger_photograph_gives_the_same_body_larger(predictor, image_scale):
    image = load_image(SAMPLE)
    resized = cv2.resize(image, None, fx=image_scale, fy=image_scale, interpolation=cv2.INTER_AREA)
    a = predictor(image, WHERE)[0]
    b = predictor(resized, tuple(image_scale * value for value in WHERE))[0]
    # not the same: the network sees slightly other pixels, and MoveNet's keypoints move with them
    np.testing.assert_allclose(b.joints_2d / image_scale, a.joints_2d, atol=0.03 * WHERE[3])


def test_the_person_may_be_anywhere(predictor):
    """A picture pasted somewhere else shows the same body, moved with it: crops are exact."""
    image = load_image(SAMPLE)
    wide = cv2.copyMakeBorder(image, 130, 20, 310, 40, cv2.BORDER_CONSTANT)
    a, b = predictor(image, WHERE)[0], predictor(wide, (WHERE[0] + 310, WHERE[1] + 130, *WHERE[2:]))[0]
    np.testing.assert_allclose(a.vertices, b.vertices, atol=1e-5)
    np.testing.assert_allclose(b.joints_2d - a.joints_2d, np.broadcast_to((310, 130), (24, 2)), atol=0.01)


@pytest.mark.parametrize("bbox", [WHERE, (400, 300, 200, 300), (10.5, 20.25, 90, 60)])
def test_projected_vertices_land_on_the_overlay(predictor, bbox):
    image = load_image(SAMPLE)
    height, width = image.shape[:2]
    (person,) = predictor(image, bbox)
    rendering = render_mesh(person.vertices, predictor.faces, person.camera, height, width)
    pixels = person.camera.project(person.vertices)
    inside = ((pixels >= -0.5) & (pixels < (width - 0.5, height - 0.5))).all(1)
    x, y = pixels[inside].round().astype(int).T
    near = cv2.dilate((rendering.alpha > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert inside.sum() > 1000 and near[y, x].all()
    # and the outline is where the outermost vertices are
    if inside.all():
        rows, columns = np.nonzero(rendering.alpha > 0)
        outline = np.array((columns.min(), rows.min(), columns.max(), rows.max()))
        np.testing.assert_allclose(outline, np.concatenate((pixels.min(0), pixels.max(0))), atol=1)


def test_command_writes_what_it_says(run, tmp_path):
    code, out, err = run("--output", tmp_path / "new" / "folder", "--save_obj")
    assert (code, err) == (0, "")
    names = ("im01.png", "im01_overlay.png", "im01.obj")
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == sorted(names)
    assert all(str(tmp_path / "new" / "folder" / name) in out for name in names)
    image = load_image(SAMPLE)
    height, width = image.shape[:2]
    sheet = load_image(tmp_path / "new" / "folder" / "im01.png")
    assert sheet.shape[0] == height and sheet.shape[1] > 3 * min(height, width)
    np.testing.assert_array_equal(sheet[:, :width], image)
    overlay = load_image(tmp_path / "new" / "folder" / "im01_overlay.png")
    assert overlay.shape == image.shape and 0.02 < (overlay != image).any(-1).mean() < 0.9
    assert "found at" in out


def test_obj_stands_upright_in_metres(run, tmp_path, predictor):
    code, *_ = run("--output", tmp_path, "--save_obj", "--precision", "fp32", "--bbox", ",".join(map(str, WHERE)))
    mesh = trimesh.load(tmp_path / "im01.obj", process=False)
    (person,) = predictor(SAMPLE, WHERE)
    assert code == 0
    np.testing.assert_allclose(mesh.vertices * (1, -1, -1), person.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, predictor.faces)
    assert 1 < np.ptp(mesh.vertices, axis=0).max() < 2.5


def test_renderers_draw_the_same(run, tmp_path):
    small = cv2.resize(load_image(SAMPLE), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    save_image(tmp_path / "small.png", small)
    sheets = []
    for renderer in ("warp", "pytorch3d"):
        flags = ("--output", tmp_path / renderer, "--renderer", renderer, "--bbox=42,21,63,105")
        code, *_ = run(*flags, img_path=tmp_path / "small.png")
        assert code == 0
        sheets.append(load_image(tmp_path / renderer / "small.png").astype(int))
    assert np.abs(sheets[0] - sheets[1]).mean() < 0.1


def test_tall_photographs_keep_their_proportions(run, tmp_path):
    save_image(tmp_path / "tall.png", np.tile(load_image(SAMPLE), (3, 1, 1)))
    code, *_ = run("--output", tmp_path / "out", img_path=tmp_path / "tall.png")
    height, width = load_image(tmp_path / "tall.png").shape[:2]
    sheet = load_image(tmp_path / "out" / "tall.png")
    assert code == 0 and sheet.shape[0] == SHEET_HEIGHT
    assert sheet.shape[1] / sheet.shape[0] == pytest.approx((3 * width + 2 * round(0.012 * height)) / height, rel=0.01)
    assert load_image(tmp_path / "out" / "tall_overlay.png").shape == (height, width, 3)


def write_bad_files(folder: Path):
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes(SAMPLE.read_bytes()[:9000])
    torch.save({"a": torch.zeros(3)}, folder / "other.pt")
    (folder / "cut.safetensors").write_bytes(b"\x10\0\0\0")
    shutil.copy(SAMPLE, folder / "im01.png")
    (folder / "out").mkdir()
    (folder / "out" / "im01.json").write_text("{}")
    (folder / "boxes.json").symlink_to(folder / "out" / "im01.json")
    (folder / "empty").mkdir()


BAD = {
    "missing picture": ("missing.png", [], "not found"),
    "no picture": ("text.png", [], "not a picture"),
    "cut picture": ("cut.png", [], "damaged"),
    "empty folder": ("empty", [], "no pictures"),
    "nothing matches": ("*.jpg", [], "no pictures"),
    "box outside": ("im01.png", ["--bbox=5000,0,10,10"], "outside the picture"),
    "box without area": ("im01.png", ["--bbox=10,10,0,10"], "not a box"),
    "box of nan": ("im01.png", ["--bbox=10,10,nan,10"], "not a box"),
    "box without end": ("im01.png", ["--bbox=0,0,inf,10"], "not a box"),
    "box of giants": ("im01.png", ["--bbox=0,0,1e300,10"], "not a box"),
    "box turned over": ("im01.png", ["--bbox=100,100,-50,50"], "not a box"),
    "box with a minus": ("im01.png", ["--bbox", "-9000,-20,700,700"], "outside the picture"),
    "address": ("https://example.org/a.png", [], "is a URL"),
    "kind of films": ("im01.png", ["--save", "bvh"], "--save bvh"),
    "over the boxes": ("im01.png", ["--boxes", "boxes.json", "--output", "out", "--save", "json"], "choose another"),
    "box of words": ("im01.png", ["--bbox=left"], "x,y,width,height"),
    "box of three": ("im01.png", ["--bbox=1,2,3"], "x,y,width,height"),
    "missing checkpoint": ("im01.png", ["--load_checkpoint", "missing.pt"], "not found"),
    "other checkpoint": ("im01.png", ["--load_checkpoint", "other.pt"], "not an SMPL-Pose checkpoint"),
    "cut checkpoint": ("im01.png", ["--load_checkpoint", "cut.safetensors"], "damaged"),
    "missing body": ("im01.png", ["--smpl_path", "missing.npz"], "not found"),
    "other body": ("im01.png", ["--smpl_path", "other_body.npz"], "vertices"),
    "no such device": ("im01.png", ["--device", "abacus"], "--device"),
    "no such renderer": ("im01.png", ["--renderer", "chisel"], "--renderer"),
    "unknown flag": ("im01.png", ["--sheet"], "--sheet"),
    "output is a file": ("im01.png", ["--output", "text.png"], "not a writable folder"),
    "output inside a file": ("im01.png", ["--output", "text.png/out"], "not a writable folder"),
    "over the photograph": ("im01.png", ["--output", "."], "choose another --output"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_mistakes_are_told_in_one_line_and_nothing_is_written(run, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    name, flags, message = case
    write_bad_files(tmp_path)
    if "other_body.npz" in flags:
        write_smaller_body(tmp_path / "other_body.npz")
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run(*flags, img_path=name)
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert sorted(tmp_path.rglob("*")) == before


def write_smaller_body(path: Path):
    """The open body without its last vertex."""
    with np.load(OPEN_BODY) as data:
        body = dict(data)
    v = len(body["v_template"])
    body["f"] = body["f"][(body["f"] < v - 1).all(1)]
    body["uv_f"] = body["uv_f"][: len(body["f"])]
    for key in ("v_template", "shapedirs", "posedirs", "weights", "flip_vertices"):
        body[key] = body[key][:-1]
    for key in ("J_regressor", "j17_regressor", "j24_regressor"):
        body[key] = body[key][:, :-1]
    body["flip_vertices"] = np.minimum(body["flip_vertices"], v - 2)
    np.savez(path, **body)


def test_without_the_usual_checkpoint_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("models.predictor.DEFAULT_CHECKPOINT", tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="--load_checkpoint"):
        demo.load_predictor()


def test_an_answer_that_is_not_finite_is_no_person(checkpoint):
    predictor = demo.load_predictor(checkpoint, "cpu")
    with torch.no_grad():
        predictor.model.regressor.fc1.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        predictor(SAMPLE, WHERE)


def record_of(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def test_several_inputs_of_all_kinds_and_a_broken_one(run, tmp_path):
    """Grey, 16 bits, transparent, CMYK, turned by EXIF: each is the same photograph; the broken one stops nobody."""
    small = Image.open(SAMPLE).convert("RGB").reduce(3)
    folder = tmp_path / "in"
    folder.mkdir()
    small.convert("L").save(folder / "grey.png")
    save = cv2.cvtColor(np.asarray(small), cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    cv2.imwrite(str(folder / "deep.png"), save)
    small.convert("RGBA").save(folder / "alpha.webp", lossless=True)
    small.convert("CMYK").save(folder / "print.jpg", quality=95)
    turned, exif = small.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # show a quarter turn clockwise
    turned.save(folder / "phone.jpg", exif=exif, quality=95)
    (folder / "broken.jpg").write_bytes((folder / "print.jpg").read_bytes()[:700])
    code, _, err = run("--output", tmp_path / "out", "--save=json", img_path=folder)
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("error: ")] == err.splitlines()
    assert err.count("error: ") == 1 and "broken.jpg" in err
    assert sorted(p.name for p in (tmp_path / "out").glob("*.json")) == [
        f"{name}.json" for name in ("alpha", "deep", "grey", "phone", "print")
    ]
    for path in (tmp_path / "out").glob("*.json"):
        (person,) = json.loads(path.read_text())["people"]
        np.testing.assert_allclose(person["bbox"], np.array(WHERE) / 3, atol=10)
        assert load_image(path.with_name(f"{path.stem}_overlay.png")).shape == (small.height, small.width, 3)


def test_when_nothing_worked_the_exit_code_says_so(run, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no picture")
    code, _, err = run("--output", tmp_path / "out", img_path=tmp_path)
    assert code == 2 and err.count("error: ") == 3 and "none of the 2 files" in err and not (tmp_path / "out").exists()


def test_everything_that_can_be_saved(run, tmp_path, predictor):
    """The files agree with each other, and the exported mesh under the exported camera lies on the overlay."""
    code, _, err = run("--output", tmp_path, "--save=all", "--bbox", ",".join(map(str, WHERE)), "--focal=900")
    assert (code, err) == (0, "")
    endings = (".png", "_overlay.png", "_side.png", "_top.png", "_keypoints.png", ".obj", ".ply", ".glb", ".html")
    endings += ("_angles.csv", "_scene.glb", ".json", ".npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"im01{e}" for e in endings)
    record = record_of(tmp_path, "im01")
    (person,) = record["people"]
    with np.load(tmp_path / "im01.npz") as arrays:
        assert list(arrays["part_names"][arrays["guessed"][0]]) == person["guessed"]
        angles = np.array([*person["angles"].values()], float)
        assert [*person["angles"]] == list(arrays["angle_names"])
        np.testing.assert_allclose(arrays["angles"][0], angles, atol=0.006)
        for key, value in person.items():
            if value is not None and key not in ("color", "guessed", "at_rest", "angles"):
                np.testing.assert_allclose(arrays[key][0], value, atol=1e-5, err_msg=key)
        for key in ("joint_names", "joint_parents", "keypoint_names", "betas_note", "body"):
            assert arrays[key].tolist() == record[key]
        vertices = arrays["vertices"][0]
    named = {name for names in record["fields"] for name in names.split(", ")}
    assert {*record, *person} - {"fields", "people"} == named

    height, width, focal = record["height"], record["width"], record["focal"]
    assert (focal, record["focal_source"]) == (900, "given")

    def project(points):  # as the description of the fields says
        return focal * points[:, :2] / points[:, 2:] + ((width - 1) / 2, (height - 1) / 2)

    for kind in ("obj", "ply", "glb"):
        mesh = trimesh.load(tmp_path / f"im01.{kind}", process=False, force="mesh")
        to_camera = np.array(person["mesh_to_camera"])
        placed = mesh.vertices @ to_camera[:3, :3].T + to_camera[:3, 3]
        np.testing.assert_allclose(placed, vertices, atol=1e-4)
    changed = load_image(tmp_path / "im01_overlay.png") != load_image(SAMPLE)
    rows, columns = np.nonzero(changed.any(-1))
    pixels = project(placed)
    assert (pixels > 0).all() and (pixels < (width - 1, height - 1)).all()
    outline = np.array((columns.min(), rows.min(), columns.max(), rows.max()))
    np.testing.assert_allclose(outline, np.concatenate((pixels.min(0), pixels.max(0))), atol=1)
    np.testing.assert_allclose(project(np.array(person["joints_3d"])), person["joints_2d"], atol=0.01)

    rotmat = roma.rotvec_to_rotmat(torch.tensor(person["pose"]))
    with torch.inference_mode():
        body, joints = predictor.model.body_model(rotmat[None], torch.tensor(person["betas"])[None])
    np.testing.assert_allclose(body[0].numpy() + person["translation"], vertices, atol=1e-4)
    np.testing.assert_allclose(joints[0].numpy() + person["translation"], person["joints_3d"], atol=1e-4)

    assert record["joint_names"][:3] == ["pelvis", "L_hip", "R_hip"] and record["joint_parents"][:3] == [-1, 0, 0]
    assert len(record["keypoint_names"]) == len(person["keypoints_3d"]) and "not of SMPL" in record["betas_note"]
    assert person["number"] == 1 and re.fullmatch("#[0-9a-f]{6}", person["color"])
    with (tmp_path / "im01_angles.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row.pop("person") == "1" and [*row] == [*person["angles"]]
    np.testing.assert_allclose([float(value or "nan") for value in row.values()], angles, atol=0.006)


@pytest.mark.parametrize("where", ["film.json", "film.csv", "--max_people=2"])
def test_several_people(run, tmp_path, where):
    image = load_image(SAMPLE)
    two = np.concatenate((image, image[:, ::-1]), axis=1)
    save_image(tmp_path / "two.png", two)
    boxes = [WHERE, (two.shape[1] - WHERE[0] - WHERE[2], *WHERE[1:])]
    if where.endswith("json"):
        (tmp_path / where).write_text(json.dumps({"two.png": boxes}))
    else:
        rows = [",".join(map(str, ("two.png", *box))) for box in boxes]
        (tmp_path / "film.csv").write_text("\n".join(["image,x,y,w,h", *rows]))
    flags = [where] if where.startswith("--") else ["--boxes", tmp_path / where]
    code, _, err = run("--output", tmp_path / "out", "--save=json,glb", *flags, img_path=tmp_path / "two.png")
    assert (code, err) == (0, "")
    people = record_of(tmp_path / "out", "two")["people"]
    found = sorted(person["bbox"][0] for person in people)
    np.testing.assert_allclose(found, [box[0] for box in boxes], atol=25)
    assert {p.name for p in (tmp_path / "out").glob("*.glb")} == {"two.glb", "two_person2.glb"}


def test_batches_change_nothing(predictor):
    images = [load_image(SAMPLE), load_image(SAMPLE.with_name("im02.png"))]
    detections = [[predictor.detection(WHERE)], [predictor.detection((80, 20, 340, 570)), predictor.detection(WHERE)]]
    together = predictor.reconstruct(images, detections)
    assert [len(people) for people in together] == [1, 2]
    for image, people, several in zip(images, together, detections, strict=True):
        for person, detection in zip(people, several, strict=True):
            alone = predictor(image, detection.bbox)[0]
            np.testing.assert_allclose(person.vertices, alone.vertices, atol=1e-4)
            np.testing.assert_allclose(person.translation, alone.translation, atol=1e-3)


def test_a_film(run, tmp_path, predictor):
    """The woman moves right by 4 pixels a frame: so does the body, and the files tell the same story."""
    image = load_image(SAMPLE)[::2, ::2]
    rate, n = Fraction(10), 6
    with write_video(tmp_path / "film.mp4", rate) as add:
        for t in range(n):
            add(np.roll(image, 4 * t, axis=1))
    flags = ("--output", tmp_path / "out", "--save=all", "--smooth=0")
    code, _, err = run(*flags, img_path=tmp_path / "film.mp4")
    assert (code, err) == (0, "")
    names = ("film_overlay.mp4", "film.json", "film.npz", "film.glb", "film.bvh", "film_angles.csv", "film_scene.glb")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    assert read_video_info(tmp_path / "out" / "film_overlay.mp4") == (
        n,
        rate,
        *(2 * np.ceil(np.array(image.shape[:2]) / 2)),
    )

    record = record_of(tmp_path / "out", "film")
    (person,) = record["people"]
    assert person["frames"] == list(range(n)) and all(person["observed"]) and record["rate"] == 10
    np.testing.assert_allclose(person["times"], np.arange(n) / 10)
    joints_2d = np.array(person["joints_2d"])
    (alone,) = predictor(image)  # the first frame, before it was compressed
    np.testing.assert_allclose(joints_2d[0].mean(0), alone.joints_2d.mean(0), atol=15)
    assert np.ptp(joints_2d[0], axis=0) == pytest.approx(np.ptp(alone.joints_2d, axis=0), rel=0.25)
    moved = np.diff(joints_2d[:, 0, 0])
    assert moved.mean() == pytest.approx(4, abs=1.5)
    rotmat = roma.rotvec_to_rotmat(torch.tensor(person["pose"]))
    with torch.inference_mode():
        _, joints = predictor.model.body_model(rotmat, torch.tensor(person["betas"]).expand(n, 10))
    joints = joints.numpy() + np.array(person["translation"])[:, None]
    np.testing.assert_allclose(joints, person["joints_3d"], atol=1e-4)
    middle = (np.array((record["width"], record["height"])) - 1) / 2
    np.testing.assert_allclose(record["focal"] * joints[..., :2] / joints[..., 2:] + middle, joints_2d, atol=0.1)

    assert record["joint_names"][0] == "pelvis" and person["number"] == 1
    with (tmp_path / "out" / "film_angles.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["frame"] for row in rows] == [*"012345"] and all(row["observed"] == "1" for row in rows)
    np.testing.assert_allclose([float(row["time"]) for row in rows], person["times"], atol=1e-6)
    for name, values in person["angles"].items():
        given = np.array([float(row[name] or "nan") for row in rows])
        np.testing.assert_allclose(given, np.array(values, float), atol=0.011, err_msg=name)


def test_two_films_at_once_into_the_current_folder(run, tmp_path, monkeypatch):
    """A video with a colon in its name, and an animated picture; times are the files' own."""
    image = load_image(SAMPLE)[::2, ::2]
    times = [0, 0.2, 0.25]
    with write_video(tmp_path / "a:b.mp4", Fraction(20)) as add:
        for time in times:
            add(image, time)
    frames = [Image.fromarray(np.roll(image, 4 * t, axis=1)) for t in range(2)]
    frames[0].save(tmp_path / "c.png", save_all=True, append_images=frames[1:], duration=[100, 100])
    monkeypatch.chdir(tmp_path)
    code, out, err = run("--output", ".", "--save=json", img_path=".")
    assert (code, err) == (0, "") and out.count("found    ") == 2 and "0.00 to 0.25 s" in out
    np.testing.assert_allclose(record_of(tmp_path, "a:b")["people"][0]["times"], times, atol=0.001)
    written = [frame.time for frame in read_frames(tmp_path / "a:b_overlay.mp4")]
    np.testing.assert_allclose(written, times, atol=0.001)
    assert len(record_of(tmp_path, "c")["people"][0]["times"]) == 2


def test_numbered_pictures_with_a_rate_are_a_film(run, tmp_path):
    (tmp_path / "walk").mkdir()
    for number in (1, 2, 10):
        save_image(tmp_path / "walk" / f"{number}.jpg", np.roll(load_image(SAMPLE)[::2, ::2], number, axis=1))
    flags = ("--output", tmp_path / "out", "--save=json", "--fps=4")
    code, _, err = run(*flags, img_path=tmp_path / "walk")
    assert (code, err) == (0, "")
    assert record_of(tmp_path / "out", "walk")["people"][0]["times"] == [0, 0.25, 0.5]


def test_the_first_page_is_used_and_that_is_said(run, tmp_path):
    page = Image.fromarray(load_image(SAMPLE)[::2, ::2])
    page.save(tmp_path / "scan.tif", save_all=True, append_images=[page] * 11)
    code, out, _ = run("--output", tmp_path / "out", img_path=tmp_path / "scan.tif")
    assert code == 0 and "the first of its 12 pictures" in out


def test_a_film_without_people_says_so(run, tmp_path):
    with write_video(tmp_path / "film.mp4", Fraction(10)) as add:
        for _ in range(2):
            add(np.full((64, 64, 3), 128, np.uint8))
    code, _, err = run("--output", tmp_path / "out", img_path=tmp_path / "film.mp4")
    assert code == 2 and "nobody was found" in err and not (tmp_path / "out").exists()


CLASHES = {
    "no input": (["--save=json"], "--img_path"),
    "page and people": (["--serve", "--max_people=3"], "--max_people has no effect"),
    "page and height": (["--serve", "--height=180"], "--height has no effect"),
    "page and files": (["--serve", "--save=obj"], "--save has no effect"),
    "page and folder": (["--serve", "--output=x"], "--output has no effect"),
    "page and pictures": (["--serve", "--img_path=a.png"], "--serve"),
    "two kinds of boxes": (["--img_path=a.png", "--bbox=1,2,3,4", "--boxes=b.csv"], "--boxes"),
    "unknown kind": (["--img_path=a.png", "--save=fbx"], "--save"),
    "nobody": (["--img_path=a.png", "--max_people=0"], "--max_people"),
    "focal beyond all": (["--img_path=a.png", "--focal=1e30"], "--focal"),
    "endless smoothing": (["--img_path=a.mp4", "--smooth=1e9"], "--smooth"),
    "no such port": (["--serve", "--port=70000"], "--port"),
    "no boxes": (["--img_path=a.png", "--boxes=missing.csv"], "missing.csv"),
    "no numbers": (["--img_path=a.png", "--boxes=words.csv"], "words.csv"),
}


@pytest.mark.parametrize("case", CLASHES.values(), ids=CLASHES.keys())
def test_flags_that_make_no_sense(tmp_path, monkeypatch, capsys, case):
    flags, message = case
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text("a.png,left,right,up,down\n")
    monkeypatch.setattr("sys.argv", ["demo.py", *flags])
    with pytest.raises(SystemExit) as stop:
        demo.main()
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1 and message in err


def test_lines_fit_80_columns(run, tmp_path, monkeypatch):
    """Several people, a long name, guessed parts, a film: only a path may be longer than a line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    image = load_image(SAMPLE)
    long = "a_photograph_with_a_name_that_would_fill_more_than_a_line_of_a_terminal_alone"
    save_image(tmp_path / f"{long}.png", np.concatenate((image[:330], image[:330, ::-1]), axis=1))
    with write_video(tmp_path / f"{long}.mp4", Fraction(10)) as add:
        for _ in range(3):
            add(image[::2, ::2])
    code, out, err = run("--output", tmp_path / "out", "--save=angles", "--max_people=2", img_path=tmp_path)
    assert code == 0
    lines = out.splitlines()
    paths = [line for line in lines if "/" in line]
    assert max(len(line) for line in lines if line not in paths) <= 80
    assert all(line[9:].startswith("out/a_photo") for line in paths) and len(paths) == 5
    assert [line[:9] for line in lines].count("person 1 ") == [line[:9] for line in lines].count("person 2 ") == 1
    assert "guessed: " in " ".join(out.split()) and max(map(len, re.split("[\\r\\n]", err))) <= 80


def test_alone_it_says_what_to_do_in_three_lines(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["demo.py"])
    with pytest.raises(SystemExit) as stop:
        demo.main()
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and err.count("\n") == 3 and "Traceback" not in err
    assert "--img_path samples/im01.png" in err and "--help" in err and SAMPLE.is_file()
    assert max(map(len, err.splitlines())) <= 80


@pytest.mark.parametrize("ending", ["| head -1", "2>&-", ">&-", "2>&- >&-", "2>&1 | true"])
@pytest.mark.parametrize(
    "command", ["demo.py --img_path missing.png", "demo.py --help", "main.py --eval_only", "main.py --help"]
)
def test_closed_outputs_give_no_traceback(command, ending):
    script = f"{{ {sys.executable} {command}; }} {ending}"
    result = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in result.stderr + result.stdout and "Exception" not in result.stderr


def test_any_name_on_a_terminal_that_shows_ascii_alone(tmp_path):
    """Letters of other scripts, bytes that are not UTF-8, and escape sequences."""
    names = [b"\xc3\xa9\xc2\xb2.png", b"caf\xe9.png", b"a\x1b[31mb.png"]
    for name in names:
        shutil.copy(SAMPLE, os.fsencode(tmp_path) + b"/" + name)
    command = [sys.executable, "demo.py", "--img_path", tmp_path, "--output", tmp_path / "out", "--save", "html,json"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii() and b"\x1b" not in result.stdout and b"\\xb2" in result.stdout
    pages = [*(tmp_path / "out").glob("*.html")]
    assert len(pages) == 3 and all(page.read_bytes().decode("utf-8") for page in pages)


def test_a_photograph_that_cannot_be_written_does_not_stop_the_others(run, tmp_path):
    shutil.copy(SAMPLE, tmp_path / "b.png")
    shutil.copy(SAMPLE, tmp_path / ("a" * 250 + ".png"))  # a legal name, but not with _overlay
    code, _, err = run("--output", tmp_path / "out", img_path=tmp_path)
    assert code == 0 and "cannot write" in err and "Traceback" not in err
    assert (tmp_path / "out" / "b_overlay.png").is_file()


def test_no_input_is_overwritten_through_a_link(run, tmp_path):
    (tmp_path / "out").mkdir()
    shutil.copy(SAMPLE, tmp_path / "out" / "a.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "out" / "a.png")
    code, _, err = run("--output", tmp_path / "out", img_path=tmp_path / "a.png")
    assert code == 2 and "would be overwritten" in err
    assert (tmp_path / "out" / "a.png").read_bytes() == SAMPLE.read_bytes()


def test_pictures_of_a_large_photograph_are_bounded(run, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.demo.photo_results.DRAWN_PIXELS", 100_000)
    code, out, _ = run("--output", tmp_path, "--save", "all")
    assert code == 0 and "drawn at" in out
    photograph, overlay = load_image(SAMPLE), load_image(tmp_path / "im01_overlay.png")
    assert 95_000 < np.prod(overlay.shape[:2]) <= 101_000
    assert overlay.shape[0] / overlay.shape[1] == pytest.approx(photograph.shape[0] / photograph.shape[1], rel=0.01)
    record = record_of(tmp_path, "im01")
    zoom = overlay.shape[0] / photograph.shape[0]
    joints = np.array(record["people"][0]["joints_2d"]) * zoom
    small = cv2.resize(photograph, overlay.shape[1::-1], interpolation=cv2.INTER_AREA)
    body = np.abs(overlay.astype(int) - small).sum(-1) > 30
    rows, columns = joints.round().astype(int).T[::-1]
    assert body[rows.clip(0, body.shape[0] - 1), columns.clip(0, body.shape[1] - 1)].mean() > 0.9


def test_a_box_outside_a_film_is_one_line(run, tmp_path):
    image = load_image(SAMPLE)
    with write_video(tmp_path / "a.mp4", Fraction(5)) as add:
        for _ in range(3):
            add(image)
    code, _, err = run("--output", tmp_path / "out", "--bbox", "5000,5000,50,50", img_path=tmp_path / "a.mp4")
    assert code == 2 and "outside the picture" in err and "Traceback" not in err
    code, _, err = run("--output", tmp_path / "out", "--bbox", "1,1,30,30", img_path=tmp_path / "a.mp4")
    assert code == 2 and "nobody was found in the given box" in err and "Traceback" not in err
