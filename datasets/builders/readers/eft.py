"""EFT (Joo et al., 3DV 2021): JSON with rotation matrices and a weak-perspective camera of the 224-pixel crop.

Each entry has parm_pose (24, 3, 3), parm_shape (10,), parm_cam [s, tx, ty], bbox_center, bbox_scale (side / 200),
gt_keypoint_2d (49, 3) in pixels (25 of OpenPose, then J24) and imageName. Camera frame, neutral, no translation.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from datasets.builders.bodies import Bodies
from datasets.builders.frames import check_rotation
from datasets.builders.keypoint_orders import BODY25_TO_J24, to_j24
from datasets.builders.pictures import locate
from datasets.builders.record import FAULTS, BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import betas_of, load_json, numbers, text
from utils.camera import WeakPerspective
from utils.errors import UserError

ROWS = 128  # of a unit
PROBES = 60
CONVENTIONS = ("s (X + t)", "s X + t")


class Eft:
    """One file of EFT and the folder of its pictures."""

    def __init__(self, images: Path, file: Path, bodies: Bodies):
        self.images, self.file, self.bodies = images, file, bodies
        self.rows: list[dict] | None = None
        self.convention, self.said = CONVENTIONS[0], []

    def fingerprint(self) -> dict:
        return {"format": "eft", "images": str(self.images), "files": file_state(self.file)}

    def notes(self) -> list[str]:
        return self.said

    def units(self) -> list[Unit]:
        if self.rows is None:
            content = load_json(self.file)
            rows = content.get("data") if isinstance(content, dict) else content
            if not isinstance(rows, list):
                raise UserError(f"{self.file} has no list 'data'; give a file of EFT")
            self.rows = rows
            self._choose_convention()
        return [
            Unit(min(ROWS, len(self.rows) - start), (start,), self._picture(self.rows[start]))
            for start in range(0, len(self.rows), ROWS)
        ]

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        (start,) = unit.arguments
        yield from records(
            range(start, start + unit.rows),
            self._record,
            lambda i: f"{self.file} data[{i}] ({self._name(self.rows[i])})",
        )

    def _name(self, entry: dict) -> str:
        return text(entry["imageName"]) if isinstance(entry, dict) and "imageName" in entry else "?"

    def _picture(self, entry: dict) -> Path:
        return locate(self.images, self._name(entry))

    def _choose_convention(self):
        """How the camera's shift counts is not written down: take what brings the body nearer to the keypoints."""
        errors: dict[str, list[float]] = {name: [] for name in CONVENTIONS}
        for i in range(0, len(self.rows), max(1, len(self.rows) // PROBES)):
            try:
                record = self._record(i)
                points = self.bodies.neutral.keypoints(record.pose[None], record.betas[None])[0][0]
                given = record.labels_2d[:, 2] > 0
                for name in CONVENTIONS:
                    pixels = self._camera(self.rows[i], record, name).project(points)
                    errors[name].append(np.abs(pixels - record.labels_2d[:, :2])[given].mean() / record.scale)
            except FAULTS:
                continue
        if errors[CONVENTIONS[0]]:
            medians = {name: float(np.median(values)) / 200 for name, values in errors.items()}
            self.convention = CONVENTIONS[medians[CONVENTIONS[1]] < 0.8 * medians[CONVENTIONS[0]]]
            told = ", ".join(f"{name}: {error:.3f} of the box" for name, error in medians.items())
            self.said.append(f"parm_cam is read as {self.convention}; distance to keypoints by {told}")

    def _camera(self, entry: dict, record: PersonRecord, convention: str) -> WeakPerspective:
        scale, *shift = numbers(entry["parm_cam"], (3,), "parm_cam")
        if abs(scale) < 1e-6:
            raise BadEntry("scale of parm_cam is 0")
        if convention == "s X + t":
            shift = np.array(shift) / scale
        pixels = 100 * record.scale * scale  # of a metre: the crop goes from -1 to 1
        return WeakPerspective(pixels, *(record.center + pixels * np.array(shift)))

    def _record(self, i: int) -> PersonRecord:
        entry = self.rows[i]
        matrices = numbers(entry["parm_pose"], (24, 3, 3), "parm_pose")
        if not check_rotation(matrices):
            raise BadEntry("parm_pose is not rotations")
        labels = None
        if entry.get("gt_keypoint_2d") is not None:
            keypoints = numbers(entry["gt_keypoint_2d"], (49, 3), "gt_keypoint_2d")
            labels = to_j24(keypoints[25:], tuple(range(24)))
            others = to_j24(keypoints[:25], BODY25_TO_J24)
            labels[labels[:, 2] == 0] = others[labels[:, 2] == 0]
            labels[:, 2] = labels[:, 2] > 0
        name = self._name(entry)
        record = PersonRecord(
            key=f"{name}_{entry.get('annotId', i)}",
            where=f"{self.file} data[{i}]",
            image=self._picture(entry),
            center=numbers(entry["bbox_center"], (2,), "bbox_center"),
            scale=float(numbers(entry["bbox_scale"], (1,), "bbox_scale")[0]),
            pose=Rotation.from_matrix(matrices).as_rotvec().reshape(-1),
            betas=betas_of(entry["parm_shape"]),
            keypoints_2d=labels,
            labels_2d=labels,
            more={"annotation_id": entry.get("annotId")},
        )
        record.camera = self._camera(entry, record, self.convention)
        return record
