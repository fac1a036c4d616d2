"""3DPW as JSON in COCO's form (Choi et al., ECCV 2020): 3DPW_latest_{train,validation,test}.json and imageFiles.

An annotation has bbox (left, top, width, height), smpl_param {pose, shape, trans, gender} in the camera's frame,
metres, and OpenPose's 18 keypoints; an image has sequence, file_name and cam_param {focal, princpt}.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.builders.boxes import crop_of_xywh
from datasets.builders.keypoint_orders import COCO18_TO_J24, to_j24
from datasets.builders.record import (
    BadEntry,
    Dropped,
    PersonRecord,
    Unit,
    dicts,
    file_state,
    picture_of,
    records,
)
from datasets.builders.values import betas_of, gender_of, load_json, numbers, text
from utils.camera import Perspective
from utils.errors import UserError

ROWS = 128  # of a unit


class ThreeDPWJson:
    """One split."""

    def __init__(self, images: Path, annotations: Path):
        self.images, self.annotations = images, annotations
        self.rows: list[tuple[dict, dict | None]] | None = None

    def fingerprint(self) -> dict:
        return {"format": "3dpw json", "images": str(self.images), "files": file_state(self.annotations)}

    def units(self) -> list[Unit]:
        if self.rows is None:
            data = load_json(self.annotations)
            if not isinstance(data, dict) or not {"images", "annotations"} <= set(data):
                raise UserError(f"{self.annotations} has no 'images' and 'annotations'; give 3DPW_latest_train.json")
            images = {image.get("id"): image for image in dicts(data["images"])}
            self.rows = [(a, images.get(a.get("image_id"))) for a in dicts(data["annotations"])]
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
        return self.images / text(image["sequence"]) / text(image["file_name"])

    def _record(self, row: tuple[dict, dict | None]) -> PersonRecord:
        annotation, image = row
        if image is None:
            raise BadEntry("annotation of no picture in the file")
        smpl, camera = annotation["smpl_param"], image["cam_param"]
        box = numbers(annotation["bbox"], (4,), "bbox")
        center, scale = crop_of_xywh(box)
        labels = None
        if annotation.get("openpose_result") is not None:
            labels = to_j24(numbers(annotation["openpose_result"], (18, 3), "openpose_result"), COCO18_TO_J24)
        height, width = image.get("height"), image.get("width")
        return PersonRecord(
            key=f"{text(image['sequence'])}/{text(image['file_name'])}_{annotation['id']}",
            where=f"{self.annotations} annotation {annotation['id']}",
            image=self._picture(image),
            center=center,
            scale=scale,
            camera=Perspective(*numbers(camera["focal"], (2,), "focal"), *numbers(camera["princpt"], (2,), "princpt")),
            pose=numbers(smpl["pose"], (72,), "pose"),
            betas=betas_of(smpl["shape"]),
            translation=numbers(smpl["trans"], (3,), "trans"),
            gender=gender_of(smpl.get("gender")),
            labels_2d=labels,
            box=np.concatenate((box[:2], box[:2] + box[2:])),
            size=(int(height), int(width)) if height and width else None,
            more={"sequence": text(image["sequence"])},
        )
