"""Decoding at the resolution of a crop: the pixels of OpenCV, or block means of them, without a shift."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets import decode
from datasets.decode import LEAST_DENSITY, decode_for_crop, decode_image
from datasets.human_mesh import HumanMeshDataset, format_label
from datasets.tsv import TSVWriter
from utils.crop import crop_matrix, reduced_matrix, warp
from utils.errors import RowError
from utils.paths import SAMPLES

SUBSAMPLING = ("411", "420", "422", "444")
SIDE = 900


def photograph(number: int, side: int = SIDE) -> np.ndarray:
    """A sample picture at its own resolution, extended by mirroring to (side, side, 3)."""
    image = cv2.cvtColor(cv2.imread(str(SAMPLES / f"im0{number}.png")), cv2.COLOR_BGR2RGB)
    return cv2.copyMakeBorder(image, 0, side, 0, side, cv2.BORDER_REFLECT)[:side, :side]


def drawing(seed: int, side: int = SIDE) -> np.ndarray:
    """Lines, discs and fine stripes (side, side, 3), with sharper edges than photographs."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 128, np.uint8)
    for _ in range(60):
        color, a, b = rng.integers(0, 256, 3).tolist(), *rng.integers(0, side, (2, 2)).tolist()
        cv2.line(image, a, b, color, int(rng.integers(1, 12)), cv2.LINE_AA)
        cv2.circle(image, a, int(rng.integers(3, 80)), color[::-1], -1, cv2.LINE_AA)
    return image


def jpeg(image: np.ndarray, quality: int = 92, subsampling: str = "420", progressive: bool = False) -> bytes:
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{subsampling}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    options += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def by_opencv(encoded: bytes, flag: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)


def crop(encoded: bytes, center, side: float, rotation: float, density: float) -> np.ndarray:
    image, reduction = decode_for_crop(encoded, density)
    return warp(image, reduced_matrix(crop_matrix(center, side / 200, rotation), reduction))[..., :3].astype(float)


def mean_crop(encoded: bytes, center, side: float, rotation: float, finer: int = 8) -> np.ndarray:
    """The ideal crop: the mean of the full picture over each pixel of the crop."""
    matrix = crop_matrix(center, side / 200, rotation)
    matrix = np.column_stack((matrix[:, :2] * finer, (matrix[:, 2] + 0.5) * finer - 0.5))
    fine = warp(decode_image(encoded), matrix, 224 * finer)
    return cv2.resize(fine, (224, 224), interpolation=cv2.INTER_AREA).astype(float)


