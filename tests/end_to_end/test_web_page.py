"""The page and the one-file viewer, as a visitor meets them: in headless Chromium, where there is one."""

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import trimesh

from utils.camera import UPRIGHT
from utils.demo.uploads import Uploads
from utils.errors import UserError
from utils.export.html_viewer import viewer_page
from utils.paths import ROOT, SAMPLES

SLOW = 300  # seconds that a busy machine may take for a step
FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture
def ball():
    sphere = trimesh.creation.icosphere(subdivisions=2)
    colors = np.full((len(sphere.vertices), 3), (250, 10, 10), np.uint8)
    return sphere.vertices.astype(np.float32), sphere.faces, colors


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=1000 * SLOW)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    tab = browser.new_page(viewport={"width": 1000, "height": 700})
    tab.set_default_timeout(1000 * SLOW)
    yield tab
    tab.close()


def test_the_file_holds_the_mesh_and_nothing_from_elsewhere(ball):
    vertices, faces, colors = ball
    text = viewer_page("a <b> & $c", vertices, faces, colors, np.zeros((40, 60, 3), np.uint8))
    data = {name: base64.b64decode(found) for name, found in re.findall(r'"(\w+)": "([A-Za-z0-9+/=]+)"', text)}
    np.testing.assert_array_equal(np.frombuffer(data["positions"], "<f4").reshape(-1, 3), vertices * UPRIGHT)
    np.testing.assert_array_equal(np.frombuffer(data["indices"], "<u4").reshape(-1, 3), faces)
    np.testing.assert_array_equal(np.frombuffer(data["colors"], "u1").reshape(-1, 3), colors)
    assert "a &lt;b&gt; &amp; $c" in text and "<b>" not in text
    assert not re.search(r"(https?:)?//\w+\.", text.replace("https://", "")) and "default-src 'none'" in text


def test_the_mesh_is_seen_and_turns_with_the_mouse(tab, ball, tmp_path):
    (tmp_path / "ball.html").write_text(viewer_page("ball", *ball), encoding="utf-8")
    errors, asked = [], []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((tmp_path / "ball.html").as_uri())
    canvas = tab.locator("canvas")
    drag(tab, canvas, 0)
    before = float(canvas.get_attribute("data-yaw"))
    drag(tab, canvas, 100)
    tab.wait_for_function("yaw => document.querySelector('canvas').dataset.yaw - yaw > 0.9", arg=before)
    pixel = """() => { const c = document.querySelector("canvas"), p = new Uint8Array(4), g = c.getContext("webgl2");
        g.readPixels(c.width / 2, c.height / 2, 1, 1, g.RGBA, g.UNSIGNED_BYTE, p); return [...p]; }"""
    red, green, *_ = tab.evaluate(pixel)
    assert red > 100 > green and not errors and [url.split(":")[0] for url in asked] == ["file"]


