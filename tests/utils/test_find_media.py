"""What a user may point at, on real files."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from utils.demo.boxes import read_boxes
from utils.demo.films import collect_pictures
from utils.demo.options import check_output
from utils.errors import UserError
from utils.media.find import find_media, is_film, is_video, load_images, name_results
from utils.media.images import save_image


@pytest.fixture
def folder(tmp_path):
    for name in ("9.png", "10.PNG", "2.jpg", "film.MP4", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "9.png").touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_means_the_pictures_and_videos_in_it_in_the_order_of_their_numbers(folder):
    assert names(find_media([folder])) == ["2.jpg", "9.png", "10.PNG", "film.MP4"]


def test_digits_of_any_script_can_be_sorted(folder):
    for name in ("1\u00b22.png", "\u00b2.png", "\u0664\u0662.png"):
        (folder / name).touch()
    assert len(find_media([folder])) == 7


def test_globs_reach_deep(folder):
    assert names(find_media([f"{folder}/*.png"])) == ["9.png"]
    assert names(find_media([f"{folder}/**/9.*"])) == ["9.png", "9.png"]
    # only a whole part ** is deep
    assert names(find_media([f"{folder}/9**.png", f"{folder}/{'**' * 200}.png"])) == ["9.png"]


def test_files_keep_their_order_and_come_once(folder):
    given = [folder / "9.png", folder / "2.jpg", f"{folder}/9*"]
    assert names(find_media(given)) == ["9.png", "2.jpg"]


def test_named_files_are_left_to_their_reader(folder):
    assert names(find_media([folder / "notes.txt", folder / "missing[1].png"][:1])) == ["notes.txt"]
    assert names(find_media(["nowhere.png"])) == ["nowhere.png"]


def test_a_bracket_in_a_name_is_no_glob(folder):
    (folder / "a[1].png").touch()
    assert names(find_media([folder / "a[1].png"])) == ["a[1].png"]


@pytest.mark.parametrize("pattern", ["more/*.jpg", "empty"])
def test_nothing_there_is_told(folder, pattern):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures or videos"):
        find_media([folder / pattern])


@pytest.mark.parametrize("pattern", ["x" * 300 + "*.png", "a**b.jpg", "[" * 5000])
def test_a_glob_that_cannot_match_is_one_line(folder, pattern):
    with pytest.raises(UserError, match=r"no glob|no pictures or videos"):
        find_media([f"{folder}/{pattern}"])


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "y" * 5000 + ".mp4", "a\0b.png"])
def test_a_name_that_no_file_can_have_is_the_failure_of_that_file_alone(tmp_path, name):
    save_image(tmp_path / "good.png", np.full((8, 8, 3), 99, np.uint8))
    paths = find_media([tmp_path / name, tmp_path / "good.png"])
    if not is_film(paths[0]):
        (_, failure), (_, image) = load_images(paths)
        assert isinstance(failure, UserError) and "not found" in str(failure) and (image == 99).all()


def test_videos_go_by_their_suffix():
    assert is_video(Path("a/b.MOV")) and not is_video(Path("mp4.png"))


def test_results_never_share_a_file():
    paths = [Path(p) for p in ("a/im.png", "b/im.jpg", "b/IM.tif", "c/im_overlay.png", "c/other.png")]
    results = name_results(paths)
    files = [f"{name}{ending}".lower() for name in results for ending in (".png", "_overlay.png", "_person2.obj")]
    assert results[0] == "im" and results[4] == "other" and len(set(files)) == len(files)


def test_one_bad_picture_does_not_stop_the_others(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path in paths:
        save_image(path, image)
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    loaded = list(load_images(paths))
    assert [path for path, _ in loaded] == paths
    assert [isinstance(result, UserError) for _, result in loaded] == [False, False, True, False, False, False]
    np.testing.assert_array_equal(loaded[5][1], image)


class Counted(str):
    """A stem that counts how often it is compared or hashed."""

    work = 0

    def lower(self):
        Counted.work += 1
        return super().lower()


@pytest.mark.parametrize("equal", [True, False])
def test_the_work_of_naming_grows_linearly(equal):
    def work(count: int) -> int:
        Counted.work = 0
        paths = [SimpleNamespace(stem=Counted("frame" if equal else f"frame{i}")) for i in range(count)]
        assert len({*name_results(paths)}) == count
        return Counted.work

    assert work(4000) <= 2.1 * work(2000)


def test_links_are_followed_once_and_never_in_circles(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "im.png").touch()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "a" / "copy.png").symlink_to(tmp_path / "a" / "b" / "im.png")
    found = find_media([f"{tmp_path}/**/*.png"])
    assert len(found) == 1 and found[0].resolve() == tmp_path / "a" / "b" / "im.png"
    assert names(find_media([f"{tmp_path}/a/other/*.png"])) == ["im.png"]  # a link that is named is followed


@pytest.mark.parametrize("url", ["https://a.b/c.png", "s3://bucket/x.jpg", "file:///tmp/x.png"])
def test_a_url_is_called_one(url):
    with pytest.raises(UserError, match="is a URL"):
        find_media([url])


CLASHES = [  # input in the folder of the results, kinds of files, whether it would be overwritten
    ("im01_overlay.png", set(), True),
    ("a_side.png", {"side"}, True),
    ("a_person2.png", set(), True),
    ("a.png", set(), True),
    ("a.jpg", {"json"}, False),
    ("walk.mp4", set(), False),
    ("walk.gif", {"glb"}, False),
]


@pytest.mark.parametrize(("name", "kinds", "same"), CLASHES)
def test_what_is_overwritten_is_known_exactly(tmp_path, name, kinds, same):
    """A result of an input is named NAME, NAME_overlay and so on: no other file of the folder is refused."""
    path = tmp_path / name
    if path.suffix == ".gif":
        frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    else:
        path.write_bytes(b"x")
    names = name_results([path])
    if same:
        with pytest.raises(UserError, match="would be overwritten"):
            check_output(tmp_path, names, [path], kinds)
        return
    check_output(tmp_path, names, [path], kinds)
    # what the result will be called is refused if it is read
    result = tmp_path / (f"{names[0]}_overlay.mp4" if path.suffix in (".mp4", ".gif") else f"{names[0]}.png")
    if result != path:
        result.write_bytes(b"x")
        with pytest.raises(UserError, match="would be overwritten"):
            check_output(tmp_path, names, [path], kinds, [result])


def test_pictures_of_films_are_sorted_by_number_and_by_their_own_folders(tmp_path):
    for number in (1, 2, 10):
        (tmp_path / f"store{number}").mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / f"store{number}/x.png")
    (tmp_path / "frames").mkdir()
    links = [tmp_path / f"frames/{number}.png" for number in (1, 10, 2)]
    for link in links:
        link.symlink_to(tmp_path / f"store{link.stem}/x.png")
    folders, films = collect_pictures(links, 30)
    assert folders == [(tmp_path / "frames").resolve()]
    assert [path.stem for path in films[folders[0]]().paths] == ["1", "2", "10"]


def test_a_still_picture_without_a_suffix_is_no_film(tmp_path):
    still, moving = (Image.new("RGB", (9, 9), colour) for colour in ("red", "blue"))
    still.save(tmp_path / "still", format="GIF")
    still.save(tmp_path / "moving", format="GIF", save_all=True, append_images=[moving])
    assert not is_film(tmp_path / "still") and is_film(tmp_path / "moving")


def test_boxes_of_a_spreadsheet(tmp_path):
    (tmp_path / "boxes.csv").write_bytes(b"\xef\xbb\xbfim01.png,1,2,3,4\n")
    (tmp_path / "boxes.json").write_bytes(b'\xef\xbb\xbf{"im01.png": [[1, 2, 3, 4]]}')
    for name in ("boxes.csv", "boxes.json"):
        assert read_boxes(tmp_path / name) == {"im01.png": [(1.0, 2.0, 3.0, 4.0)]}
