"""Read what a builder wrote, and compare it with the truth it was written from."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import numpy as np

from datasets.builders.sheet import camera_of
from datasets.human_mesh import HumanMeshDataset
from datasets.tsv import TSVSet
from tests.helpers.programs import run_main
from tests.helpers.releases.scene import Person, find_mask, pose_body, silhouette
from utils.camera import Perspective


def run(module, *arguments) -> tuple[int, str]:
    """main() of a command in this process -> exit code, all that it printed."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = run_main(module, *arguments)
    return code, out.getvalue()


def report_of(yaml_file: Path) -> dict:
    return json.loads(yaml_file.with_suffix(".report.json").read_text())


def labels_of(yaml_file: Path) -> dict[str, dict]:
    """Key -> label as training reads it, with the picture and the raw label."""
    raw, rows = TSVSet(yaml_file), HumanMeshDataset(yaml_file)
    result = {}
    for i in range(len(rows)):
        key, picture, label = rows.read(i)
        assert key not in result, f"two rows are called {key}"
        result[key] = label | {"picture": picture, "raw": raw.label(i), "jpeg": raw.image(i)[1]}
    return result


def assert_agrees(label: dict, person: Person, picture_has_one: bool = True, translation: bool = True):
    """2D within 1 px, 3D within 1 mm, silhouette IoU over 0.95 against the truth and against the picture itself."""
    given = label["keypoints_2d"][:, 2] > 0
    assert given.sum() >= 12
    assert np.abs(label["keypoints_2d"][given, :2] - person.pixels[given]).max() < 1.0
    given = label["keypoints_3d"][:, 3] > 0
    truth = person.keypoints - person.keypoints[14]
    assert given.sum() >= 12
    assert np.abs(label["keypoints_3d"][given, :3] - truth[given]).max() < 1e-3
    assert label["has_smpl"]
    vertices = pose_body(label["pose"], label["betas"])[0] + np.array(label["raw"].get("translation", (0, 0, 0)))
    if translation:
        assert np.abs(vertices - person.vertices).max() < 1e-3
    camera = camera_of(label["raw"])
    assert isinstance(camera, Perspective) or not translation
    drawn = silhouette(camera.project(vertices), person.mask.shape)
    assert iou(drawn, person.mask) > 0.95
    if picture_has_one:
        assert iou(drawn, find_mask(label["picture"])) > 0.95
    low, high = person.box[:2], person.box[2:]
    center, side = label["center"], 200 * label["scale"]
    assert (center > low).all() and (center < high).all()
    assert 0.7 * (high - low).max() < side < 2.2 * (high - low).max()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def sheet_of(yaml_file: Path) -> np.ndarray:
    return cv2.imread(str(yaml_file.with_suffix(".contact_sheet.jpg")))
