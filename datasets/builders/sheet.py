"""Contact sheet: rows of a built set, read back from it, with the mesh drawn over them."""

from pathlib import Path

import cv2
import numpy as np

from datasets.builders.bodies import Bodies
from datasets.decode import decode_image
from datasets.tsv import TSVSet
from utils.camera import Perspective, WeakPerspective
from utils.crop import CROP_SIZE, crop_matrix, warp
from utils.errors import RowError, printable
from utils.files import atomic_path
from utils.render import RenderOptions, overlay, render_mesh
from utils.skeleton import J24, J24_LIMBS

COLUMNS = 4
OPTIONS = RenderOptions(supersampling=1)
COLORS = {"L": (60, 220, 90), "R": (255, 90, 60)}  # of limb keypoints, RGB


def write_contact_sheet(yaml_file: Path, bodies: Bodies, count: int):
    """Write NAME.contact_sheet.jpg with `count` rows, evenly spread over the set: mesh, and limb keypoints as dots.

    A row whose picture is damaged is a grey tile.
    """
    rows = TSVSet(yaml_file)
    chosen = np.unique(np.linspace(0, len(rows) - 1, count).astype(int))
    tiles = [draw_row(rows, int(i), bodies) for i in chosen]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])
    with atomic_path(yaml_file.with_suffix(".contact_sheet.jpg")) as temporary:
        cv2.imwrite(str(temporary), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def draw_row(rows: TSVSet, i: int, bodies: Bodies) -> np.ndarray:
    """The crop of a row -> (224, 224, 3) uint8 RGB; grey if its picture cannot be decoded."""
    _, encoded = rows.image(i)
    try:
        picture = decode_image(encoded, rows.where(i))
    except RowError as error:
        print(f"warning: {printable(str(error))}", flush=True)
        return np.full((CROP_SIZE, CROP_SIZE, 3), 128, np.uint8)
    label = rows.label(i)
    matrix = crop_matrix(np.array(label["center"]), label["scale"], 0.0, False)
    crop = np.ascontiguousarray(warp(picture, matrix)[..., :3])
    camera = camera_of(label)
    if label["has_smpl"] and camera is not None:
        zoom = float(matrix[0, 0])
        left, top = -matrix[0, 2] / zoom, -matrix[1, 2] / zoom
        # in a window of its own, pixel (left, top) stands at the middle of sample (zoom - 1) / 2
        window = camera.window(left - 0.5 / zoom + 0.5, top - 0.5 / zoom + 0.5, zoom)
        body = bodies.of(label.get("gender", "neutral"))
        vertices = body.vertices(np.array([label["pose"]]), np.array([label["betas"]]))[0]
        vertices = vertices + np.array(label.get("translation", (0, 0, 0)))
        crop = overlay(crop, render_mesh(vertices, body.faces, window, CROP_SIZE, CROP_SIZE, OPTIONS))
    if label["has_2d_joints"]:
        keypoints = np.array(label["2d_joints"]).reshape(24, 3)
        places = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        for j in J24_LIMBS:
            if keypoints[j, 2] > 0 and np.abs(places[j]).max() < 10 * CROP_SIZE:
                cv2.circle(crop, tuple(places[j].round().astype(int).tolist()), 2, COLORS[J24[j][0]], -1)
    return crop


def camera_of(label: dict) -> Perspective | WeakPerspective | None:
    """The camera of a label that a builder wrote: 4 numbers a pinhole, 3 weak perspective."""
    values = label.get("camera")
    return None if values is None else (Perspective if len(values) == 4 else WeakPerspective)(*values)
