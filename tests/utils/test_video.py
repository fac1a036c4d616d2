"""Films written, read, turned and refused."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.helpers.films import make_film
from utils.errors import UserError
from utils.media.clock import Clock, rate_of
from utils.media.film import NumberedPictures, open_film
from utils.media.find import is_film
from utils.media.images import save_image
from utils.media.video import VideoFile, fit, read_frames, read_video_info
from utils.media.video_writer import write_video
from utils.media.webcam import record_webcam

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
        np.testing.assert_allclose(corners(frame.image), corners(picture(t)), atol=8)


def test_odd_sizes_are_completed(tmp_path):
    with write_video(tmp_path / "odd.mp4", RATE) as add:
        add(picture(5, 33, 47))
    ((frame, _),) = read_frames(tmp_path / "odd.mp4")
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
    frame = next(read_frames(tmp_path / "phone.mp4")).image
    assert frame.shape == (64, 48, 3) and read_video_info(tmp_path / "phone.mp4")[2:] == (64, 48)
    np.testing.assert_allclose(corners(frame), np.rot90(corners(picture(0)), -1), atol=8)


def test_a_cut_film_is_read_as_far_as_it_goes(film, tmp_path):
    """Matroska keeps what is needed in front, as a camera that lost power leaves it."""
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
    np.testing.assert_allclose(corners(frames[3].image), corners(picture(3)), atol=12)


def times_of(path) -> list[float]:
    return [frame.time for frame in read_frames(path)]


UNEVEN = [0.0, 0.2, 0.4, 0.6, 0.633, 0.667, 0.7, 0.733]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_times_are_the_files(tmp_path, ending):
    """200 ms frames, then 33 ms frames; the film may begin at any timestamp."""
    film = make_film(tmp_path / f"f.{ending}", [picture(t) for t in range(8)], [t + 1.4 for t in UNEVEN])
    np.testing.assert_allclose(times_of(film), UNEVEN, atol=0.001)


def test_times_survive_the_writer(tmp_path):
    with write_video(tmp_path / "film.mp4", RATE) as add:
        for t, time in enumerate(UNEVEN):
            add(picture(t), time)
    np.testing.assert_allclose(times_of(tmp_path / "film.mp4"), UNEVEN, atol=0.0002)


@pytest.mark.parametrize(
    ("rate", "times"), [(1000, [0.04 * t for t in range(36)]), (30, [2500.0 * t for t in range(4)])]
)
def test_rates_that_nobody_films_at_are_measured(tmp_path, rate, times):
    """A browser's recording claims 1000 frames per second; a film of one frame in 2,500 s is one."""
    film = make_film(tmp_path / "f.mkv", [picture(t % 12) for t in range(len(times))], times, claimed_rate=rate)
    info = read_video_info(film)
    assert float(info.rate) == pytest.approx(1 / times[1], rel=0.05) and info.rate > 0
    np.testing.assert_allclose(times_of(film), times, atol=0.001)


