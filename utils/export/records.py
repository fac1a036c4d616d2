"""Write parameters and joints of reconstructed people as .json and .npz, with a description of every field."""

import json
from pathlib import Path

import numpy as np

from utils.files import atomic_path, write_text

FRAME = "camera frame: metres, x right, y down, z away from the viewer, the camera at the origin"
PIXELS = "pixels of the picture, whole numbers at pixel centres, (0, 0) is the centre of the first pixel"
FIELDS = {
    "width, height": "size of the upright picture, pixels",
    "focal": "focal length, pixels; the principal point is ((width - 1) / 2, (height - 1) / 2)",
    "focal_source": "source of the focal length: given, exif or default (twice the picture's diagonal)",
    "body": "name of the body model",
    "bbox": "x, y, width, height of the person's box, pixels",
    "score": "confidence of the person detector, 0 to 1; null (nan) if the box was given or nobody was found",
    "cam": "s, tx, ty: weak-perspective camera of the crop, output of the network",
    "crop": "x, y of the centre and side of the square crop, input of the network, pixels",
    "pose": "(24, 3) axis-angle, radians, relative to the parent joint; pose[0] rotates the body into the camera frame",
    "betas": "(10,) shape",
    "translation": f"(3,) body_model(pose, betas) + translation = vertices in the {FRAME}",
    "joints_3d": f"(24, 3) SMPL joints, {FRAME}",
    "joints_2d": f"(24, 2) projection of joints_3d, {PIXELS}",
    "keypoints_3d": f"(14, 3) keypoints from ankles to wrists, neck and head, as in LSP; {FRAME}",
    "keypoints_2d": f"(14, 2) projection of keypoints_3d, {PIXELS}",
    "mesh_to_camera": "(4, 4) from .obj/.ply/.glb coordinates (y up, z towards the viewer) into the camera frame",
    "vertices": f"(V, 3) .npz only, {FRAME}",
    "rate": "films: frames per second on average",
    "cuts": "films: numbers of the frames with which a new shot begins, except 0",
    "frames": "films: (T,) frame numbers from 0; pose, translation and joints then have a leading dimension T",
    "times": "films: (T,) seconds since the first frame of the film",
    "observed": "films: (T,) false if the body of the frame was interpolated between frames with a detection",
}


def save_json(path: str | Path, picture: dict, people: list[dict]):
    """Write {"fields": descriptions, **picture, "people": people} atomically; arrays become nested lists."""
    used = set(picture).union(*people)
    fields = {name: text for name, text in FIELDS.items() if used & set(name.split(", "))}
    people = [{name: value for name, value in person.items() if name != "vertices"} for person in people]
    document = {"fields": {name: text for name, text in fields.items() if name != "vertices"}, **picture}
    write_text(path, json.dumps(document | {"people": people}, default=_plain, indent=1, allow_nan=False) + "\n")


def save_npz(path: str | Path, picture: dict, people: list[dict]):
    """Write the fields of the picture and of the people atomically.

    A field of P people is one array (P, ...). If shapes differ, as for people who are in view for different times, each
    has an array of its own: NAME_0, NAME_1, ...
    """
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
    """For types that json lacks: arrays and NumPy numbers, rounded to six decimals."""
    if isinstance(value, np.ndarray):
        return np.round(value.astype(float), 6).tolist() if value.dtype.kind == "f" else value.tolist()
    return value.item()
