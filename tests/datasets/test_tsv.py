"""TSV files: rows by offset with all kinds of indices, processes and yaml files; writers; damaged files."""

import base64
import json
import multiprocessing
import os
import pickle
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import multiprocessing as torch_multiprocessing

from datasets.tsv import TSVFile, TSVSet, TSVWriter, build_offsets, load_offsets, read_note, write_composite
from utils.errors import UserError

LABEL = {"center": [1.0, 2.0], "scale": 1.5}


def write_set(yaml_file, count: int):
    """A set whose row i has key `NAME_i`, image b"image NAME i" and scale i."""
    name = yaml_file.parent.name
    with TSVWriter(yaml_file) as writer:
        for i in range(count):
            writer.add(f"{name}_{i}", f"image {name} {i}".encode() * (i + 1), {**LABEL, "scale": i}, 10, 20)
    return yaml_file


def files(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def tsv(tmp_path):
    path = tmp_path / "a.img.tsv"
    path.write_bytes(b"k0\tone\nk1\ttwo\nk2\tthree\n")
    return path


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=30), st.booleans())
@settings(max_examples=80)
def test_offsets_of_lines(tmp_path_factory, lines, newline_at_end):
    path = tmp_path_factory.mktemp("offsets") / "a.tsv"
    content = b"\n".join(lines) + (b"\n" if newline_at_end and lines else b"")
    path.write_bytes(content)
    expected = [line for line in content.splitlines(keepends=True)] if b"\r" not in content else None
    offsets = build_offsets(path)
    ends = np.append(offsets, len(content))
    rows = [content[start:end] for start, end in pairwise(ends)]
    assert b"".join(rows) == content
    assert all(row.rstrip(b"\n") == row or row.index(b"\n") == len(row) - 1 for row in rows)
    assert all(row.endswith(b"\n") for row in rows[:-1])
    if expected is not None and not set(content) & set(b"\x0b\x0c\x1c\x1d\x1e\x85"):
        assert rows == expected


def test_offsets_of_a_file_larger_than_one_read(tmp_path):
    path = tmp_path / "a.tsv"
    lengths = np.random.default_rng(0).integers(1, 9_000_000, 9)
    with path.open("wb") as file:
        for length in lengths:
            file.write(b"x" * (length - 1) + b"\n")
    np.testing.assert_array_equal(build_offsets(path), np.cumsum(lengths) - lengths)


def test_the_index_is_built_where_it_is_missing(tsv):
    index = tsv.with_suffix(".lineidx")
    rows = TSVFile(tsv)
    assert index.read_text() == "0\n7\n14\n"
    assert [rows[i] for i in range(3)] == [[b"k0", b"one"], [b"k1", b"two"], [b"k2", b"three"]]
    assert files(tsv.parent) == {"a.img.tsv", "a.img.lineidx", "a.img.lineidx.bin"}
    assert tsv.with_suffix(".lineidx.bin").read_bytes() == np.array([0, 7, 14, 23], "<i8").tobytes()


@pytest.mark.parametrize(
    "stale",
    [
        "",
        "0\n7\n",
        "0\n7\n14\n21\n",
        "0\n9\n14\n",
        "0\n14\n7\n",
        "-1\n7\n14\n",
        "0\n7\n13\n",
        "nonsense\n",
        "0\n7\n99\n",
    ],
)
def test_a_wrong_index_is_built_again_or_noticed(tsv, stale):
    tsv.with_suffix(".lineidx").write_text(stale)
    rows = TSVFile(tsv)
    if len(rows) == 3 and stale == "0\n9\n14\n":  # the ends are right: noticed when a row is read
        for row in (0, 1):
            with pytest.raises(UserError, match=rf"a\.img\.tsv row {row} .*delete .*a\.img\.lineidx"):
                rows[row]
    else:
        assert [rows[i][1] for i in range(3)] == [b"one", b"two", b"three"]
        assert tsv.with_suffix(".lineidx").read_text() == "0\n7\n14\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-3],
        lambda data: data[:-8],
        lambda data: data + data[-8:],
        lambda data: bytes(len(data)),
        lambda data: data[:8] + b"\xff" * 8 + data[16:],
        lambda data: b"\x80" + data[1:],
    ],
)
def test_a_damaged_map_is_made_again(tsv, damage):
    TSVFile(tsv)
    mapped = tsv.with_suffix(".lineidx.bin")
    good = mapped.read_bytes()
    mapped.write_bytes(damage(good))
    rows = TSVFile(tsv)
    assert [rows[i][1] for i in range(3)] == [b"one", b"two", b"three"] and isinstance(rows.offsets, np.memmap)
    assert mapped.read_bytes() == good


