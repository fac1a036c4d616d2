"""From the bytes of a JPEG or PNG to pixels, as few of them as a crop needs."""

import io
import warnings
from contextlib import suppress
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from utils.errors import RowError
from utils.media.images import MAX_PIXELS

REMEDY = "download or make the data set again"
REDUCTIONS = (8, 4, 2)
# The least pixels of a reduced picture for a pixel of the crop, per axis. From here on a photograph's crop is nearer to
# the mean over each of its pixels when it is cut from the reduced picture than from the full one, of which it skips
# pixels: 0.63 against 0.69 grey levels at 2.2 source pixels, 0.62 against 1.27 at 3.8 (14 sharp photographs, 1000
# pixels). At 1.0 it is not, 0.69 against 0.66. The two crops differ by 1.1 on average, and by 4.4 where all is texture.
LEAST_DENSITY = 1.1


class Header(NamedTuple):
    """What the first bytes of an image say."""

    height: int
    width: int
    is_jpeg: bool
    is_upright: bool  # no EXIF orientation


def decode_image(encoded: bytes, where: str = "image") -> np.ndarray:
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB. RowError naming `where` if they are not one whole image."""
    return _decode(encoded, 1, "RGB", where)[0]


def decode_for_crop(encoded: bytes, density: float, where: str = "image") -> tuple[np.ndarray, int]:
    """As `decode_image`, for a crop with a pixel on every `density` x `density` source pixels -> picture, reduction.

    picture: (H, W, 3), or (H, W, 4) with a last channel without meaning: OpenCV warps four channels twice as fast.
    reduction: 1, 2, 4 or 8; a pixel of the picture is the mean of a block of that many source pixels each way, as the
    JPEG's cosine transform gives it for less than the pixels themselves. Only JPEGs are reduced.
    """
    reduction = next((r for r in REDUCTIONS if density >= r * LEAST_DENSITY), 1)
    return _decode(encoded, reduction, "RGBX", where)


def _decode(encoded: bytes, reduction: int, channels: str, where: str) -> tuple[np.ndarray, int]:
    header = _read_header(encoded, where)
    if header.is_jpeg and not _is_whole(encoded):
        raise RowError(f"{where}: the JPEG is cut short; {REMEDY}")
    if header.is_jpeg and header.is_upright:
        height, width = (-(-side // reduction) for side in (header.height, header.width))
        try:
            image = simplejpeg.decode_jpeg(encoded, channels, min_height=height, min_width=width, min_factor=reduction)
            if image.shape[:2] == (height, width):
                return image, reduction
        except ValueError:
            pass  # OpenCV bears with more: stray bytes between segments
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None:
        raise RowError(f"{where}: not an image; {REMEDY}")
    return image, 1


def _is_whole(jpeg: bytes) -> bool:
    """Decoders fill what a truncated JPEG lacks with grey. Image data never contain an end marker, so that in a whole
    one the last end marker stands behind the last start of scan."""
    return jpeg.endswith(b"\xff\xd9") or jpeg.rfind(b"\xff\xd9") > jpeg.rfind(b"\xff\xda")


def _read_header(encoded: bytes, where: str) -> Header:
    """RowError unless these are the first bytes of a JPEG or PNG of sane size: looked at before room is made for it."""
    header = None
    has_exif = encoded.find(b"Exif\0", 0, encoded.find(b"\xff\xda")) >= 0  # before the image data
    if encoded.startswith(b"\xff\xd8") and not has_exif:
        with suppress(ValueError):
            header = Header(*simplejpeg.decode_jpeg_header(encoded)[:2], is_jpeg=True, is_upright=True)
    header = header or _read_header_by_pillow(encoded, where)  # which takes ten times as long
    if header.width * header.height > MAX_PIXELS:
        raise RowError(f"{where}: the image has over {MAX_PIXELS // 10**6} million pixels; {REMEDY}")
    return header


def _read_header_by_pillow(encoded: bytes, where: str) -> Header:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own thoughts about large pictures
            with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as picture:
                (width, height), is_upright = picture.size, _is_upright(picture)
    except Image.DecompressionBombError:
        return Header(MAX_PIXELS, MAX_PIXELS, False, True)
    except Exception as error:  # damaged headers fail in a dozen ways
        raise RowError(f"{where}: not an image, or no JPEG or PNG; {REMEDY}") from error
    return Header(height, width, encoded.startswith(b"\xff\xd8"), is_upright)


def _is_upright(picture: Image.Image) -> bool:
    """False where EXIF says otherwise, or cannot be read: then OpenCV decides how to turn the picture."""
    try:
        return "exif" not in picture.info or picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
    except Exception:  # damaged metadata fails in a dozen ways
        return False
