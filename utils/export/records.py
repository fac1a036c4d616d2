"""Write parameters, joints and angles of reconstructed people as .json, .npz and .csv, with a description of every
field."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from utils.detect.visibility import PART_NAMES
from utils.files import atomic_path, write_text
from utils.joint_angles import ANGLE_NAMES, ANGLES
from utils.paths import OPEN_BODY
from utils.render.labels import color_name
from utils.skeleton import J14, SMPL_JOINTS, SMPL_PARENTS

BETAS_NOTE = (
    "betas are those of this repository's open body, not of SMPL: with an SMPL body model they give another shape"
)
FRAME = "camera frame: metres, x right, y down, z away from the viewer, the camera at the origin"
GROUND = "ground frame: metres, y up, the floor at y = 0, z towards the camera, the origin below the first person"
PIXELS = "pixels of the picture, whole numbers at pixel centres, (0, 0) is the centre of the first pixel"
# without the sides, of which both mean the same
_SHORT_ANGLES = {name.removeprefix("left_"): text for name, text in ANGLES.items() if not name.startswith("right_")}
FIELDS = {
    "width, height": "size of the upright picture, pixels",
    "focal": "focal length, pixels; the principal point is ((width - 1) / 2, (height - 1) / 2)",
    "focal_source": "source of the focal length: given, exif or default (twice the picture's diagonal)",
    "body": "name of the body model",
    "betas_note": "what betas cannot be used for",
    "joint_names": "names of the 24 joints of pose, joints_3d, joints_2d; L_ and R_: the person's own left and right",
    "joint_parents": "(24,) index of the joint that each joint turns with, -1 for the first",
    "keypoint_names": "names of the 14 keypoints of keypoints_3d and keypoints_2d",
    "part_names": ".npz only: names of the parts of guessed",
    "angle_names": ".npz only: names of the columns of angles",
    "number": "number of the person, from 1: in pictures, in file names from _person2 on",
    "color": "colour of the person in pictures, #rrggbb; .json only",
    "bbox": "x, y, width, height of the person's box, pixels",
    "score": "confidence of the person detector, 0 to 1; null (nan) if the box was given or nobody was found",
    "guessed": "parts of the body that the picture does not show, or hardly: their pose is a guess, hatched in "
    "pictures; .npz: (10,) true for those of part_names",
    "at_rest": "photographs: half of the body beyond the picture's edge, which has a rest pose: legs or upper body; "
    "null if none (.npz: empty)",
    "cam": "s, tx, ty: weak-perspective camera of the crop, output of the network",
    "crop": "x, y of the centre and side of the square crop, input of the network, pixels",
    "pose": "(24, 3) axis-angle, radians, relative to the parent joint; pose[0] turns the body into joints_3d's frame",
    "betas": "(10,) shape",
    "height": "standing height of the person, metres",
    "scale": "size of the person in sizes of body_model(pose, betas); not 1 only with --height or --same_floor",
    "translation": f"(3,) scale * body_model(pose, betas) + translation = vertices in the {FRAME}",
    "joints_3d": f"(24, 3) SMPL joints, {FRAME}",
    "joints_2d": f"(24, 2) projection of joints_3d, {PIXELS}",
    "keypoints_3d": f"(14, 3) keypoints from ankles to wrists, neck and head, as in LSP; {FRAME}",
    "keypoints_2d": f"(14, 2) projection of keypoints_3d, {PIXELS}",
    "angles": "joint angles, degrees, 0 in upright standing with hanging arms; films: a list over the frames; .npz: "
    "(20,), in the order of angle_names. " + "; ".join(f"{name}: {text}" for name, text in _SHORT_ANGLES.items()),
    "mesh_to_camera": "(4, 4) from .obj/.ply/.glb coordinates (y up, z towards the viewer) into the camera frame",
    "vertices": f"(V, 3) .npz only, {FRAME}",
    "place": "camera, origin or ground: where the coordinates lie, of meshes only if it is origin",
    "tilt, roll": "with a floor (--place ground or --same_floor): degrees by which the camera looks down, and by which "
    "the vertical leans to the right",
    "camera_height": "with a floor: metres from the floor up to the camera",
    "on_floor": "whether the lowest point of the person is on the floor that is fitted to all people",
    "ground_to_camera": "(4, 4) from the ground frame into the camera frame",
    "rate": "films: frames per second on average",
    "cuts": "films: numbers of the frames with which a new shot begins, except 0",
    "frames": "films: (T,) frame numbers from 0; pose, translation and joints then have a leading dimension T",
    "times": "films: (T,) seconds since the first frame of the film",
    "observed": "films: (T,) false if the body of the frame was interpolated between frames with a detection",
}


def save_json(path: str | Path, picture: dict, people: list[dict]):
    """Write {"fields": descriptions, **picture, "people": people} atomically; arrays become nested lists."""
    picture = picture | names_of(picture)
    people = [{"number": i, "color": color_name(i, len(people))} | person for i, person in enumerate(people, 1)]
    for person in people:
        person.pop("vertices", None)
        if "angles" in person:
            person["angles"] = {name: _degrees(value) for name, value in person["angles"].items()}
    used = set(picture).union(*people)
    fields = {name: text for name, text in FIELDS.items() if used & set(name.split(", "))}
    if picture.get("place") == "ground":
        fields = {name: text.replace(FRAME, GROUND) for name, text in fields.items()}
    document = {"fields": fields, **picture, "people": people}
    write_text(path, json.dumps(document, default=_plain, indent=1, allow_nan=False) + "\n")


def save_npz(path: str | Path, picture: dict, people: list[dict]):
    """Write the fields of the picture and of the people atomically.

    A field of P people is one array (P, ...). If shapes differ, as for people who are in view for different times, each
    has an array of its own: NAME_0, NAME_1, ...
    """
    picture = picture | names_of(picture) | {"part_names": PART_NAMES, "angle_names": ANGLE_NAMES}
    arrays = {name: np.asarray(value) for name, value in picture.items()}
    arrays["number"] = np.arange(1, len(people) + 1)
    for name in people[0]:
        values = [_array(name, person[name]) for person in people]
        if len({value.shape for value in values}) == 1:
            arrays[name] = np.stack(values)
        else:
            arrays |= {f"{name}_{i}": value for i, value in enumerate(values)}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def save_angles(path: str | Path, people: list[dict]):
    """Write a .csv of joint angles atomically: a row for each person, in films for each person and frame.

    Columns: person, in films frame, time (seconds) and observed (0 or 1), then ANGLE_NAMES, degrees; empty: undefined.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    film = "frames" in people[0]
    writer.writerow(["person", *(("frame", "time", "observed") if film else ()), *ANGLE_NAMES])
    for number, person in enumerate(people, 1):
        angles = np.stack([np.atleast_1d(person["angles"][name]) for name in ANGLE_NAMES], axis=1)
        rows = [[number, *(f"{value:.2f}" if np.isfinite(value) else "" for value in row)] for row in angles]
        if film:
            frames = zip(person["frames"], person["times"], person["observed"], strict=True)
            for row, (frame, time, observed) in zip(rows, frames, strict=True):
                row[1:1] = [int(frame), f"{time:.6f}", int(observed)]
        writer.writerows(rows)
    write_text(path, table.getvalue())


