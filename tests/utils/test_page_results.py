"""Results of the page as HTML: files inside one .zip, limits of uploads, errors without paths of the server."""

import base64
import io
import re
import zipfile

import pytest

from utils.demo import page_results
from utils.demo.web_page import alert
from utils.errors import UserError


def test_every_link_is_a_part_of_the_zip(tmp_path):
    contents = {"a <b>.glb": b"x" * 1000, "empty.json": b"", "c'd.npz": bytes(range(256)) * 9}
    files = {}
    for number, (name, content) in enumerate(contents.items()):
        files[name] = tmp_path / f"{number}{name[-5:]}"
        files[name].write_bytes(content)
    text = page_results.packed("a <b>", files)
    assert "<b>" not in text
    data = base64.b64decode(re.search("base64,([^']+)'", text)[1])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
    parts = re.findall(r"data-from='(\d+)' data-to='(\d+)'", text)
    assert [data[int(start) : int(end)] for start, end in parts] == list(contents.values())


@pytest.mark.parametrize(("name", "most"), [("big.png", 20), ("big.mp4", 100)])
def test_large_uploads_are_refused(tmp_path, name, most):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(most * 1_000_000)
    page_results.check_upload(path)
    with path.open("wb") as file:
        file.truncate(most * 1_000_000 + 600_000)
    with pytest.raises(UserError, match=f"^{name} has {most + 1} MB, over the maximum of {most} MB") as error:
        page_results.check_upload(path)
    assert str(tmp_path) not in str(error.value)


def test_files_that_are_no_films_are_told_by_name(tmp_path):
    (tmp_path / "walk.mp4").write_text("no film")
    with pytest.raises(UserError, match=r"^walk\.mp4 is no video") as error:
        page_results.preview(tmp_path / "walk.mp4", "")
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("cannot write /srv/page/secret/im.png: No space left", "cannot write im.png: No space left"),
        ("x.png is 16/9 <wide>", "x.png is 16/9 &lt;wide&gt;"),
        (r"cannot write C:\Users\me\im.png", "cannot write im.png"),
    ],
)
def test_an_error_is_one_sentence_without_folders(message, shown):
    assert alert(message) == f"<p role='alert'>Error: {shown}.</p>"
