"""Rows of a JSON file in COCO's form: {"images": [{id, ...}], "annotations": [{id, image_id, ...}]}."""

from collections.abc import Iterator
from pathlib import Path

from datasets.builders.record import Dropped, PersonRecord, Unit, dicts, picture_of, records
from datasets.builders.values import load_json
from utils.errors import UserError

ROWS = 128  # of a unit


class AnnotationReader:
    """Base of readers with one row per annotation.

    A row is a tuple of an annotation, its image or None, and what else the reader needs. Readers give `_load`, the rows
    of the file; `_picture`, the path of an image; and `_record`, the person of a row.
    """

    def __init__(self, images: Path, annotations: Path):
        self.images, self.annotations = images, annotations
        self.rows: list[tuple] | None = None

    def units(self) -> list[Unit]:
        if self.rows is None:
            self.rows = self._load()
        return [
            Unit(len(part), (start,), picture_of(self._picture, part[0][1]))
            for start in range(0, len(self.rows), ROWS)
            if (part := self.rows[start : start + ROWS])
        ]

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        (start,) = unit.arguments
        rows = self.rows[start : start + unit.rows]
        yield from records(rows, self._record, lambda row: f"{self.annotations} annotation {row[0].get('id', '?')}")

    def _load(self) -> list[tuple]:
        raise NotImplementedError

    def _picture(self, image: dict) -> Path:
        raise NotImplementedError

    def _record(self, row: tuple) -> PersonRecord:
        raise NotImplementedError


def load_annotations(file: Path, expected: str) -> list[tuple[dict, dict | None]]:
    """-> every annotation with its image, None if the file has no such image. expected: what to give, for the error."""
    data = load_json(file)
    if not isinstance(data, dict) or not {"images", "annotations"} <= set(data):
        raise UserError(f"{file} has no 'images' and 'annotations'; give {expected}")
    images = {str(image.get("id")): image for image in dicts(data["images"])}
    return [(annotation, images.get(str(annotation.get("image_id")))) for annotation in dicts(data["annotations"])]


def load_fits(file: Path) -> dict[str, dict]:
    """Fits by annotation id."""
    fits = load_json(file)
    if not isinstance(fits, dict):
        raise UserError(f"{file} is no dictionary of fits by annotation id; give another --fits")
    return fits
