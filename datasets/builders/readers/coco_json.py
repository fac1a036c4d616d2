"""Annotations in COCO's form with SMPL fits by annotation id: COCO 2017 and MPII with NeuralAnnot or SMPLify fits.

NeuralAnnot (Moon et al., CVPRW 2022): {"smpl_param": {pose, shape, trans}, "cam_param": {focal, princpt}}, metres,
camera frame. SMPLify (Choi et al., ECCV 2020): {"smpl_param": {pose, shape}, "cam_param": {s, t}}, pixel = s X + t.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.builders.boxes import crop_of_xywh
from datasets.builders.keypoint_orders import to_j24
from datasets.builders.pictures import locate
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Unit, dicts, file_state, picture_of, records
from datasets.builders.values import betas_of, load_json, numbers, text
from utils.camera import Perspective, WeakPerspective
from utils.errors import UserError

ROWS = 128  # of a unit


class CocoJson:
    """keypoint_order: place in J24 of each annotated keypoint, see keypoint_orders.py."""

    def __init__(self, images: Path, annotations: Path, fits: Path, keypoint_order: tuple[int, ...]):
        self.images, self.annotations, self.fits, self.order = images, annotations, fits, keypoint_order
        self.rows: list[tuple[dict, dict, dict | None]] | None = None

    def fingerprint(self) -> dict:
        return {"format": "coco json", "images": str(self.images), "files": file_state(self.annotations, self.fits)}

    def units(self) -> list[Unit]:
        if self.rows is None:
            data, fits = load_json(self.annotations), load_json(self.fits)
            if not isinstance(data, dict) or not {"images", "annotations"} <= set(data):
                raise UserError(
                    f"{self.annotations} has no 'images' and 'annotations'; give annotations in COCO's form"
                )
            if not isinstance(fits, dict):
                raise UserError(f"{self.fits} is no dictionary of fits by annotation id; give another --fits")
            images = {image.get("id"): image for image in dicts(data["images"])}
            self.rows = [
                (a, images.get(a.get("image_id")), fits.get(str(a.get("id")))) for a in dicts(data["annotations"])
            ]
        return [
            Unit(len(part), (start,), picture_of(self._picture, part[0][1]))
            for start in range(0, len(self.rows), ROWS)
            if (part := self.rows[start : start + ROWS])
        ]

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        (start,) = unit.arguments
        rows = self.rows[start : start + unit.rows]
        yield from records(rows, self._record, lambda row: f"{self.annotations} annotation {row[0].get('id', '?')}")

    def _picture(self, image: dict) -> Path:
        return locate(self.images, text(image["file_name"]))

    def _record(self, row: tuple[dict, dict | None, dict | None]) -> PersonRecord:
        annotation, image, fit = row
        if annotation.get("iscrowd"):
            raise BadEntry("crowd")
        if image is None:
            raise BadEntry("annotation of no picture in the file")
        keypoints = numbers(annotation["keypoints"], (len(self.order), 3), "keypoints")
        keypoints[:, 2] = keypoints[:, 2] > 0
        if not keypoints[:, 2].any():
            raise BadEntry("no keypoints")
        if fit is None:
            raise BadEntry("no SMPL fit")
        box = numbers(annotation["bbox"], (4,), "bbox")
        center, scale = crop_of_xywh(box)
        labels = to_j24(keypoints, self.order)
        height, width = image.get("height"), image.get("width")
        return PersonRecord(
            key=f"{text(image['file_name'])}_{annotation['id']}",
            where=f"{self.annotations} annotation {annotation['id']}",
            image=self._picture(image),
            center=center,
            scale=scale,
            **read_fit(fit),
            keypoints_2d=labels,
            labels_2d=labels,
            box=np.concatenate((box[:2], box[:2] + box[2:])),
            size=(int(height), int(width)) if height and width else None,
            more={"annotation_id": annotation["id"]},
        )


def read_fit(fit: dict) -> dict:
    """A fit of either form -> pose, betas, camera and translation of a record."""
    smpl, camera = fit["smpl_param"], fit["cam_param"]
    body = {"pose": numbers(smpl["pose"], (72,), "pose"), "betas": betas_of(smpl["shape"])}
    if "focal" in camera:
        focal, principal = numbers(camera["focal"], (2,), "focal"), numbers(camera["princpt"], (2,), "princpt")
        translation = numbers(smpl["trans"], (3,), "trans")
        return body | {"camera": Perspective(*focal, *principal), "translation": translation}
    scale = np.asarray(camera["s"], np.float64).reshape(-1)
    shift = numbers(camera["t"], (2,), "t")
    if not scale.all() or not np.isfinite(scale).all():
        raise BadEntry("scale of the camera is 0 or nonfinite")
    return body | {"camera": WeakPerspective(float(scale[0]), *shift)}
