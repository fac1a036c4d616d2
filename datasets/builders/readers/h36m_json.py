"""Human3.6M as JSON (Moon et al., ICCV 2019): data, camera and joint_3d files of each subject, SMPL fits in two forms.

Images lie in images/s_01_act_02_subact_01_ca_01/. Joints are millimetres in the world frame; fits are metres, radians
and neutral in the world frame; the camera's t is millimetres.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.builders.bodies import Bodies
from datasets.builders.boxes import crop_of_xywh
from datasets.builders.frames import check_rotation, to_camera_frame
from datasets.builders.keypoint_orders import J17_TO_J24, to_j24
from datasets.builders.record import (
    FAULTS,
    BadEntry,
    Dropped,
    PersonRecord,
    Unit,
    dicts,
    file_state,
    picture_of,
    records,
)
from datasets.builders.values import betas_of, load_json, numbers, text
from utils.camera import Perspective
from utils.errors import UserError

ROWS = 128  # of a unit
MAX_FIT_ERROR = 0.05  # metres; METRO's limit
CONVENTIONS = ("R x + t", "R (x - t)")  # of the files that are known
WRONG = ("R^T x + t", "R^T (x - t)")  # tried to find files that follow neither
PROBES = 60  # annotations that decide between them
SMPL_FILES = ("smpl_param", "SMPL_NeuralAnnot", "smpl_neuralannot")


class Human36MJson:
    """Frames of subjects; every: step between frames; cameras: their numbers 1..4, None for all."""

    def __init__(
        self,
        images: Path,
        annotations: Path,
        subjects: tuple[int, ...],
        bodies: Bodies,
        every: int = 5,
        cameras: tuple[int, ...] | None = None,
        fits: Path | None = None,
    ):
        self.images, self.bodies, self.every, self.cameras = images, bodies, every, cameras
        self.folder, self.fits, self.subjects = annotations, fits or annotations, subjects
        self.rows: list[tuple[dict, dict, dict]] | None = None  # subject, image, annotation
        self.said: list[str] = []
        self.doubts: list[str] = []
        if not images.is_dir():
            raise UserError(f"no folder {images}; give the unpacked images of Human3.6M with --images")
        missing = [s for s in subjects if not self._file(s, "data").is_file()]
        if missing:
            raise UserError(
                f"{self._file(missing[0], 'data')} is missing; give the folder of its JSON files by --annotations"
            )

    def _file(self, subject: int, kind: str) -> Path:
        return self.folder / f"Human36M_subject{subject}_{kind}.json"

    def _fit_file(self, subject: int) -> Path | None:
        names = [f"Human36M_subject{subject}_{kind}.json" for kind in SMPL_FILES]
        return next((self.fits / name for name in names if (self.fits / name).is_file()), None)

    def fingerprint(self) -> dict:
        files = [self._file(s, kind) for s in self.subjects for kind in ("data", "camera", "joint_3d")]
        files += [file for s in self.subjects if (file := self._fit_file(s)) is not None]
        options = {"every": self.every, "cameras": self.cameras, "images": str(self.images)}
        return {"format": "h36m json", "files": file_state(*(file for file in files if file.is_file())), **options}

    def notes(self) -> list[str]:
        return self.said

    def problems(self) -> list[str]:
        return self.doubts

    def units(self) -> list[Unit]:
        if self.rows is None:
            self.rows = [row for subject in self.subjects for row in self._read_subject(subject)]
        return [
            Unit(min(ROWS, len(self.rows) - start), (start,), picture_of(self._picture, self.rows[start][1]))
            for start in range(0, len(self.rows), ROWS)
        ]

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        (start,) = unit.arguments
        yield from records(
            self.rows[start : start + unit.rows],
            self._record,
            lambda row: f"{row[0]['file']} image {row[1].get('id', '?')} ({row[1].get('file_name', '?')})",
        )

    def _read_subject(self, number: int) -> Iterator[tuple[dict, dict, dict]]:
        """Select a subject's frames; of its files only their joints and fits stay in memory, once for all cameras."""
        data = load_json(self._file(number, "data"))
        cameras = load_json(self._file(number, "camera"))
        joints = load_json(self._file(number, "joint_3d"))
        fit_file = self._fit_file(number)
        fits = {} if fit_file is None else load_json(fit_file)
        if fit_file is None:
            self.said.append(f"subject {number}: no SMPL fits in {self.fits}; its rows have no body")
        if not isinstance(data, dict) or "images" not in data or "annotations" not in data:
            raise UserError(f"{self._file(number, 'data')} has no 'images' and 'annotations'; download it again")
        annotation_of = {annotation.get("image_id"): annotation for annotation in dicts(data["annotations"])}
        subject = {"file": self._file(number, "data"), "number": number, "cameras": cameras, "joints": {}, "fits": {}}
        chosen = []
        for image in dicts(data["images"]):
            try:
                place = _place(image)
                if int(image["frame_idx"]) % self.every or (self.cameras and int(image["cam_idx"]) not in self.cameras):
                    continue
            except (KeyError, TypeError, ValueError, OverflowError):
                chosen.append((subject, image, None))  # dropped when it is read
                continue
            if place not in subject["joints"]:
                subject["joints"][place] = _find(joints, place)
                subject["fits"][place] = _find(fits, place)
            chosen.append((subject, image, annotation_of.get(image.get("id"))))
        if chosen:
            subject["convention"] = self._choose_convention([row for row in chosen if row[2] is not None])
        return iter(chosen)

    def _choose_convention(self, chosen: list[tuple[dict, dict, dict]]) -> str:
        """Which of the two conventions puts the joints into the boxes of the release?"""
        overlaps: dict[str, list[float]] = {name: [] for name in CONVENTIONS + WRONG}
        for row in chosen[:: max(1, len(chosen) // PROBES)]:
            for name in CONVENTIONS + WRONG:
                try:
                    _, in_camera, camera = self._geometry(row, name)
                    box = numbers(row[2]["bbox"], (4,), "bbox")
                    overlaps[name].append(_iou(camera.project(in_camera), box) if (in_camera[:, 2] > 0).all() else 0.0)
                except FAULTS:
                    continue
        if not overlaps[CONVENTIONS[0]]:
            return CONVENTIONS[0]
        medians = {name: float(np.median(values)) for name, values in overlaps.items()}
        best = max(CONVENTIONS, key=medians.get)
        other = next(name for name in CONVENTIONS if name != best)
        self.said.append(
            f"subject {chosen[0][0]['number']}: camera convention x_cam = {best}, median IoU of joints and boxes "
            f"{medians[best]:.2f}, with {other} {medians[other]:.2f}"
        )
        wrong = max(WRONG, key=medians.get)
        if medians[wrong] > medians[best] + 0.05:
            self.doubts.append(
                f"subject {chosen[0][0]['number']}: joints fit the boxes better with x_cam = {wrong} (median IoU "
                f"{medians[wrong]:.2f}): the cameras follow another convention"
            )
        return best

    def _geometry(self, row: tuple, convention: str) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, Perspective]:
        """Camera motion (R, t in metres), joints (17, 3) in the camera frame in metres, and the camera."""
        subject, image, _ = row
        camera = subject["cameras"].get(str(image["cam_idx"]))
        if camera is None:
            raise BadEntry("camera is missing", str(image["cam_idx"]))
        rotation = numbers(camera["R"], (3, 3), "R")
        if not check_rotation(rotation):
            raise BadEntry("R of the camera is not a rotation")
        shift = numbers(camera["t"], (3,), "t") / 1000
        if convention in WRONG:
            rotation = rotation.T
        if convention in ("R (x - t)", "R^T (x - t)"):
            shift = -rotation @ shift
        joints = subject["joints"].get(_place(image))
        if joints is None:
            raise BadEntry("no 3D joints of this frame")
        in_camera = numbers(joints, (17, 3), "joint_3d") / 1000 @ rotation.T + shift
        return (
            (rotation, shift),
            in_camera,
            Perspective(*numbers(camera["f"], (2,), "f"), *numbers(camera["c"], (2,), "c")),
        )

    def _picture(self, image: dict) -> Path:
        return self.images / text(image["file_name"]).removeprefix("images/")

    def _record(self, row: tuple[dict, dict, dict]) -> PersonRecord:
        subject, image, annotation = row
        if annotation is None:
            raise BadEntry("image without annotation")
        (rotation, shift), joints, camera = self._geometry(row, subject["convention"])
        if (joints[:, 2] <= 0.01).any():
            raise BadEntry("person is behind the camera")
        box = numbers(annotation["bbox"], (4,), "bbox")
        center, scale = crop_of_xywh(box, margin=1.0)  # the release's boxes are 1.2 times as large as the joints'
        sure = np.ones((17, 1))
        labels_2d, labels_3d = (
            to_j24(np.hstack((values, sure)), J17_TO_J24) for values in (camera.project(joints), joints)
        )
        body = self._body(subject["fits"].get(_place(image)), rotation, shift)
        return PersonRecord(
            key=text(image["file_name"]),
            where=f"{subject['file']} image {image['id']}",
            image=self._picture(image),
            center=center,
            scale=scale,
            camera=camera,
            **body,
            keypoints_2d=labels_2d,
            keypoints_3d=labels_3d.copy(),
            labels_2d=labels_2d,
            labels_3d=labels_3d,
            box=np.concatenate((box[:2], box[:2] + box[2:])),
            max_fit_error=MAX_FIT_ERROR,
            size=(int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None,
            more={"subject": subject["number"], "frame": int(image["frame_idx"])},
        )

    def _body(self, fit: dict | None, rotation: np.ndarray, shift: np.ndarray) -> dict:
        """Parameters of a fit in the camera frame; nothing where it is missing or broken: the joints stay."""
        if not isinstance(fit, dict):
            return {}
        try:
            pose, betas = numbers(fit["pose"], (72,), "pose"), betas_of(fit["shape"])
            translation = numbers(fit["trans"], (3,), "trans")
        except FAULTS:
            return {}
        root = self.bodies.neutral.root(betas[None])
        pose, translation = to_camera_frame(pose[None], translation[None], root, rotation, shift)
        return {
            "pose": pose[0],
            "betas": np.zeros(10) if np.abs(betas).max() > 3 else betas,
            "translation": translation[0],
        }


def _place(image: dict) -> tuple[str, str, str]:
    """Action, subaction and frame: the nesting of joints and fits."""
    return tuple(str(image[name]) for name in ("action_idx", "subaction_idx", "frame_idx"))


def _find(nested: dict, place: tuple[str, str, str]):
    """The entry of a frame; of numbers as an array, which takes a tenth of the memory. None if there is none."""
    try:
        found = nested[place[0]][place[1]][place[2]]
    except (KeyError, TypeError):
        return None
    if isinstance(found, dict):
        return {key: _compact(value) for key, value in found.items() if key in ("pose", "shape", "trans")}
    return _compact(found)


def _compact(value):
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return value


def _iou(points: np.ndarray, box: np.ndarray) -> float:
    """IoU of the box around points (N, 2), 1.2 times as large, and a box (left, top, width, height)."""
    low, high = points.min(0), points.max(0)
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    common = np.prod(np.maximum(np.minimum(high, box[:2] + box[2:]) - np.maximum(low, box[:2]), 0))
    return float(common / (np.prod(high - low) + np.prod(box[2:]) - common))
