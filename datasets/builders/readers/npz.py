"""npz files in the layout of SPIN and its extensions: CLIFF, 4D-Humans' evaluation, CameraHMR, GraphCMR.

All have imgname, center and scale, one entry per person. What else is there is used: pose (or pose_cam, body_pose),
shape (or betas), has_smpl (has_body_pose), gender, part, openpose, S, body_ and extra_keypoints_2d and _3d, gtkps;
global_t and focal_l (CLIFF: principal point in the middle of the picture), or cam_int with trans_cam and cam_ext.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.builders.keypoint_orders import BODY25_TO_J24, J19_TO_J24, to_j24
from datasets.builders.pictures import locate, picture_size
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import Refused, betas_of, flag, gender_of, load_npz, numbers, text
from utils.camera import Perspective
from utils.errors import UserError

ROWS = 128  # of a unit
PIXELS = 20.0  # a median scale above is in pixels: 200 times as large, no picture has 4000-pixel crops throughout
NAMES = {
    "pose": ("pose", "pose_cam", "body_pose", "smpl_pose"),
    "shape": ("shape", "betas", "smpl_shape"),
    "has_smpl": ("has_smpl", "has_body_pose"),
}


class Npz:
    """One file and the folder that its imgname is relative to."""

    def __init__(self, images: Path, file: Path):
        self.images, self.file = images, file
        self.data: dict | None = None
        self.said: list[str] = []

    def fingerprint(self) -> dict:
        return {"format": "npz", "images": str(self.images), "files": file_state(self.file)}

    def notes(self) -> list[str]:
        return self.said

    def units(self) -> list[Unit]:
        if self.data is None:
            self.data = self._load()
        count = len(self.data["imgname"])
        return [
            Unit(min(ROWS, count - start), (start,), locate(self.images, text(self.data["imgname"][start])))
            for start in range(0, count, ROWS)
        ]

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        (start,) = unit.arguments
        yield from records(range(start, start + unit.rows), self._record, lambda i: f"{self.file} entry {i}")

    def _load(self) -> dict:
        data = load_npz(self.file)
        for name in ("imgname", "center", "scale"):
            if name not in data or isinstance(data[name], Refused):
                state = "holds Python objects" if name in data else "is missing"
                raise UserError(f"{self.file}: '{name}' {state}; give a file of this form")
            if not np.ndim(data[name]) or len(data[name]) != np.shape(data["imgname"])[0]:
                raise UserError(f"{self.file}: '{name}' has not one entry per picture name; give an undamaged file")
        count = len(data["imgname"])
        if count == 0:
            raise UserError(f"{self.file} has no entries; give a file with people")
        refused = [name for name, value in data.items() if isinstance(value, Refused)]
        if refused:
            self.said.append(f"not read, as they hold Python objects: {', '.join(refused)}")
        short = [name for name, value in data.items() if not isinstance(value, Refused) and np.ndim(value)]
        short = [name for name in short if len(data[name]) != count]
        if short:
            self.said.append(f"not read, as they have another number of entries: {', '.join(short)}")
        data = {k: v for k, v in data.items() if k not in short and not isinstance(v, Refused) and np.ndim(v)}
        for name, others in NAMES.items():
            found = next((other for other in others if other in data), None)
            if found is not None and found != name:
                data[name] = data.pop(found)
        scale = np.asarray(data["scale"], np.float64).reshape(count, -1).max(1)
        usable = scale[np.isfinite(scale)]
        if "extra_keypoints_2d" in data or (len(usable) and np.median(usable) > PIXELS):
            self.said.append("scale is in pixels")
            scale = scale / 200
        return data | {"scale": scale}

    def _record(self, i: int) -> PersonRecord:
        data = self.data
        name = text(data["imgname"][i])
        image = locate(self.images, name)
        scale = float(numbers(data["scale"][i], (1,), "scale")[0])
        if not 0.005 <= scale <= 100:
            raise BadEntry("scale is implausible", f"{scale}")
        labels_2d, labels_3d = self._keypoints_2d(i), self._keypoints_3d(i)
        return PersonRecord(
            key=f"{name}_{i}",
            where=f"{self.file} entry {i}",
            image=image,
            center=numbers(data["center"][i], (2,), "center"),
            scale=scale,
            **self._body(i, image),
            gender=gender_of(data["gender"][i]) if "gender" in data else "neutral",
            keypoints_2d=labels_2d,
            keypoints_3d=None if labels_3d is None else labels_3d.copy(),
            labels_2d=labels_2d,
            labels_3d=labels_3d,
        )

    def _body(self, i: int, image: Path) -> dict:
        data = self.data
        if "pose" not in data or ("has_smpl" in data and not flag(data["has_smpl"][i])):
            return {}
        shape = data["shape"][i] if "shape" in data else np.zeros(10)
        if "has_betas" in data and not flag(data["has_betas"][i]):
            shape = np.zeros(10)
        body = {"pose": numbers(data["pose"][i], (72,), "pose"), "betas": betas_of(shape)}
        if "global_t" in data and "focal_l" in data:
            height, width = picture_size(image)
            focal = float(numbers(data["focal_l"][i], (1,), "focal_l")[0])
            body |= {"translation": numbers(data["global_t"][i], (3,), "global_t")}
            body |= {"camera": Perspective(focal, focal, width / 2, height / 2)}
        elif "cam_int" in data and "trans_cam" in data:
            matrix = numbers(data["cam_int"][i], (3, 3), "cam_int")
            translation = numbers(data["trans_cam"][i], (3,), "trans_cam")
            if "cam_ext" in data:
                translation = translation + numbers(data["cam_ext"][i], (4, 4), "cam_ext")[:3, 3]
            body |= {"translation": translation}
            body |= {"camera": Perspective(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])}
        return body

    def _keypoints_2d(self, i: int) -> np.ndarray | None:
        """J24 from part, extra keypoints, OpenPose's 25, in this order of preference for each keypoint."""
        found = []
        if "part" in self.data:
            found.append(numbers(self.data["part"][i], (24, 3), "part"))
        if "extra_keypoints_2d" in self.data:
            extra = numbers(self.data["extra_keypoints_2d"][i], (19, 3), "extra_keypoints_2d")
            found.append(to_j24(extra, J19_TO_J24))
        if "gtkps" in self.data and np.shape(self.data["gtkps"][i]) == (44, 3):
            keypoints = numbers(self.data["gtkps"][i], (44, 3), "gtkps")
            found += [to_j24(keypoints[25:], J19_TO_J24), to_j24(keypoints[:25], BODY25_TO_J24)]
        for name in ("body_keypoints_2d", "openpose"):
            if name in self.data:
                found.append(to_j24(numbers(self.data[name][i], (25, 3), name), BODY25_TO_J24))
        return _merge(found)

    def _keypoints_3d(self, i: int) -> np.ndarray | None:
        found = []
        if "S" in self.data:
            found.append(numbers(self.data["S"][i], (24, 4), "S"))
        if "extra_keypoints_3d" in self.data:
            extra = numbers(self.data["extra_keypoints_3d"][i], (19, 4), "extra_keypoints_3d")
            found.append(to_j24(extra, J19_TO_J24))
        if "body_keypoints_3d" in self.data:
            body = numbers(self.data["body_keypoints_3d"][i], (25, 4), "body_keypoints_3d")
            found.append(to_j24(body, BODY25_TO_J24))
        return _merge(found)


def _merge(found: list[np.ndarray]) -> np.ndarray | None:
    """For each keypoint, the first source that has it -> (24, D); None if none has any."""
    merged = None
    for keypoints in found:
        keypoints = np.where(keypoints[:, -1:] > 0, keypoints, 0.0)
        merged = keypoints if merged is None else np.where(merged[:, -1:] > 0, merged, keypoints)
    return merged if merged is not None and merged[:, -1].any() else None
