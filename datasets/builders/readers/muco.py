"""MuCo-3DHP (Mehta et al., 3DV 2018) as JSON in COCO's form, with SMPLify-X fits by annotation id.

keypoints_img (21, 2) pixels, keypoints_cam (21, 3) millimetres in the camera's frame; fits in metres, camera frame,
neutral.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.builders.boxes import crop_of_xywh
from datasets.builders.keypoint_orders import MUCO21_TO_J24, to_j24
from datasets.builders.pictures import locate
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Unit, dicts, file_state, picture_of, records
from datasets.builders.values import betas_of, load_json, numbers, text
from utils.camera import Perspective
from utils.errors import UserError

ROWS = 128  # of a unit
PELVIS = 14
MAX_FIT_ERROR = 0.025  # metres; the limit of the fits' authors


class MuCo:
    """all_people: also those behind the nearest person of a picture, who are often hidden."""

    def __init__(self, images: Path, annotations: Path, fits: Path | None, all_people: bool = False):
        self.images, self.annotations, self.fits, self.all_people = images, annotations, fits, all_people
        self.rows: list[tuple[dict, dict | None, dict | None, bool]] | None = None

    def fingerprint(self) -> dict:
        files = file_state(self.annotations, *([self.fits] if self.fits else []))
        return {"format": "muco", "images": str(self.images), "files": files, "all": self.all_people}

    def notes(self) -> list[str]:
        return [] if self.fits else ["no --fits: rows have no body"]

    def units(self) -> list[Unit]:
        if self.rows is None:
            data, fits = load_json(self.annotations), load_json(self.fits) if self.fits else {}
            if not isinstance(data, dict) or not {"images", "annotations"} <= set(data):
                raise UserError(f"{self.annotations} has no 'images' and 'annotations'; give MuCo-3DHP.json")
            images = {image.get("id"): image for image in dicts(data["images"])}
            annotations, nearest = dicts(data["annotations"]), {}
            for annotation in annotations:
                best = nearest.get(annotation.get("image_id"))
                if best is None or _depth(annotation) < _depth(best):
                    nearest[annotation.get("image_id")] = annotation
            self.rows = [
                (a, images.get(a.get("image_id")), fits.get(str(a.get("id"))), a is nearest[a.get("image_id")])
                for a in annotations
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
