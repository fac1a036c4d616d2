"""Annotations in COCO's form with SMPL fits by annotation id: COCO 2017 and MPII with NeuralAnnot or SMPLify fits.

NeuralAnnot (Moon et al., CVPRW 2022): {"smpl_param": {pose, shape, trans}, "cam_param": {focal, princpt}}, metres,
camera frame. SMPLify (Choi et al., ECCV 2020): {"smpl_param": {pose, shape}, "cam_param": {s, t}}, pixel = s X + t.
"""

from pathlib import Path

import numpy as np

from datasets.builders.boxes import crop_of_xywh
from datasets.builders.keypoint_orders import to_j24
from datasets.builders.pictures import locate
from datasets.builders.readers.annotations import AnnotationReader, load_annotations, load_fits
from datasets.builders.record import BadEntry, PersonRecord, file_state
from datasets.builders.values import betas_of, numbers, text
from utils.camera import Perspective, WeakPerspective


class CocoJson(AnnotationReader):
    """keypoint_order: place in J24 of each annotated keypoint, see keypoint_orders.py."""

    def __init__(self, images: Path, annotations: Path, fits: Path, keypoint_order: tuple[int, ...]):
        super().__init__(images, annotations)
        self.fits, self.order = fits, keypoint_order

    def fingerprint(self) -> dict:
        return {"format": "coco json", "images": str(self.images), "files": file_state(self.annotations, self.fits)}

    def _load(self) -> list[tuple[dict, dict | None, dict | None]]:
        rows, fits = load_annotations(self.annotations, "annotations in COCO's form"), load_fits(self.fits)
        return [(annotation, image, fits.get(str(annotation.get("id")))) for annotation, image in rows]

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