def test_a_map_older_than_its_sources_is_made_again(tsv):
    TSVFile(tsv)
    mapped, text = tsv.with_suffix(".lineidx.bin"), tsv.with_suffix(".lineidx")
    wrong = np.array([0, 9, 14, 23], "<i8").tobytes()  # the ends are right
    mapped.write_bytes(wrong)
    os.utime(mapped, (0, 0))
    assert TSVFile(tsv)[1][1] == b"two"
    mapped.write_bytes(wrong)
    with pytest.raises(UserError, match=r"row 1 is not at its offset in .*delete .*a\.img\.lineidx and"):
        TSVFile(tsv)[1]
    text.unlink()  # as the message advises
    assert TSVFile(tsv)[1][1] == b"two"


def test_a_folder_marked_read_only_stays_as_it_is(tsv):
    """Also for root, which could write."""
    tsv.parent.chmod(0o555)
    try:
        rows = TSVFile(tsv)
    finally:
        tsv.parent.chmod(0o755)
    assert rows[2] == [b"k2", b"three"] and files(tsv.parent) == {"a.img.tsv"}
    assert pickle.loads(pickle.dumps(rows))[2] == rows[2]


def test_a_file_that_shrinks_while_it_is_read(tsv):
    rows = TSVFile(tsv)
    os.truncate(tsv, 10)
    with pytest.raises(UserError, match="row 1"):
        rows[1]


def test_a_read_only_folder_keeps_its_index_in_memory(tsv, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "read-only")

    monkeypatch.setattr("os.replace", refuse)  # permissions would not stop root
    rows = TSVFile(tsv)
    assert [rows[i][0] for i in range(3)] == [b"k0", b"k1", b"k2"]
    assert files(tsv.parent) == {"a.img.tsv"}


@pytest.mark.parametrize("content", [b"k0\tone\nk1\ttwo", b"k0\tone\r\nk1\ttwo\r\n"])
def test_line_ends(tmp_path, content):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    for _ in range(2):  # once without an index, once with it
        rows = TSVFile(path)
        assert [rows[i] for i in range(len(rows))] == [[b"k0", b"one"], [b"k1", b"two"]]


def test_an_empty_file_has_no_rows(tmp_path):
    (tmp_path / "a.tsv").touch()
    for _ in range(2):
        assert len(TSVFile(tmp_path / "a.tsv")) == 0
    np.testing.assert_array_equal(load_offsets(tmp_path / "a.tsv"), [0])


def test_an_index_costs_eight_bytes_per_row(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"k\tv\n" * 100_000)
    rows = TSVFile(path)
    assert rows.offsets.nbytes == 8 * 100_001
    assert len(pickle.dumps(rows)) < 1000  # not pickled for a spawned worker
    assert rows[99_999] == [b"k", b"v"]


