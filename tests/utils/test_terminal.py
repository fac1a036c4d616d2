"""Lines that the demo prints."""

from pathlib import Path

import pytest

from utils.demo.terminal import WIDTH, labelled, short_name, short_path, written


@pytest.mark.parametrize("columns", [20, 60, 80, 300])
def test_lines_fit_and_nothing_is_lost(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "walk.mp4: person 1, " + ", ".join(f"{t}.00 to {t}.50 s" for t in range(30))
    lines = labelled("found", text).splitlines()
    assert max(map(len, lines)) <= max(40, min(columns, WIDTH)) and len(lines) > 3
    assert lines[0].startswith("found    walk") and all(line.startswith(" " * 9) for line in lines[1:])
    assert " ".join(line.strip() for line in lines).split(maxsplit=1)[1] == text


def test_labels_are_followed_by_a_space():
    assert labelled("person 10", "a.png: found") == "person 10 a.png: found"


def test_a_long_word_stays_whole():
    path = "/" + "a" * 100
    assert path in labelled("wrote", f"{path} and more").splitlines()[0]


def test_long_names_keep_their_beginning_and_ending():
    name = "a" * 50 + "middle" + "b" * 50 + ".mp4"
    short = short_name(name)
    assert len(short) == 32 and short.startswith("aaa") and short.endswith("bb.mp4") and "..." in short
    assert (
        short_name("walk.mp4") == "walk.mp4" and len(short_name("\x1b" * 40)) <= 32 and "\x1b" not in short_name("\x1b")
    )


def test_paths_are_no_longer_than_needed(monkeypatch, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    assert short_path(tmp_path / "a" / "b" / "x.png") == "b/x.png"
    assert short_path(Path("b/x.png")) == "b/x.png"
    assert short_path(Path("/x.png")) == "/x.png"
    assert written([Path("b/x.png"), Path("b/y.png")]) == "wrote    b/x.png\n         b/y.png"
