"""MuCo-3DHP (Mehta et al., 3DV 2018) as JSON in COCO's form, with SMPLify-X fits by annotation id.

keypoints_img (21, 2) pixels, keypoints_cam (21, 3) millimetres in the camera's frame; fits in metres, camera frame,
neutral.
"""

from pathlib import Path

import numpy as np

from datasets.builders.boxes import crop_of_xywh
from datasets.builders.keypoint_orders import MUCO21_TO_J24, to_j24
from datasets.builders.pictures import locate
from datasets.builders.readers.annotations import AnnotationReader, load_annotations, load_fits
from datasets.builders.record import BadEntry, PersonRecord, file_state
from datasets.builders.values import betas_of, numbers, text
from utils.camera import Perspective

PELVIS = 14
MAX_FIT_ERROR = 0.025  # metres; the limit of the fits' authors


class MuCo(AnnotationReader):
    """all_people: also those behind the nearest person of a picture, who are often hidden."""

    def __init__(self, images: Path, annotations: Path, fits: Path | None, all_people: bool = False):
        super().__init__(images, annotations)
        self.fits, self.all_people = fits, all_people

    def fingerprint(self) -> dict:
        files = file_state(self.annotations, *([self.fits] if self.fits else []))
        return {"format": "muco", "images": str(self.images), "files": files, "all": self.all_people}

    def notes(self) -> list[str]:
        return [] if self.fits else ["no --fits: rows have no body"]

    def _load(self) -> list[tuple[dict, dict | None, dict | None, bool]]:
        rows, fits = load_annotations(self.annotations, "MuCo-3DHP.json"), load_fits(self.fits) if self.fits else {}
        nearest = {}
        for annotation, _ in rows:
            best = nearest.get(str(annotation.get("image_id")))
            if best is None or _depth(annotation) < _depth(best):
                nearest[str(annotation.get("image_id"))] = annotation
        return [(a, image, fits.get(str(a.get("id"))), a is nearest[str(a.get("image_id"))]) for a, image in rows]

    def _picture(self, image: dict) -> Path:
        return locate(self.images, text(image["file_name"]))

    def _record(self, row: tuple) -> PersonRecord:
        annotation, image, fit, is_nearest = row
        if not is_nearest and not self.all_people:
            raise BadEntry("not the nearest person of its picture")
        if image is None:
            raise BadEntry("annotation of no picture in the file")
        points = numbers(annotation["keypoints_cam"], (21, 3), "keypoints_cam") / 1000
        pixels = numbers(annotation["keypoints_img"], (21, 2), "keypoints_img")
        box = numbers(annotation["bbox"], (4,), "bbox")
        center, scale = crop_of_xywh(box)
        sure = np.ones((21, 1))
        labels_2d, labels_3d = (to_j24(np.hstack((values, sure)), MUCO21_TO_J24) for values in (pixels, points))
        height, width = image.get("height"), image.get("width")
        body = {}
        if isinstance(fit, dict):
            fit = fit.get("smpl_param", fit)
            body = {
                "pose": numbers(fit["pose"], (72,), "pose"),
                "betas": betas_of(fit["shape"]),
                "translation": numbers(fit["trans"], (3,), "trans"),
            }
        return PersonRecord(
            key=f"{text(image['file_name'])}_{annotation['id']}",
            where=f"{self.annotations} annotation {annotation['id']}",
            image=self._picture(image),
            center=center,
            scale=scale,
            camera=Perspective(*numbers(image["f"], (2,), "f"), *numbers(image["c"], (2,), "c")),
            **body,
            keypoints_2d=labels_2d,
            keypoints_3d=labels_3d.copy(),
            labels_2d=labels_2d,
            labels_3d=labels_3d,
            box=np.concatenate((box[:2], box[:2] + box[2:])),
            max_fit_error=MAX_FIT_ERROR,
            size=(int(height), int(width)) if height and width else None,
        )


def _depth(annotation: dict) -> float:
    try:
        return float(annotation["keypoints_cam"][PELVIS][2])
    except (KeyError, TypeError, IndexError, ValueError, OverflowError):
        return float("inf")
