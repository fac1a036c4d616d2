"""Bytes of pictures for a set: JPEGs as they are, everything else as a JPEG."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from datasets.builders.record import BadEntry
from datasets.decode import is_whole, read_header
from utils.errors import RowError

QUALITY = 95  # of JPEGs made of other formats
HEAD = 1 << 16  # bytes: the size of a JPEG stands in the first ones, unless it carries a thumbnail


def read_picture(image: Path | Callable[[], bytes]) -> tuple[bytes, int, int]:
    """Path or function -> JPEG bytes, height, width. BadEntry where there is no whole picture."""
    try:
        data = image() if callable(image) else image.read_bytes()
    except FileNotFoundError:
        raise BadEntry("picture is missing", str(image)) from None
    except OSError as error:
        raise BadEntry("picture cannot be read", f"{image}: {error.strerror}") from None
    try:
        header = read_header(data, "picture")
    except RowError:
        raise BadEntry("not a picture", "" if callable(image) else str(image)) from None
    if not header.is_jpeg:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise BadEntry("picture is damaged", "" if callable(image) else str(image))
        return encode_jpeg(pixels), *pixels.shape[:2]
    if not is_whole(data):
        raise BadEntry("JPEG is cut short", "" if callable(image) else str(image))
    return data, header.height, header.width


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=QUALITY, colorsubsampling="444")


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width by the first bytes of a JPEG or PNG. BadEntry where it is neither."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            try:
                header = read_header(head, str(path))
            except RowError:
                header = read_header(head + file.read(), str(path))
    except FileNotFoundError:
        raise BadEntry("picture is missing", str(path)) from None
    except (OSError, RowError) as error:
        raise BadEntry("not a picture", f"{path}: {error}"[:200]) from None
    return header.height, header.width


def locate(folder: Path, name: str) -> Path:
    """Where a picture lies below `folder`: as named, without its first folder, or, for COCO 2014, under its 2017 name.

    The path as named if there is none, so that reading it names the missing file.
    """
    name = name.replace("\\", "/").lstrip("/")
    last = name.rsplit("/", 1)[-1]
    candidates = [folder / name, folder / name.split("/", 1)[-1], folder / last]
    for end in (last, last.rsplit("_", 1)[-1]):  # COCO_train2014_000000000009.jpg is 000000000009.jpg of 2017
        candidates += [folder / year / end for year in ("train2014", "train2017", "val2014", "val2017", "images")]
    candidates.append(folder / last.rsplit("_", 1)[-1])
    return next((path for path in candidates if path.is_file()), candidates[0])
