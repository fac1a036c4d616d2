"""Optional pictures of scripts/fetch_synthetic_assets.sh: photographs, surfaces, fabrics, a scanned skin, light maps.

A missing folder is no error: the generator then draws clothes, backgrounds and light by itself. The splits share no
photographs and surfaces: a hash of the file name decides to which split a file belongs.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datasets.synthetic.raster.color import srgb_to_linear
from utils.errors import UserError

PHOTO_SIZE, TILE_SIZE = 420, 96
_PARTS = {"test": (0,), "val": (1,), "train": tuple(range(2, 10))}


@dataclass
class Assets:
    """photos: (H, W, 3) uint8 RGB; pictures (N, h, w, 3) float32 sRGB tiles; fabrics (N, h, w, 3) float32 linear RGB;
    environments: (9, 3) irradiance with mean 1, see `shading.irradiance_at`; skins: (H, W, 3) float32 linear RGB
    relative to the mean skin."""

    photos: list[np.ndarray]
    pictures: np.ndarray
    fabrics: np.ndarray
    environments: list[np.ndarray]
    skins: list[np.ndarray]


def load_assets(folder: str | Path, split: str) -> Assets:
    """Read the files of a split under a folder. UserError names a file that cannot be read."""
    folder = Path(folder)
    photos = [_photo(path) for path in _files(folder / "photos", (".jpg", ".png"), split)]
    tiles = [_tile(path) for path in _files(folder / "surfaces", (".jpg", ".png"), split)]
    environments = [_environment(path) for path in _files(folder / "light", (".hdr",), split)]
    cloth = [_tile(path) for name in ("jeans", "tshirt") if (path := folder / f"people/morse/{name}.png").is_file()]
    # scanned cloth, scaled to mean 0.6 so that it can be tinted; prints are parts of photographs
    fabrics = [0.6 * srgb_to_linear(tile) / srgb_to_linear(tile).mean() for tile in cloth]
    for photo in photos:
        part = photo[: min(photo.shape[:2]), : min(photo.shape[:2])]
        fabrics.append(srgb_to_linear(cv2.resize(part, (TILE_SIZE, TILE_SIZE), interpolation=cv2.INTER_AREA) / 255))
    body = folder / "people/morse/body.png"
    return Assets(photos, _stack(tiles), _stack(fabrics), environments, [_skin(body)] if body.is_file() else [])


def _files(folder: Path, suffixes: tuple[str, ...], split: str) -> list[Path]:
    """Files of a split below a folder, in an order that does not depend on the file system."""
    names = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes) if folder.is_dir() else []
    return [path for path in names if zlib.crc32(path.name.encode()) % 10 in _PARTS[split]]


def _stack(tiles: list[np.ndarray]) -> np.ndarray:
    return np.array(tiles, np.float32) if tiles else np.zeros((0, TILE_SIZE, TILE_SIZE, 3), np.float32)


def _read(path: Path, flags: int) -> np.ndarray:
    try:
        image = cv2.imread(str(path), flags)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(
            f"{path} is not a readable picture: delete its folder and run scripts/fetch_synthetic_assets.sh"
        )
    return image[..., 2::-1]


def _photo(path: Path) -> np.ndarray:
    image = _read(path, cv2.IMREAD_REDUCED_COLOR_4 if path.stat().st_size > 600_000 else cv2.IMREAD_COLOR)
    scale = PHOTO_SIZE / min(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image.copy()


def _tile(path: Path) -> np.ndarray:
    return cv2.resize(_read(path, cv2.IMREAD_COLOR), (TILE_SIZE, TILE_SIZE), interpolation=cv2.INTER_AREA) / 255


def _skin(path: Path) -> np.ndarray:
    image = srgb_to_linear(cv2.resize(_read(path, cv2.IMREAD_COLOR), (512, 512), interpolation=cv2.INTER_AREA) / 255)
    return (image / np.median(image.reshape(-1, 3), axis=0)).astype(np.float32)


def _environment(path: Path) -> np.ndarray:
    """An equirectangular light map -> irradiance (9, 3) (Ramamoorthi and Hanrahan, SIGGRAPH 2001), scaled to mean 1."""
    light = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH).astype(np.float64)
    light = cv2.resize(light, (128, 64), interpolation=cv2.INTER_AREA)
    polar = (np.arange(64)[:, None] + 0.5) * np.pi / 64
    turn = (np.arange(128) + 0.5) * np.pi / 64
    x, y, z = np.sin(polar) * np.sin(turn), np.cos(polar) * np.ones(128), np.sin(polar) * np.cos(turn)
    solid = np.sin(polar) * (np.pi / 64) ** 2
    light = np.minimum(light, 30 * light.mean())  # the sun is a separate light
    one = np.ones_like(x)
    terms = (one, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y)
    squares = np.array([0.282095, *[0.488603] * 3, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274]) ** 2
    cosine = np.array([np.pi, *[2 * np.pi / 3] * 3, *[np.pi / 4] * 5])
    sh = np.array([(light * (term * solid)[..., None]).sum((0, 1)) for term in terms]) * (squares * cosine)[:, None]
    return sh / sh[0].mean()