def _read_all(rows: TSVFile, queue):
    queue.put(([rows[i] for i in range(len(rows))], isinstance(rows.offsets, np.memmap)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_through_a_file_of_their_own(tsv, method):
    """Parent and child must not share a file object, which has one position."""
    rows = TSVFile(tsv)
    expected = [rows[i] for i in range(3)]
    context = torch_multiprocessing.get_context(method)
    queue = context.Queue()
    processes = [context.Process(target=_read_all, args=(rows, queue)) for _ in range(2 if method == "fork" else 1)]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert all(answer[0] == expected for answer in answers)
    assert all(mapped for _, mapped in answers)  # all processes share one index


def test_a_fork_does_not_read_through_its_parents_file(tsv):
    rows = TSVFile(tsv)
    rows[0]
    handle = rows._file.fileno()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def child():
        rows[1]
        queue.put((rows._process == os.getpid(), handle))

    process = context.Process(target=child)
    process.start()
    assert queue.get(timeout=30)[0]
    process.join(30)
    assert rows[2] == [b"k2", b"three"]


def test_a_pickled_reader_carries_no_file(tsv):
    rows = TSVFile(tsv)
    rows[0]
    copy = pickle.loads(pickle.dumps(rows))
    assert copy._file is None
    assert copy[2] == rows[2]


def test_threads_read_at_the_same_time(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"".join(b"%d\t%s\n" % (i, b"x" * (i % 97)) for i in range(500)))
    rows, wrong = TSVFile(path), []

    def read():
        for i in np.random.default_rng(threading.get_ident()).permutation(500):
            if rows[i] != [b"%d" % i, b"x" * (i % 97)]:
                wrong.append(i)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_written_sets_read_back(tmp_path):
    yaml_file = write_set(tmp_path / "one" / "train.part.yaml", 4)
    written = files(tmp_path / "one")
    rows = TSVSet(yaml_file)
    assert len(rows) == 4
    assert rows.image(2) == ("one_2", b"image one 2" * 3)
    assert rows.label(3) == {**LABEL, "scale": 3}
    kinds = ("img", "label", "hw", "linelist")
    names = {f"train.part.{kind}.{end}" for kind in kinds for end in ("tsv", "lineidx")}
    assert written == names | {"train.part.yaml"}
    for kind in kinds:  # the written index is the one that would be built
        path = tmp_path / "one" / f"train.part.{kind}.tsv"
        np.testing.assert_array_equal(np.loadtxt(path.with_suffix(".lineidx"), dtype=int), build_offsets(path))
    key, size = TSVFile(tmp_path / "one" / "train.part.hw.tsv")[1]
    assert (key, json.loads(size)) == (b"one_1", [{"height": 10, "width": 20}])


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), TSVWriter(tmp_path / "train.yaml") as writer:
        writer.add("a", b"1", LABEL, 1, 1)
        raise ZeroDivisionError
    assert files(tmp_path) == set()


def test_a_writer_that_fails_keeps_what_was_there(tmp_path):
    write_set(tmp_path / "one" / "train.yaml", 3)
    before = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    with pytest.raises(TypeError), TSVWriter(tmp_path / "one" / "train.yaml") as writer:
        writer.add("a", b"1", {"center": object()}, 1, 1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == before


@pytest.fixture
def composite(tmp_path):
    parts = [write_set(tmp_path / name / "train.yaml", count) for name, count in (("one", 3), ("two", 5))]
    write_composite(tmp_path / "mix" / "train.yaml", parts, [[1, 4], [0, 2], [1, 0], [1, 4]])
    return tmp_path / "mix" / "train.yaml"


def keys(yaml_file) -> list[str]:
    rows = TSVSet(yaml_file)
    return [rows.image(i)[0] for i in range(len(rows))]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("form", ["lists", "list files", "list files without newline"])
@pytest.mark.parametrize("flag", ["composite: true\n", ""])
def test_composite_forms(composite, form, absolute, flag):
    """Files as a list or as the path of a list, relative or absolute."""
    folder, text = composite.parent, flag + "linelist: train.linelist.tsv\n"
    for kind in ("img", "label", "hw"):
        names = [f"{folder.parent if absolute else '..'}/{name}/train.{kind}.tsv" for name in ("one", "two")]
        if form == "lists":
            text += f"{kind}:\n" + "".join(f"- {name}\n" for name in names)
        else:
            (folder / f"train.{kind}.list").write_text("\n".join(names) + ("" if "without" in form else "\n\n"))
            text += f"{kind}: train.{kind}.list\n"
    composite.write_text(text)
    assert keys(composite) == ["two_4", "one_2", "two_0", "two_4"]
    rows = TSVSet(composite)
    assert [rows.label(i)["scale"] for i in range(4)] == [4, 2, 0, 4]
    assert rows.where(1) == f"{rows.images[0].path} row 2"
    assert rows.where(0, "label").endswith("two/train.label.tsv row 4")


def test_a_set_without_linelist_has_all_rows(composite):
    spec = composite.read_text().replace("linelist: train.linelist.tsv\n", "")
    composite.write_text(spec)
    assert keys(composite) == [f"one_{i}" for i in range(3)] + [f"two_{i}" for i in range(5)]
    plain = composite.parent.parent / "one" / "train.yaml"
    (plain.parent / "train.linelist.tsv").write_text("2\n0\n")
    assert keys(plain) == ["one_2", "one_0"]
    plain.write_text("img: train.img.tsv\nlabel: train.label.tsv\n")
    assert keys(plain) == ["one_0", "one_1", "one_2"]


def test_a_large_linelist_stays_small(composite):
    rows = np.random.default_rng(0).integers(0, (2, 3), (100_000, 2))
    (composite.parent / "train.linelist.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in rows.tolist()))
    read = TSVSet(composite)
    assert torch.equal(read.rows, torch.from_numpy(rows).int())
    assert read.rows.element_size() * read.rows.numel() == 8 * len(rows)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "train.yaml").unlink(), "train.yaml is missing"),
        (lambda folder: (folder / "train.yaml").write_text("a: [1"), "train.yaml is not readable as yaml"),
        (lambda folder: (folder / "train.yaml").write_bytes(b"\xff\xfe\x00"), "train.yaml is not readable as yaml"),
        (lambda folder: (folder / "train.yaml").write_text("!!python/object/apply:os.getcwd []"), "not readable"),
        (lambda folder: (folder / "train.yaml").write_text('a: !!int ""'), "train.yaml is not readable as yaml"),
        (lambda folder: (folder / "train.yaml").write_text("a: !!bool x"), "train.yaml is not readable as yaml"),
        (lambda folder: (folder / "train.yaml").write_text("a: !!timestamp x"), "train.yaml is not readable as yaml"),
        (lambda folder: (folder / "train.yaml").write_text("just text"), "train.yaml has no 'img'"),
        (lambda folder: (folder / "train.yaml").write_text("img: a.tsv"), "a.tsv is missing"),
        (lambda folder: (folder / "train.yaml").write_text("img: 5"), "'img' names no file"),
        (lambda folder: (folder / "train.yaml").write_text("img: train.img.tsv"), "'label' names no file"),
        (lambda folder: (folder / "train.img.tsv").write_text(5000 * "name"), "is missing"),  # no tab: a list of files
        (lambda folder: (folder / "train.img.tsv").unlink(), "train.img.tsv is missing"),
        (lambda folder: (folder / "train.label.tsv").unlink(), "train.label.tsv is missing"),
        (lambda folder: (folder / "train.linelist.tsv").unlink(), "train.linelist.tsv is missing"),
        (lambda folder: (folder / "train.linelist.tsv").write_text("0\nx\n"), "train.linelist.tsv is not a list"),
        (lambda folder: (folder / "train.linelist.tsv").write_text("0\n3\n"), "selects row 3, but there are 3 in"),
        (lambda folder: (folder / "train.linelist.tsv").write_text("-1\n"), "selects row -1"),
        (lambda folder: (folder / "train.linelist.tsv").write_text("1\t0\n"), "names file 1 of 1"),
        (lambda folder: (folder / "train.linelist.tsv").write_text("0\t0\t0\n"), "3 columns"),
        (lambda folder: (folder / "train.linelist.tsv").write_text(""), "selects no rows"),
        (lambda folder: (folder / "train.yaml").open("a").write("\nlinelist: 3"), "'linelist' is not a file name"),
    ],
)  # fmt: skip
def test_messages_of_broken_sets(tmp_path, change, words):
    write_set(tmp_path / "one" / "train.yaml", 3)
    change(tmp_path / "one")
    with pytest.raises(UserError) as caught:
        TSVSet(tmp_path / "one" / "train.yaml")
    message = str(caught.value)
    assert words in message and str(tmp_path / "one") in message
    assert "\n" not in message and ";" in message


