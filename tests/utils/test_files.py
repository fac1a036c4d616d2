"""Atomic files: complete or absent, whatever their name, and the first error is the one that is reported."""

import pytest

from utils.errors import UserError
from utils.files import atomic_path, write_text


@pytest.mark.parametrize("name", ["a.json", "x" * 255, "x" * 240 + ".json", "é" * 127, "a." + "s" * 250, ".json"])
def test_every_legal_name_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"
    assert len([*tmp_path.iterdir()]) == 1


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
