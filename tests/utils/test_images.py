"""Every kind of picture file people have, and every way in which one can be broken."""

import contextlib
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.errors import UserError
from utils.media import images as image_io
from utils.media.images import load_image, save_image
from utils.paths import SAMPLES


@pytest.fixture(scope="module")
def picture():
    """(48, 64, 3) uint8, smooth, every corner of another colour."""
    y, x = np.mgrid[0:1:48j, 0:1:64j]
    return np.stack((255 * x, 255 * y, 255 * (1 - x) * (1 - y)), -1).round().astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "jpg", "ppm", "gif"])
def test_common_formats(tmp_path, picture, suffix):
    path = tmp_path / f"picture.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {"quality": 98} if suffix == "jpg" else {}
    Image.fromarray(picture).save(path, **lossless)
    loaded = load_image(path)
    assert loaded.shape == picture.shape and loaded.dtype == np.uint8
    np.testing.assert_allclose(loaded.astype(int), picture, atol={"jpg": 12, "gif": 40}.get(suffix, 0))
    np.testing.assert_array_equal(load_image(str(path)), loaded)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(tmp_path, picture, orientation):
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "turned.png"), picture)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path, picture, suffix):
    cv2.imwrite(str(tmp_path / f"grey.{suffix}"), picture[..., 0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(load_image(tmp_path / f"grey.{suffix}"), picture[..., :1].repeat(3, 2))
    cv2.imwrite(str(tmp_path / f"colour.{suffix}"), picture[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_allclose(load_image(tmp_path / f"colour.{suffix}").astype(int), picture, atol=1)


def test_grey_and_black_and_white(tmp_path, picture):
    Image.fromarray(picture[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(load_image(tmp_path / "grey.png"), picture[..., :1].repeat(3, 2))
    Image.fromarray(picture[..., 0] > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(np.unique(load_image(tmp_path / "bits.png")), (0, 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path, picture, mode):
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[:, :10] = 0
    image = Image.fromarray(np.dstack((picture, alpha))).convert(mode)
    image.save(tmp_path / "glass.png")
    loaded = load_image(tmp_path / "glass.png")
    assert (loaded[:, :10] == 255).all()
    np.testing.assert_array_equal(loaded[:, 10:], np.asarray(image.convert("RGB"))[:, 10:])


def test_palette_with_a_transparent_colour(tmp_path):
    colors = np.array(((255, 0, 0), (0, 0, 255), (9, 9, 9)), np.uint8)
    numbers = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    image = Image.frombytes("P", (30, 20), numbers.tobytes())
    image.putpalette(colors.tobytes())
    image.save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(load_image(tmp_path / "opaque.png"), colors[numbers])
    image.save(tmp_path / "glass.png", transparency=1)
    colors[1] = 255
    np.testing.assert_array_equal(load_image(tmp_path / "glass.png"), colors[numbers])


def test_half_transparent_arrays_and_files_agree(tmp_path, picture):
    rgba = np.dstack((picture, np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))))
    Image.fromarray(rgba).save(tmp_path / "veil.png")
    np.testing.assert_allclose(load_image(rgba).astype(int), load_image(tmp_path / "veil.png"), atol=1)


def test_cmyk(tmp_path, picture):
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "print.jpg", quality=98)
    np.testing.assert_allclose(load_image(tmp_path / "print.jpg").astype(int), picture, atol=30)


def test_arrays(picture):
    np.testing.assert_array_equal(load_image(picture), picture)
    np.testing.assert_array_equal(load_image(picture[..., 0]), picture[..., :1].repeat(3, 2))
    np.testing.assert_array_equal(load_image(picture[..., :1]), picture[..., :1].repeat(3, 2))
    np.testing.assert_array_equal(load_image(picture.astype(np.uint16) * 257), picture)
    flipped = load_image(picture[:, ::-1])
    assert flipped.flags.c_contiguous and flipped.flags.writeable


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(UserError, match="image array"):
        load_image(array)


def bomb(path: Path, side: int):
    """A PNG that promises side x side pixels and has none."""
    content = b"\x89PNG\r\n\x1a\n"
    for chunk in (b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b""), b"IEND"):
        content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content)


def test_broken_files_are_told_in_one_line(tmp_path, picture):
    cases = {"missing": "not found", "folder": "not a file", "empty.png": "is empty", "text.jpg": "not a picture"}
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("this is no picture\n" * 50)
    cases["page.eps"] = "not a picture"  # Pillow would start Ghostscript for it
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    for suffix in ("png", "jpg", "webp", "tif"):
        Image.fromarray(picture).save(tmp_path / f"whole.{suffix}")
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(content[: len(content) // 2])
        cases[f"cut.{suffix}"] = "damaged|not a picture"
    bomb(tmp_path / "large.png", 13_000)
    bomb(tmp_path / "huge.png", 60_000)
    cases |= {"large.png": "scale it down", "huge.png": "scale it down"}
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            load_image(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)


def test_damaged_pixels_are_no_crash(tmp_path):
    """Random damage gives a picture or a UserError, never anything else."""
    rng = np.random.default_rng(0)
    content = bytearray((SAMPLES / "im02.png").read_bytes())
    for _ in range(30):
        damaged = bytearray(content)
        for place in rng.integers(0, 2000, 5):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.png").write_bytes(damaged)
        with contextlib.suppress(UserError):
            assert load_image(tmp_path / "damaged.png").dtype == np.uint8


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif", ".PNG"])
def test_saved_pictures_come_back(tmp_path, picture, suffix):
    save_image(tmp_path / f"saved{suffix}", picture)
    np.testing.assert_allclose(load_image(tmp_path / f"saved{suffix}").astype(int), picture, atol=12)
    assert [p.name for p in tmp_path.iterdir()] == [f"saved{suffix}"]


def test_saving_fails_whole(tmp_path, picture, monkeypatch):
    save_image(tmp_path / "old.png", picture)
    before = (tmp_path / "old.png").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="No space left"):
        save_image(tmp_path / "old.png", picture[::-1])
    assert (tmp_path / "old.png").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="unknown picture format"):
        save_image(tmp_path / "new.xyz", picture)


def test_every_format_named_is_one_that_pillow_knows():
    Image.init()
    assert set(image_io.READ) - set(Image.OPEN) <= {"HEIF"}, "HEIF comes with a plug-in"
    assert set(image_io.WRITE.values()) <= set(Image.SAVE)


def test_samples_are_small_pictures(tmp_path):
    for path in sorted(SAMPLES.glob("im*.png")):
        assert path.stat().st_size < 600_000
        height, width, _ = load_image(shutil.copy(path, tmp_path)).shape
        assert min(height, width) > 224
    assert len(list(SAMPLES.glob("im*.png"))) == 3


def test_sixteen_bits_in_any_byte_order(tmp_path):
    values = (np.arange(12).reshape(3, 4) * 5000).astype(np.uint16)
    expected = ((values.astype(int) + 128) // 257).astype(np.uint8)
    for order in ("<", ">"):
        data = values.astype(f"{order}u2").tobytes()
        mode = "I;16" if order == "<" else "I;16B"
        Image.frombytes(mode, (4, 3), data).save(tmp_path / "a.tif")
        assert (load_image(tmp_path / "a.tif") == expected[..., None]).all(), order


def test_sixteen_bits_whose_zero_is_white(tmp_path):
    values = (np.arange(12).reshape(3, 4) * 5000).astype(np.uint16)
    picture = Image.frombytes("I;16", (4, 3), values.astype("<u2").tobytes())
    picture.save(tmp_path / "a.tif", tiffinfo={262: 0})
    expected = ((65535 - values.astype(int) + 128) // 257).astype(np.uint8)
    assert (load_image(tmp_path / "a.tif") == expected[..., None]).all()