def test_clocks_repair_timestamps():
    clock = Clock(Fraction(10))
    stamps = [5.0, 5.1, None, 5.3, 5.3, 5.29, 5.4, 1.0, 1.1]
    times = [clock(stamp) for stamp in stamps]
    np.testing.assert_allclose(times, [0, 0.1, 0.2, 0.3, 0.301, 0.302, 0.4, 0.5, 0.6], atol=1e-9)
    assert [Clock(Fraction(4))(stamp) for stamp in (None,)] == [0]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_display_matrices_of_all_kinds(tmp_path, degrees, mirror):
    film = make_film(tmp_path / "f.mp4", [picture(3)] * 3, [0, 0.1, 0.2], degrees=degrees, mirror=mirror)
    expected = np.rot90(picture(3), degrees // 90)
    expected = expected[:, ::-1] if mirror else expected
    frame = next(read_frames(film)).image
    assert frame.shape == expected.shape == (*read_video_info(film)[2:], 3)
    np.testing.assert_allclose(corners(frame), corners(expected), atol=10)


@pytest.mark.parametrize(
    ("aspect", "shape"), [(Fraction(4, 3), (48, 85)), (Fraction(1, 2), (96, 64)), (None, (48, 64))]
)
def test_samples_become_square(tmp_path, aspect, shape):
    film = make_film(tmp_path / "f.mp4", [picture(3)] * 3, [0, 0.1, 0.2], aspect=aspect)
    assert next(read_frames(film)).image.shape == (*shape, 3)
    film = make_film(tmp_path / "g.mp4", [picture(3)] * 3, [0, 0.1, 0.2], aspect=aspect, degrees=90)
    assert next(read_frames(film)).image.shape == (*shape[::-1], 3)


def test_colons_belong_to_names(film, tmp_path):
    (tmp_path / "12:30 %d.mp4").write_bytes(film.read_bytes())
    assert read_video_info(tmp_path / "12:30 %d.mp4") == (12, RATE, 48, 64)
    with write_video(tmp_path / "a:b.mp4", RATE) as add:
        add(picture(0))
    assert len(times_of(tmp_path / "a:b.mp4")) == 1


SCRIPTS = {
    "concat": "ffconcat version 1.0\nfile film.mp4\n",
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfilm.mp4\n#EXT-X-ENDLIST\n",
    "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize("name", ["evil.mp4", "evil.avi", "evil"])
def test_scripts_in_disguise_open_no_other_file(film, tmp_path, script, name):
    (tmp_path / name).write_text(script)
    with pytest.raises(UserError, match="no video"):
        read_video_info(tmp_path / name)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_parts_of_films_are_found_by_their_numbers(tmp_path, codec):
    film = VideoFile(make_film(tmp_path / "f.mp4", [picture(t % 12) for t in range(40)], np.arange(40) / 30, codec))
    whole = list(film.frames())
    for start, stop in ((0, 3), (7, 12), (39, 40), (25, 40)):
        part = list(film.frames(start, stop))
        assert [frame.time for frame in part] == [frame.time for frame in whole[start:stop]]
        for frame, same in zip(part, whole[start:stop], strict=True):
            np.testing.assert_array_equal(frame.image, same.image)


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "pcm_s16le", None])
def test_sound_is_kept(tmp_path, codec):
    ending = "mkv" if codec == "pcm_s16le" else "mp4"
    source = VideoFile(
        make_film(tmp_path / f"s.{ending}", [picture(t) for t in range(10)], np.arange(10) / 10, sound=codec)
    )
    with write_video(tmp_path / "out.mp4", source.info.rate, source) as add:
        for frame in source.frames():
            add(*frame)
    np.testing.assert_allclose(times_of(tmp_path / "out.mp4"), np.arange(10) / 10, atol=0.001)
    with av.open(str(tmp_path / "out.mp4")) as container:
        if codec is None:
            assert not container.streams.audio
            return
        sound = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    assert np.abs(sound).argmax() / 48_000 == pytest.approx(0.5, abs=0.06) and np.abs(sound).max() > 0.2


def test_sizes_may_change_on_the_way():
    wide = np.full((30, 90, 3), 200, np.uint8)
    image = fit(wide, 60, 60)
    assert image.shape == (60, 60, 3) and (image[20:40] == 200).all() and not image[:19].any()


def animation(path, durations: list[int]):
    frames = [Image.fromarray(picture(t)) for t in range(len(durations))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_animated_pictures_are_films(tmp_path, name):
    path = animation(tmp_path / name, [100, 200, 50, 100])
    assert is_film(path)
    film = open_film(path)
    frames = list(film.frames())
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.1, 0.3, 0.35])
    assert film.info == (4, rate_of(film.times), 48, 64)
    np.testing.assert_allclose(corners(frames[2].image), corners(picture(2)), atol=25)
    assert [frame.time for frame in film.frames(1, 3)] == film.times[1:3]


def test_still_pictures_are_no_films(tmp_path, film):
    for name in ("a.gif", "a.webp", "a.png", "a.jpg"):
        Image.fromarray(picture(0)).save(tmp_path / name)
        assert not is_film(tmp_path / name)
    (tmp_path / "unnamed").write_bytes(film.read_bytes())
    assert is_film(tmp_path / "unnamed") and is_film(film) and not is_film(tmp_path / "missing")


def test_numbered_pictures_are_a_film(tmp_path):
    paths = [tmp_path / f"f{t:03d}.png" for t in range(5)]
    for t, path in enumerate(paths):
        save_image(path, picture(t))
    film = NumberedPictures(paths, 12.5)
    frames = list(film.frames(1))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(1, 5) / 12.5)
    np.testing.assert_array_equal(frames[3].image, picture(4))
    assert film.info == (5, Fraction(25, 2), 48, 64)


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


def rename_codec(film: Path, old: bytes, new: bytes) -> Path:
    """The same film with another name of a codec: pictures or sound of a format that nobody reads."""
    data = film.read_bytes()
    assert old in data
    film.write_bytes(data.replace(old, new))
    return film


def test_pictures_of_an_unknown_format_are_refused(tmp_path):
    film = make_film(tmp_path / "f.mp4", [picture(t) for t in range(4)], np.arange(4) / 10)
    with pytest.raises(UserError, match="a format that this program cannot read"):
        read_video_info(rename_codec(film, b"avc1", b"xxxx"))


