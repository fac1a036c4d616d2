"""Bodies as numbers for other programs: .json and .npz, with a description of every field."""

import json
from pathlib import Path

import numpy as np

from utils.files import atomic_path, write_text

FRAME = "camera frame: metres, x right, y down, z away from the viewer, the camera at the origin"
PIXELS = "pixels of the picture, whole numbers at pixel centres, (0, 0) the middle of the first"
FIELDS = {
    "width, height": "size of the picture, upright, pixels",
    "focal": "focal length, pixels; the principal point is ((width - 1) / 2, (height - 1) / 2)",
    "focal_source": "where the focal length comes from: given, exif or default (twice the picture's diagonal)",
    "body": "name of the body model",
    "bbox": "x, y, width, height of the box the person was looked for in, pixels",
    "score": "how sure the finder is, 0 to 1; null (nan) where it was not asked, or found nobody",
    "cam": "s, tx, ty: the weak-perspective camera of the crop, as the network gives it",
    "crop": "x, y of its centre and side of the square that the network saw, pixels",
    "pose": "(24, 3) axis-angle, radians, to the parent joint; pose[0] turns the body into the camera frame",
    "betas": "(10,) shape",
    "translation": f"(3,) body_model(pose, betas) + translation = vertices in the {FRAME}",
    "joints_3d": f"(24, 3) SMPL's joints, {FRAME}",
    "joints_2d": f"(24, 2) where the camera sees joints_3d, {PIXELS}",
    "keypoints_3d": f"(14, 3) of the surface: ankles to wrists, neck, head as in LSP; {FRAME}",
    "keypoints_2d": f"(14, 2) where the camera sees keypoints_3d, {PIXELS}",
    "mesh_to_camera": "(4, 4) from .obj/.ply/.glb coordinates (y up, z towards the viewer) into the camera frame",
    "vertices": f"(V, 3) .npz only, {FRAME}",
    "rate": "videos: frames per second",
    "frames": "videos: (T,) numbers of the frames from 0; pose, translation and joints then have a leading T",
    "seen": "videos: (T,) false where the body was filled in between frames in which the person was seen",
}


def save_json(path: str | Path, picture: dict, people: list[dict]):
    """Write {"fields": what each means, **picture, "people": people}, atomically; arrays as nested lists."""
    used = set(picture).union(*people)
    fields = {name: text for name, text in FIELDS.items() if used & set(name.split(", "))}
    people = [{name: value for name, value in person.items() if name != "vertices"} for person in people]
    document = {"fields": {name: text for name, text in fields.items() if name != "vertices"}, **picture}
    write_text(path, json.dumps(document | {"people": people}, default=_plain, indent=1, allow_nan=False) + "\n")


def save_npz(path: str | Path, picture: dict, people: list[dict]):
    """Write the fields of the picture, and those of the people as arrays: (P, ...) where all are of one shape, else,
    with people who are in view for different times, each as NAME_0, NAME_1, ...; atomically."""
    arrays = {name: np.asarray(value) for name, value in picture.items()}
    for name in people[0]:
        values = [np.asarray(np.nan if person[name] is None else person[name]) for person in people]
        if len({value.shape for value in values}) == 1:
            arrays[name] = np.stack(values)
        else:
            arrays |= {f"{name}_{i}": value for i, value in enumerate(values)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _plain(value):
    """What json does not know: arrays and NumPy's numbers, to six digits after the point."""
    if isinstance(value, np.ndarray):
        return np.round(value.astype(float), 6).tolist() if value.dtype.kind == "f" else value.tolist()
    return value.item()
