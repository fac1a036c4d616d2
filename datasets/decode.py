"""Decode a JPEG or PNG at the resolution that a crop needs."""

import io
import warnings
from contextlib import suppress
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from datasets.locate import REMEDY
from utils.errors import RowError
from utils.media.images import MAX_PIXELS

REDUCTIONS = (8, 4, 2)
# Least number of pixels of the reduced picture per pixel of the crop and axis. Measured is the difference between a
# crop and the mean of the source pixels below each of its pixels, in grey levels (14 sharp photographs, 1000 pixels).
# With 2.2 source pixels per crop pixel it is 0.63 for a crop of the reduced picture and 0.69 for one of the full
# picture, which skips source pixels; with 3.8 it is 0.62 and 1.27. A density of 1.0 is too low: 0.69 and 0.66. The two
# crops differ by 1.1 grey levels on average, and by 4.4 in regions full of texture.
LEAST_DENSITY = 1.1


class Header(NamedTuple):
    """Size and format of an image, from its first bytes."""

    height: int
    width: int
    is_jpeg: bool
    is_upright: bool  # no EXIF orientation


def decode_image(encoded: bytes, where: str = "image") -> np.ndarray:
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB. RowError names `where` if they are not a complete image."""
    return _decode(encoded, 1, "RGB", where)[0]


def decode_for_crop(encoded: bytes, density: float, where: str = "image") -> tuple[np.ndarray, int]:
    """As `decode_image`, for a crop with one pixel per `density` x `density` source pixels -> picture, reduction.

    picture: (H, W, 3), or (H, W, 4) with an unused last channel: OpenCV warps four channels twice as fast. reduction:
    1, 2, 4 or 8; each pixel of the picture is the mean of reduction x reduction source pixels. JPEGs alone are reduced,
    as their cosine transform gives these means faster than the pixels.
    """
    reduction = next((r for r in REDUCTIONS if density >= r * LEAST_DENSITY), 1)
    return _decode(encoded, reduction, "RGBX", where)


def _decode(encoded: bytes, reduction: int, channels: str, where: str) -> tuple[np.ndarray, int]:
    header = read_header(encoded, where)
    if header.is_jpeg and not is_whole(encoded):
        raise RowError(f"{where}: the JPEG is cut short; {REMEDY}")
    if header.is_jpeg and header.is_upright:
        height, width = (-(-side // reduction) for side in (header.height, header.width))
        try:
            image = simplejpeg.decode_jpeg(encoded, channels, min_height=height, min_width=width, min_factor=reduction)
            if image.shape[:2] == (height, width):
                return image, reduction
        except ValueError:
            pass  # OpenCV tolerates more, such as stray bytes between segments
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None:
        raise RowError(f"{where}: not an image; {REMEDY}")
    return image, 1


def is_whole(jpeg: bytes) -> bool:
    """Whether a JPEG is complete; decoders fill the missing part of a truncated one with grey. Image data never contain
    an end marker, so that in a complete file the last end marker follows the last start of scan."""
    return jpeg.endswith(b"\xff\xd9") or jpeg.rfind(b"\xff\xd9") > jpeg.rfind(b"\xff\xda")


def read_header(encoded: bytes, where: str) -> Header:
    """Header of a JPEG or PNG. RowError if it is not one or is too large, before memory is allocated for the pixels."""
    header = None
    has_exif = encoded.find(b"Exif\0", 0, encoded.find(b"\xff\xda")) >= 0  # before the image data
    if encoded.startswith(b"\xff\xd8") and not has_exif:
        with suppress(ValueError):
            header = Header(*simplejpeg.decode_jpeg_header(encoded)[:2], is_jpeg=True, is_upright=True)
    header = header or _read_header_by_pillow(encoded, where)  # ten times slower
    if header.width * header.height > MAX_PIXELS:
        raise RowError(f"{where}: the image has over {MAX_PIXELS // 10**6} million pixels; {REMEDY}")
    return header


def _read_header_by_pillow(encoded: bytes, where: str) -> Header:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about large pictures
            with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as picture:
                (width, height), is_upright = picture.size, _is_upright(picture)
    except Image.DecompressionBombError:
        return Header(MAX_PIXELS, MAX_PIXELS, False, True)
    except Exception as error:  # damaged headers raise many kinds of exceptions
        raise RowError(f"{where}: not an image, or no JPEG or PNG; {REMEDY}") from error
    return Header(height, width, encoded.startswith(b"\xff\xd8"), is_upright)


def _is_upright(picture: Image.Image) -> bool:
    """False if EXIF contains another orientation or cannot be read: OpenCV then decides how to rotate the picture."""
    try:
        return "exif" not in picture.info or picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
    except Exception:  # damaged metadata raises many kinds of exceptions
        return False