def names_of(picture: dict) -> dict:
    """Names of joints and keypoints, and, for the open body, what its betas are not."""
    names = {"joint_names": SMPL_JOINTS, "joint_parents": SMPL_PARENTS, "keypoint_names": J14}
    if picture.get("body") == Path(OPEN_BODY).stem:
        names["betas_note"] = BETAS_NOTE
    return names


def _degrees(values: np.ndarray):
    """Angles in degrees for json, not defined ones as None."""
    rounded = np.round(np.asarray(values, np.float64), 2).tolist()
    if isinstance(rounded, list):
        return [value if np.isfinite(value) else None for value in rounded]
    return rounded if np.isfinite(rounded) else None


def _array(name: str, value) -> np.ndarray:
    if name == "at_rest":
        return np.asarray(value or "")
    if name == "guessed":
        return np.isin(PART_NAMES, value)
    if name == "angles":
        return np.stack([value[angle] for angle in ANGLE_NAMES], axis=-1)
    return np.asarray(np.nan if value is None else value)


def _plain(value):
    """For types that json lacks: arrays and NumPy numbers, rounded to six decimals."""
    if isinstance(value, np.ndarray):
        return np.round(value.astype(float), 6).tolist() if value.dtype.kind == "f" else value.tolist()
    return value.item()