@pytest.mark.parametrize(
    ("note", "read"),
    [
        ("fits of 2026", "fits of 2026"), ('"a\\n  b\\e[2J"', "a b\x1b[2J"), ("[1, 2]", None), ("{a: 1}", None),
        ("3", None), ('" "', None),
    ],
)  # fmt: skip
def test_a_note_is_one_line_of_text_or_absent(tmp_path, note, read):
    (tmp_path / "a.yaml").write_text(f"img: a.tsv\nnote: {note}\n")
    assert read_note(tmp_path / "a.yaml") == read


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("img", b"one_1\tabc", "not base64"),
        ("label", b"one_1\t{broken", "not JSON"),
        ("label", b"one_1", "not JSON"),
        ("label", b"one_1\t[]", "not JSON"),
        ("label", b"one_1\t7", "not JSON"),
        ("label", b"one_1\t" + b"[" * 100_000, "not JSON"),
    ],
)
def test_messages_of_broken_rows(tmp_path, kind, value, words):
    yaml_file = write_set(tmp_path / "one" / "train.yaml", 3)
    path = tmp_path / "one" / f"train.{kind}.tsv"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], value, lines[2]]) + b"\n")
    rows = TSVSet(yaml_file)
    read = rows.image if kind == "img" else rows.label
    read(0), read(2)
    with pytest.raises(UserError, match=rf"train\.{kind}\.tsv row 1: .*{words}"):
        read(1)


def test_old_image_files_have_columns_in_between(tmp_path):
    yaml_file = write_set(tmp_path / "one" / "train.yaml", 1)
    (tmp_path / "one" / "train.img.tsv").write_bytes(b"key\t0\tx\t" + base64.b64encode(b"picture") + b"\n")
    assert TSVSet(yaml_file).image(0) == ("key", b"picture")


def test_a_label_without_the_list_around_it(tmp_path):
    yaml_file = write_set(tmp_path / "one" / "train.yaml", 1)
    (tmp_path / "one" / "train.label.tsv").write_text('key\t{"scale": 3}\n')
    assert TSVSet(yaml_file).label(0) == {"scale": 3}


def test_the_recorded_sets_and_indices(reference):
    for index in (reference / "tsv").glob("*/*.lineidx"):
        path = index.with_suffix(".tsv")
        np.testing.assert_array_equal(build_offsets(path), np.loadtxt(index, dtype=int))
    expected = np.load(reference / "tsv" / "expected_samples.npz")
    for name, file in (
        ("h36m", "human3.6m/valid.protocol2.yaml"),
        ("3dpw", "3dpw/test_has_gender.yaml"),
        ("composite", "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml"),
    ):
        assert keys(reference / "tsv" / file) == list(expected[f"{name}_keys"])
