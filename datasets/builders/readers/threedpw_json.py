"""3DPW as JSON in COCO's form (Choi et al., ECCV 2020): 3DPW_latest_{train,validation,test}.json and imageFiles.

An annotation has bbox (left, top, width, height), smpl_param {pose, shape, trans, gender} in the camera's frame,
metres, and OpenPose's 18 keypoints; an image has sequence, file_name and cam_param {focal, princpt}.
"""

from pathlib import Path

import numpy as np

from datasets.builders.boxes import crop_of_xywh
from datasets.builders.keypoint_orders import COCO18_TO_J24, to_j24
from datasets.builders.readers.annotations import AnnotationReader, load_annotations
from datasets.builders.record import BadEntry, PersonRecord, file_state
from datasets.builders.values import betas_of, gender_of, numbers, text
from utils.camera import Perspective


class ThreeDPWJson(AnnotationReader):
    """One split."""

    def fingerprint(self) -> dict:
        return {"format": "3dpw json", "images": str(self.images), "files": file_state(self.annotations)}

    def _load(self) -> list[tuple[dict, dict | None]]:
        return load_annotations(self.annotations, "3DPW_latest_train.json")

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