@pytest.mark.parametrize(("old", "new"), [(b"mp4a", b"xxxx"), (b"OpusHead", b"OpusDead")])
def test_sound_that_cannot_be_written_is_left_out(tmp_path, old, new):
    """An unknown format, and a damaged header, which .mp4 files notice at their end alone."""
    name, codec = ("f.mp4", "aac") if old == b"mp4a" else ("f.webm", "libopus")
    video = "libx264" if codec == "aac" else "libvpx-vp9"
    film = make_film(tmp_path / name, [picture(t) for t in range(8)], np.arange(8) / 10, video, sound=codec)
    source = VideoFile(rename_codec(film, old, new))
    with write_video(tmp_path / "out.mp4", source.info.rate, source) as add:
        for frame in source.frames():
            add(*frame)
    assert len(times_of(tmp_path / "out.mp4")) == 8


def move_second_frame(path: Path, left: int):
    """Let the second frame of a GIF reach beyond the picture, which Pillow then enlarges."""
    data, start = bytearray(path.read_bytes()), b"\x2c\0\0\0\0"  # of an image: left and top are 0
    second = data.index(start, data.index(start) + 1)
    data[second + 1 : second + 3] = struct.pack("<H", left)
    path.write_bytes(data)


def test_a_later_frame_of_another_size_is_fitted(tmp_path):
    path = animation(tmp_path / "a.gif", [100, 100, 100])
    move_second_frame(path, 500)
    film = open_film(path)
    assert len(film.times) == 3 and {frame.image.shape for frame in film.frames()} == {(48, 64, 3)}


def test_a_later_frame_that_is_too_large_ends_the_film(tmp_path, monkeypatch):
    path = animation(tmp_path / "a.gif", [100, 100, 100])
    monkeypatch.setattr("utils.media.pictures_film.MAX_PIXELS", 64 * 48)
    assert len(open_film(path).times) == 3
    move_second_frame(path, 500)
    assert len(open_film(path).times) == 1


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
    """Claims 90 frames per second, gives eight, shows what `picture` does, and is unplugged after `frames`."""

    def __init__(self, frames: int, clock: list[float]):
        self.frames, self.clock = iter(range(frames)), clock

    def isOpened(self) -> bool:
        return True

    def get(self, _) -> float:
        return 90.0

    def read(self) -> tuple:
        self.clock[0] += 0.125
        t = next(self.frames, None)
        return t is not None, None if t is None else np.ascontiguousarray(picture(t)[..., ::-1])

    def release(self):
        pass


@pytest.fixture
def webcam(monkeypatch):
    """Plug in a camera of so many frames; the clock goes on by 1/8 s with each."""
    clock = [7.0]
    monkeypatch.setattr("utils.media.webcam.time.monotonic", lambda: clock[0])
    return lambda frames: monkeypatch.setattr("cv2.VideoCapture", lambda number: Webcam(frames, clock))


def test_a_webcam_is_recorded_by_the_clock(tmp_path, webcam):
    webcam(99)
    film = record_webcam(0, tmp_path / "cam.mp4", seconds=1)
    frames = list(read_frames(film))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(8) / 8, atol=0.001)
    with av.open(str(film)) as container:
        assert container.duration / av.time_base == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(corners(frames[7].image), corners(picture(7)), atol=8)


def test_an_unplugged_webcam_is_told(tmp_path, webcam):
    webcam(3)
    with pytest.raises(UserError, match="plugged in"):
        record_webcam(0, tmp_path / "cam.mp4", seconds=5)
    assert not list(tmp_path.iterdir())


def test_without_a_webcam_it_says_so(tmp_path):
    with pytest.raises(UserError, match="webcam 99"):
        record_webcam(99, tmp_path / "cam.mp4", seconds=1)


def test_the_length_of_an_animation_does_not_cost_time_at_the_start(tmp_path, monkeypatch):
    pictures = [Image.fromarray(picture(t % 20)) for t in range(60)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=50, lossless=True)
    film = open_film(tmp_path / "a.webp")
    assert (film.info.frames, film.info.rate, len(film.times)) == (60, 20, 10)
    frames = list(film.frames(30, 50))
    assert [round(20 * frame.time) for frame in frames] == list(range(30, 50)) and len(film.times) >= 50
    assert all(np.array_equal(frame.image, picture(t % 20)) for t, frame in enumerate(frames, 30))
    assert len(list(film.frames())) == len(film.times) == 60


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame"])
def test_sound_is_kept_to_its_end(tmp_path, codec):
    film = make_film(tmp_path / "s.mkv", [picture(t) for t in range(12)], np.arange(12) / 10, sound=codec)
    with write_video(tmp_path / "out.mp4", Fraction(10), sound_of=open_film(film)) as add:
        for t in range(12):
            add(picture(t))
    with av.open(str(tmp_path / "out.mp4")) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert container.streams.audio[0].codec_context.name.startswith("mp3" if "mp3" in codec else "aac")
    assert samples >= 48_000 - 50


def test_a_size_that_no_encoder_takes_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be encoded"), write_video(tmp_path / "a.mp4", RATE) as add:
        add(np.zeros((20, 20_000, 3), np.uint8))
    assert not list(tmp_path.iterdir())