@pytest.mark.parametrize("subsampling", SUBSAMPLING)
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(240, 320), (301, 187)])
def test_pixels_equal_those_of_opencv(subsampling, progressive, size):
    encoded = jpeg(photograph(1)[: size[0], : size[1]], subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(decode_image(encoded), by_opencv(encoded))
    flags = {r: getattr(cv2, f"IMREAD_REDUCED_GRAYSCALE_{r}") | cv2.IMREAD_COLOR_RGB for r in (2, 4, 8)}
    for reduction, flag in flags.items():
        image, found = decode_for_crop(encoded, 1.2 * reduction)
        assert found == reduction
        np.testing.assert_array_equal(image[..., :3], by_opencv(encoded, flag))


def test_other_kinds_are_decoded_as_before():
    """Grey, four colours, EXIF orientation, stray bytes, PNG: the result of OpenCV, reduced only if that is safe."""
    picture = photograph(2, 300)
    buffers = {name: io.BytesIO() for name in ("grey", "cmyk", "turned", "upright", "damaged exif", "png")}
    turned, upright = Image.Exif(), Image.Exif()
    turned[0x112], upright[0x112] = 6, 1
    Image.fromarray(picture).convert("L").save(buffers["grey"], "JPEG")
    Image.fromarray(picture).convert("CMYK").save(buffers["cmyk"], "JPEG")
    Image.fromarray(picture).save(buffers["turned"], "JPEG", exif=turned)
    Image.fromarray(picture).save(buffers["upright"], "JPEG", exif=upright)
    Image.fromarray(picture).save(buffers["damaged exif"], "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    Image.fromarray(picture).save(buffers["png"], "PNG")
    encoded = {name: buffer.getvalue() for name, buffer in buffers.items()}
    plain = jpeg(picture)
    encoded["stray bytes"] = plain[:-2] + b"\0" * 50 + plain[-2:]
    for name, data in encoded.items():
        np.testing.assert_array_equal(decode_image(data), by_opencv(data), err_msg=name)
        image, reduction = decode_for_crop(data, 5)
        assert reduction == (4 if name in ("grey", "cmyk", "upright", "damaged exif") else 1), name
        assert image.shape[0] == -(-by_opencv(data).shape[0] // reduction)
    turned = decode_image(encoded["turned"]).astype(int)
    assert np.abs(turned - np.rot90(decode_image(encoded["upright"]), -1)).mean() < 2


@pytest.mark.parametrize("density", [0.1, 1, 2, 2.19, 2.2, 3.9, 4.39, 4.4, 8.7, 8.8, 100])
def test_a_reduced_picture_has_more_pixels_than_the_crop(density):
    image, reduction = decode_for_crop(jpeg(drawing(0, 333)), density)
    assert reduction == 1 or density / reduction >= LEAST_DENSITY
    assert reduction == 8 or density < 2 * reduction * LEAST_DENSITY or density < 2 * LEAST_DENSITY
    assert image.shape[:2] == (-(-333 // reduction), -(-333 // reduction))


def test_pictures_of_a_few_pixels():
    for height, width in ((1, 1), (2, 3), (3, 50), (9, 7)):
        for density in (1, 2.2, 5, 9):
            image, reduction = decode_for_crop(jpeg(np.full((height, width, 3), 70, np.uint8)), density)
            assert image.shape[:2] == (-(-height // reduction), -(-width // reduction))


@pytest.mark.parametrize("make", [photograph, drawing])
@pytest.mark.parametrize("density", [2.21, 2.6, 3.5])
@pytest.mark.parametrize("rotation", [0, 33])
def test_crops_of_reduced_pictures_are_as_good(make, density, rotation):
    """The mean difference to crops of the full picture, which skip pixels, is under 5 grey levels, as much as recorded
    crops may differ; on photographs the ideal crop is nearer."""
    for number in (1, 2, 3):
        encoded = jpeg(make(number))
        where = (SIDE / 2 + 3.3, SIDE / 2 - 7.7), 224 * density, rotation
        full, reduced, ideal = crop(encoded, *where, 1), crop(encoded, *where, density), mean_crop(encoded, *where)
        assert np.abs(full - reduced).mean() < 5
        assert np.abs(reduced - ideal).mean() < (np.abs(full - ideal).mean() if make is photograph else 2.5)


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_picture_is_not_shifted(reduction):
    """The centre of a soft dot is where it is in the full picture, within a hundredth of a crop pixel."""
    y, x = np.mgrid[:SIDE, :SIDE]
    dot = 20 + 200 * np.exp(-((x - 431.3) ** 2 + (y - 470.6) ** 2) / (2 * 40**2))
    encoded = jpeg(np.repeat(dot[..., None], 3, -1).astype(np.uint8), quality=98)
    side, centres = 224 * 1.2 * reduction, []
    for density in (1, 1.2 * reduction):
        bright = (crop(encoded, (450, 450), side, 20, density)[..., 1] - 30).clip(0)
        centres.append(np.array([(bright.sum(0) * np.arange(224)).sum(), (bright.sum(1) * np.arange(224)).sum()]))
        centres[-1] /= bright.sum()
    assert np.abs(centres[0] - centres[1]).max() < 0.02


def test_rows_of_large_pictures(tmp_path, monkeypatch):
    """With and without reduction, labels are equal bit for bit, and pictures nearly."""
    rng = np.random.default_rng(0)
    with TSVWriter(tmp_path / "a.yaml") as writer:
        for i in range(3):
            keypoints = np.column_stack((rng.uniform(0, SIDE, (24, 2)), np.ones(24)))
            label = format_label((SIDE / 2, SIDE / 2), 3.1, keypoints_2d=keypoints)
            writer.add(f"person_{i}", jpeg(photograph(i + 1)), label, SIDE, SIDE)
    for change in (False, (True, (0.7, 1.3, 1.0), 25.0, 0.9)):
        dataset = HumanMeshDataset(tmp_path / "a.yaml", augment=change, with_image_uint8=True)
        rows = [dataset[i] for i in range(3)]
        with monkeypatch.context() as patch:
            patch.setattr(decode, "REDUCTIONS", ())
            full_rows = [dataset[i] for i in range(3)]
        for row, full in zip(rows, full_rows, strict=True):
            difference = (row["image_uint8"].float() - full["image_uint8"].float()).abs().mean()
            assert 0 < difference < 5
            assert all((row[key] == full[key]).all() for key in ("keypoints_2d", "center", "scale"))


def test_a_jpeg_that_is_cut_short_is_refused():
    encoded = jpeg(photograph(1, 300))
    for data in (encoded[: len(encoded) // 2], encoded[:-2]):
        with pytest.raises(RowError, match="cut short"):
            decode_for_crop(data, 3)
    assert decode_image(encoded + b"\0" * 100).shape == (300, 300, 3)
