"""Atomic files: complete or absent, whatever their name, and the first error is the one that is reported."""

import pytest

from utils.errors import UserError
from utils.files import atomic_path, find_file, write_text


@pytest.mark.parametrize("name", ["a.json", "x" * 255, "x" * 240 + ".json", "é" * 127, "a." + "s" * 250, ".json"])
def test_every_legal_name_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"
    assert len([*tmp_path.iterdir()]) == 1


def test_a_name_that_is_not_utf8_can_be_written_in_a_text(tmp_path):
    write_text(tmp_path / "a.txt", "caf\udce9 \u00e9")
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xe9 \xc3\xa9"


def test_a_name_too_long_is_reported(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / ("x" * 256), "text")
    assert not [*tmp_path.iterdir()]


def test_the_first_error_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_nothing_is_left_of_a_block_that_fails(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_files_are_found_in_upper_or_lower_case(tmp_path):
    assert find_file(tmp_path / "none", ["a.npz"]) is None and find_file(tmp_path, ["a.npz"]) is None
    (tmp_path / "A.NpZ").touch()
    (tmp_path / "b.npz").mkdir()
    (tmp_path / "c.npz").touch()
    assert find_file(tmp_path, ["b.npz", "a.npz", "c.npz"]) == tmp_path / "A.NpZ"
    assert find_file(tmp_path, ["C.npz", "a.npz"]) == tmp_path / "c.npz"


def test_two_files_of_one_name_are_not_guessed_between(tmp_path):
    """A link in another case to the same file is harmless."""
    (tmp_path / "A.npz").touch()
    (tmp_path / "a.npz").symlink_to("A.npz")
    assert find_file(tmp_path, ["a.npz"]).resolve() == tmp_path / "A.npz"
    (tmp_path / "a.npz").unlink()
    (tmp_path / "a.npz").touch()
    with pytest.raises(UserError, match=r"A\.npz and a\.npz, whose names differ only in case"):
        find_file(tmp_path, ["a.npz"])
