"""Films written, read, turned and refused."""

import struct
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from utils.errors import UserError
from utils.media.video import read_frames, read_video_info, record_webcam, write_video

RATE = Fraction(30000, 1001)


def picture(t: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Four flat corners, the upper left one getting brighter with time."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (10 * t, 10 * t, 10 * t)
    image[: height // 2, width // 2 :] = (220, 30, 30)
    image[height // 2 :, : width // 2] = (30, 200, 30)
    image[height // 2 :, width // 2 :] = (30, 30, 210)
    return image


@pytest.fixture
def film(tmp_path):
    with write_video(tmp_path / "film.mp4", RATE) as add:
        for t in range(12):
            add(picture(t))
    return tmp_path / "film.mp4"


def corners(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return image[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2].astype(int)


def test_frames_come_back_in_order_with_their_colours(film):
    frames = list(read_frames(film))
    assert read_video_info(film) == (12, RATE, 48, 64) and len(frames) == 12
    for t, frame in enumerate(frames):
        np.testing.assert_allclose(corners(frame), corners(picture(t)), atol=8)


def test_odd_sizes_are_completed(tmp_path):
    with write_video(tmp_path / "odd.mp4", RATE) as add:
        add(picture(5, 33, 47))
    (frame,) = read_frames(tmp_path / "odd.mp4")
    assert frame.shape == (34, 48, 3)
    np.testing.assert_allclose(corners(frame), corners(picture(5, 34, 48)), atol=8)


def test_phones_films_stand_upright(film, tmp_path):
    """The display matrix of the track, as phones write it, says that the film is shown a quarter turn clockwise."""
    data = film.read_bytes()
    one, unit = 1 << 16, 1 << 30
    start = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[start : start + 36]) == (one, 0, 0, 0, one, 0, 0, 0, unit)
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 48 * one, 0, unit)
    (tmp_path / "phone.mp4").write_bytes(data[:start] + turned + data[start + 36 :])
    frame = next(read_frames(tmp_path / "phone.mp4"))
    assert frame.shape == (64, 48, 3) and read_video_info(tmp_path / "phone.mp4")[2:] == (64, 48)
    np.testing.assert_allclose(corners(frame), np.rot90(corners(picture(0)), -1), atol=8)


def test_a_cut_film_is_read_as_far_as_it_goes(film, tmp_path):
    """Matroska keeps what is needed in front, as a camera that lost power leaves it."""
    import av

    with av.open(str(tmp_path / "whole.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for t in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(t % 12), format="rgb24")))
        container.mux(stream.encode())
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    frames = list(read_frames(tmp_path / "cut.mkv"))
    assert 5 < len(frames) < 60
    np.testing.assert_allclose(corners(frames[3]), corners(picture(3)), atol=12)


BAD = {
    "missing": (None, "not found"),
    "empty": (b"", "damaged"),
    "text": (b"no film at all\n" * 99, "damaged"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_what_is_no_film_is_refused(tmp_path, case):
    data, message = case
    if data is not None:
        (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_video_info(tmp_path / "bad.mp4")


def test_a_film_without_frames_is_refused(film, tmp_path):
    """Its index promises frames, the data behind it is gone."""
    data = film.read_bytes()
    start = data.index(b"mdat") + 4
    (tmp_path / "hollow.mp4").write_bytes(data[:start] + b"\0" * (len(data) - start))
    with pytest.raises(UserError, match="no frame"):
        read_video_info(tmp_path / "hollow.mp4")


def test_giants_are_refused(film, monkeypatch):
    monkeypatch.setattr("utils.media.video.MAX_PIXELS", 1000)
    with pytest.raises(UserError, match="64 x 48"):
        next(read_frames(film))


def test_nothing_is_left_of_a_film_that_fails(tmp_path):
    with pytest.raises(RuntimeError), write_video(tmp_path / "film.mp4", RATE) as add:
        add(picture(0))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


class Webcam:
    """A camera that films what `picture` shows, and is unplugged after `frames`."""

    def __init__(self, frames: int):
        self.frames = iter(range(frames))

    def isOpened(self) -> bool:
        return True

    def get(self, _) -> float:
        return 10.0

    def read(self) -> tuple:
        t = next(self.frames, None)
        return t is not None, None if t is None else np.ascontiguousarray(picture(t)[..., ::-1])

    def release(self):
        pass


def test_a_webcam_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr("cv2.VideoCapture", lambda number: Webcam(99))
    film = record_webcam(0, tmp_path / "cam.mp4", seconds=0.8)
    frames = list(islice(read_frames(film), 99))
    assert len(frames) == 8 and read_video_info(film).rate == 10
    np.testing.assert_allclose(corners(frames[7]), corners(picture(7)), atol=8)


def test_an_unplugged_webcam_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("cv2.VideoCapture", lambda number: Webcam(3))
    with pytest.raises(UserError, match="plugged in"):
        record_webcam(0, tmp_path / "cam.mp4", seconds=5)
    assert not list(tmp_path.iterdir())


def test_without_a_webcam_it_says_so(tmp_path):
    with pytest.raises(UserError, match="webcam 99"):
        record_webcam(99, tmp_path / "cam.mp4", seconds=1)
