"""Read any common picture file or array as upright RGB; write pictures atomically."""

import os
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from utils.errors import UserError
from utils.files import atomic_path

MAX_PIXELS = 150_000_000  # 450 MB as RGB; more is a decompression bomb or not a photograph
PHOTOMETRIC = 262  # the TIFF tag that says whether 0 is black or white
# raster formats that Pillow decodes itself; not EPS, for which it starts Ghostscript
READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO", "DIB", "HEIF")
WRITE = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}, "PNG": {"compress_level": 4}}


def load_image(image: str | os.PathLike | np.ndarray, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A picture file, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of 8 or 16 bits -> (H, W, 3) uint8 RGB.

    Files are rotated upright by their EXIF orientation. Transparency is blended with white, 16 bits are scaled to 8,
    CMYK and palettes become RGB. Of several frames, the first is used. UserError if the file is missing, damaged, too
    large or not a picture.
    """
    if isinstance(image, np.ndarray):
        return _array_to_rgb(image, "image array")
    path = Path(image)
    # os.path is False for names that no file can have, and in folders without permission; Path raises
    if not os.path.exists(path):
        raise UserError(f"image not found: {path}; check the path")
    if not os.path.isfile(path):
        raise UserError(f"{path} is not a file; give one picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata does not matter, and the size is checked below
            return _read(path, max_pixels)
    except (UnidentifiedImageError, Image.DecompressionBombError, MemoryError, PermissionError) as error:
        raise UserError(_why_unreadable(path, error)) from error
    except UserError:
        raise
    except Exception as error:  # damaged files raise many kinds of errors
        raise UserError(f"{path} is damaged or incomplete ({error}); copy or export it again") from error


def save_image(path: str | os.PathLike, image: np.ndarray):
    """Write (H, W, 3) uint8 RGB atomically, in the format of the suffix.

    UserError if the suffix is unknown or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITE:
        raise UserError(f"cannot write {path}: unknown picture format; use {', '.join(WRITE)}")
    kind = WRITE[path.suffix.lower()]
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format=kind, **OPTIONS.get(kind, {}))


def _read(path: Path, max_pixels: int) -> np.ndarray:
    with open_picture(path, max_pixels) as picture:
        picture.load()
        white_is_zero = picture.format == "TIFF" and picture.tag_v2.get(PHOTOMETRIC) == 0
        picture = ImageOps.exif_transpose(picture)
        if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
            array = np.asarray(picture)
            if white_is_zero and array.dtype.kind == "u":  # Pillow inverts those of 8 bits only
                array = np.iinfo(array.dtype).max - array
            return _array_to_rgb(array, str(path))
        return picture_to_rgb(picture)


def open_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture file, opened by Pillow; UserError if it is too large."""
    _start_pillow()
    picture = Image.open(path, formats=[kind for kind in READ if kind in Image.OPEN])
    width, height = picture.size
    if width * height > max_pixels:
        picture.close()
        raise UserError(f"{path} has {width} x {height} pixels, over {max_pixels // 10**6} million; scale it down")
    return picture


def count_frames(path: str | os.PathLike) -> int:
    """How many pictures a file holds; 1 if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_picture(Path(path)) as picture:
                return getattr(picture, "n_frames", 1) if picture.format != "MPO" else 1
    except Exception:  # what is wrong with it is for its reader to say
        return 1


def is_picture(path: str | Path) -> bool:
    """Whether the content of a file is that of a picture that can be read."""
    try:
        with open_picture(Path(path)):
            return True
    except Exception:  # what is wrong with it is for its reader to say
        return False


def picture_to_rgb(picture: Image.Image) -> np.ndarray:
    """A picture of 8 bits -> (H, W, 3) uint8 RGB, what is transparent over white."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


@cache
def _start_pillow():
    """Load Pillow's decoders, and the one for HEIC of iPhones if pillow-heif is installed."""
    Image.init()
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _array_to_rgb(array: np.ndarray, name: str) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        raise UserError(f"{name} has shape {array.shape}; give (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey")
    if array.dtype == np.int32 and array.min() >= 0 and array.max() < 1 << 16:  # Pillow reads some 16-bit files so
        array = array.astype(np.uint16)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in any byte order
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise UserError(f"{name} has {array.dtype} values; convert it to unsigned integers of 8 or 16 bits")
    array = array.reshape(*array.shape[:2], channels)
    if channels == 4:
        alpha = array[..., 3:].astype(np.uint16)
        array = ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        if path.stat().st_size == 0:
            return f"{path} is empty; copy or download it again"
        if path.suffix.lower() in (".heic", ".heif"):
            return f"{path} needs a decoder that is not installed: pip install pillow-heif, or convert it to JPEG"
        return f"{path} is not a picture this program can read; convert it to PNG or JPEG"
    if isinstance(error, PermissionError):
        return f"{path} is not readable for this user; change its permissions"
    return f"{path} is too large to decode safely; scale it down to under {MAX_PIXELS // 10**6} million pixels"
