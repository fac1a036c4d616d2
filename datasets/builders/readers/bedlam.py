"""BEDLAM (Black et al., CVPR 2023): one npz per scene with SMPL parameters, pictures in SCENE/png/seq_000000/.

A vertex in the camera's frame is body(pose_cam, shape) + trans_cam + cam_ext[:3, 3], projected by cam_int. Pictures of
close-up scenes are stored on their side: they are turned 90 degrees clockwise, as their labels are.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from datasets.builders.keypoint_orders import SMPL_TO_J24
from datasets.builders.pictures import encode_jpeg, picture_size
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import Refused, betas_of, gender_of, load_npz, numbers, text
from utils.camera import Perspective
from utils.errors import UserError

ROWS = 64  # of a unit
NEEDED = ("imgname", "center", "scale", "pose_cam", "shape", "trans_cam", "cam_int", "cam_ext")
ON_THEIR_SIDE = ("closeup", "portrait")  # in names of scenes


class Bedlam:
    """Scenes: npz files, and the folder with a folder of each."""

    def __init__(self, images: Path, scenes: list[Path]):
        self.images, self.scenes = images, sorted(scenes)
        if not self.scenes:
            raise UserError("no .npz of a scene; give the folder of BEDLAM's SMPL labels with --labels")

    def fingerprint(self) -> dict:
        return {"format": "bedlam", "images": str(self.images), "files": file_state(*self.scenes)}

    def units(self) -> list[Unit]:
        units = []
        for scene in self.scenes:
            try:
                names = load_scene(scene)["imgname"]
            except UserError as error:
                units.append(Unit(0, (scene, 0, str(error))))
                continue
            for start in range(0, len(names), ROWS):
                picture = self._picture(scene, text(names[start]))
                units.append(Unit(min(ROWS, len(names) - start), (scene, start, ""), picture))
        return units

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        scene, start, fault = unit.arguments
        if fault:
            yield Dropped(str(scene), "scene cannot be read", fault)
            return
        yield from records(
            range(start, start + unit.rows), functools.partial(self._record, scene), lambda i: f"{scene} entry {i}"
        )

    def _picture(self, scene: Path, name: str) -> Path:
        places = [self.images / scene.stem / "png", self.images / scene.stem, self.images]
        paths = [place / end for place in places for end in (name, str(Path(name).with_suffix(".jpg")))]
        return next((path for path in paths if path.is_file()), paths[0])

    def _record(self, scene: Path, i: int) -> PersonRecord:
        data = load_scene(scene)
        name = text(data["imgname"][i])
        path = self._picture(scene, name)
        matrix = numbers(data["cam_int"][i], (3, 3), "cam_int")
        translation = numbers(data["trans_cam"][i], (3,), "trans_cam")
        translation = translation + numbers(data["cam_ext"][i], (4, 4), "cam_ext")[:3, 3]
        height, width = picture_size(path)
        named = any(word in scene.stem.lower() for word in ON_THEIR_SIDE)
        lies = width > height and (named or matrix[0, 2] < matrix[1, 2])
        return PersonRecord(
            key=f"{scene.stem}/{name}_{i}",
            where=f"{scene} entry {i}",
            image=functools.partial(turn_clockwise, path) if lies else path,
            center=numbers(data["center"][i], (2,), "center"),
            scale=float(numbers(data["scale"][i], (1,), "scale")[0]),
            camera=Perspective(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]),
            pose=numbers(data["pose_cam"][i], (72,), "pose_cam"),
            betas=betas_of(data["shape"][i]),
            translation=translation,
            gender=gender_of(data["gender"][i]) if "gender" in data else "neutral",
            labels_2d=joints_as_j24(data["gtkps"][i]) if "gtkps" in data else None,
        )


def joints_as_j24(joints) -> np.ndarray | None:
    """2D SMPL joints (24 or more, 2 or more) -> (24, 3) limbs in J24's order; to compare with, not to train on."""
    joints = np.asarray(joints, np.float64)
    if joints.ndim != 2 or len(joints) < 24 or not np.isfinite(joints[:24, :2]).all():
        return None
    labels = np.zeros((24, 3))
    for place, joint in SMPL_TO_J24.items():
        labels[place] = (*joints[joint, :2], 1)
    return labels


def turn_clockwise(path: Path) -> bytes:
    """A picture, turned by 90 degrees -> JPEG."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise BadEntry("not a picture", str(path))
    return encode_jpeg(cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE))


@functools.lru_cache(maxsize=1)
def load_scene(path: Path) -> dict:
    """Arrays of a scene. UserError where they are of SMPL-X or incomplete."""
    data = {name: value for name, value in load_npz(path).items() if not isinstance(value, Refused)}
    missing = [name for name in NEEDED if name not in data]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; give BEDLAM's SMPL labels")
    if not np.ndim(data["pose_cam"]) or not len(data["pose_cam"]):
        raise UserError(f"{path} has no people; give BEDLAM's SMPL labels")
    if np.prod(data["pose_cam"].shape[1:]) != 72:
        raise UserError(
            f"{path} has {data['pose_cam'].shape[1:]} pose numbers, SMPL has 72; give SMPL labels, not SMPL-X"
        )
    return data