def drag(tab, canvas, distance: int):
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + distance, y, steps=4)
    tab.mouse.up()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page of a real process -> its address, the folder of its temporary files."""
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "demo.py", "--serve", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + SLOW
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}", folder
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert not list(folder.glob("smpl-pose-*"))  # nothing stays behind


def test_a_visitor(tab, site, tmp_path):
    address, folder = site
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.set_input_files("input[type=file]", SAMPLES / "im02.png")
    tab.get_by_text("im02").first.wait_for()
    button = tab.get_by_role("button", name="Reconstruct")
    button.click()
    canvas = tab.frame_locator("iframe[title=result]").locator("canvas")
    drag(tab, canvas, 0)
    before = float(canvas.get_attribute("data-yaw"))
    drag(tab, canvas, 100)
    # a busy page may hear only part of the drag
    tab.wait_for_timeout(500)
    assert float(canvas.get_attribute("data-yaw")) > before + 0.05
    with tab.expect_download() as download:
        tab.get_by_role("link", name="im02_body1.glb").click()
    download.value.save_as(tmp_path / "body.glb")
    mesh = trimesh.load(tmp_path / "body.glb", process=False, force="mesh")
    assert 1 < np.ptp(mesh.vertices, axis=0).max() < 2.5
    assert str(folder) not in unescape(tab.content())
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {address.split("/")[2]}
    wait_until(lambda: not list(folder.rglob("im02*")))  # the photograph is gone

    (tmp_path / "bad.png").write_text("no picture")
    tab.set_input_files("input[type=file]", tmp_path / "bad.png")
    tab.get_by_text("bad").first.wait_for()
    button.click()
    alert = tab.get_by_role("alert").filter(has_text="Sorry")
    alert.wait_for()
    assert "bad.png is not a picture" in alert.inner_text()
    wait_until(lambda: str(folder) not in unescape(tab.content()))

    tab.set_input_files("input[type=file]", {"name": "big.png", "mimeType": "image/png", "buffer": b"0" * (21 << 20)})
    tab.get_by_text(re.compile("exceed|too large|maximum", re.I)).first.wait_for()


def test_without_gradio_it_says_what_to_install(monkeypatch):
    from utils.demo import web_page as page

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"requirements-page\.txt"):
        page.build_page(None, None, None)


@pytest.mark.parametrize("upload", [None, "missing.png", "../../../etc/passwd"])
def test_no_path_of_the_server_is_told(tmp_path, upload):
    from utils.demo import web_page as page

    secret = tmp_path / "secret"
    with pytest.raises(UserError) as error:
        page.reconstruct(None, None, upload and secret / upload, "../demo.py", 1)
    assert str(secret) not in str(error.value) and str(ROOT) not in str(error.value)


def wait_until(condition, seconds: float = 20, found=lambda: None):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    assert condition(), found()


def files_of(folder: Path) -> list[tuple[str, int]]:
    return [(str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*") if path.is_file()]


def test_equal_photographs_of_several_visitors_are_one_file_that_goes_with_the_last(tmp_path):
    path = tmp_path / "hash" / "im.png"
    uploads = Uploads(tmp_path)
    for _ in range(6):  # all upload before the first result is made
        path.parent.mkdir(exist_ok=True)
        shutil.copy(SAMPLES / "im01.png", path)
        uploads.add(path)
    os.utime(path, (0, 0))
    for left in reversed(range(6)):
        copy = uploads.copy(path)
        assert copy.read_bytes() == (SAMPLES / "im01.png").read_bytes() and copy != path
        uploads.done(path, copy)
        assert not copy.parent.exists() and path.exists() == bool(left)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="upload it again"):
        uploads.copy(path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_just_being_uploaded_is_not_deleted_at_once(tmp_path):
    path = tmp_path / "hash" / "im.png"
    path.parent.mkdir()
    path.write_bytes(b"x")
    uploads = Uploads(tmp_path)
    uploads.add(path)
    uploads.done(path, uploads.copy(path))
    assert path.exists()
    wait_until(lambda: not path.parent.exists())


def test_visitors_with_the_same_photograph_all_get_their_result(browser, site):
    address, folder = site
    tabs = [browser.new_page() for _ in range(3)]
    for tab in tabs:
        tab.set_default_timeout(1000 * SLOW)
        tab.goto(address)
        tab.set_input_files("input[type=file]", SAMPLES / "im03.png")
    for tab in tabs:
        tab.get_by_alt_text("your photograph").wait_for()
        assert not tab.locator("input[type=radio]:checked").count()  # no sample beside it
    for tab in tabs:
        tab.get_by_role("button", name="Reconstruct").click()
    for tab in tabs:
        tab.locator("iframe[title=result]").wait_for()
        tab.close()
    wait_until(lambda: not files_of(folder), found=lambda: files_of(folder))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_page_that_is_ended_leaves_nothing(tmp_path, number):
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "demo.py"), "--serve", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while line := process.stdout.readline():
            if line.startswith("page"):
                break
        time.sleep(2)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in err and not list(tmp_path.glob("smpl-pose-*"))
