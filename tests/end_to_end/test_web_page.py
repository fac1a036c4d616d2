"""The page, as visitors meet it: in headless Chromium, where there is one."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from fractions import Fraction
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tests.helpers.browser import SLOW, WITH_3D, WITH_CAMERA, chromium, drag, new_tab, overflow
from utils.demo.uploads import Uploads
from utils.errors import UserError
from utils.media.images import load_image
from utils.media.video_writer import write_video
from utils.paths import ROOT, SAMPLES


@pytest.fixture(scope="module")
def browser():
    with chromium() as launch:
        yield launch(*WITH_3D, *WITH_CAMERA)


@pytest.fixture
def tab(browser):
    with new_tab(browser) as tab:
        yield tab


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """24 frames, in which the people of a sample move to the side."""
    image, path = load_image(SAMPLES / "im01.png"), tmp_path_factory.mktemp("film") / "walk.mp4"
    with write_video(path, Fraction(12)) as add:
        for shift in range(24):
            add(np.roll(image, 2 * shift, axis=1))
    return path


def reconstruct(tab, address: str, path: Path):
    """Upload a file and start its reconstruction."""
    tab.goto(address)
    tab.set_input_files("input[type=file]", path)
    tab.locator(".preview").filter(has_text=path.stem).wait_for()
    tab.get_by_role("button", name="Reconstruct").click()


def download(tab, name: str, folder: Path) -> Path:
    with tab.expect_download() as download:
        tab.get_by_role("link", name=name, exact=True).press("Enter")
    assert download.value.suggested_filename == name
    download.value.save_as(folder / name)
    return folder / name


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


def test_other_sites_are_refused(site):
    """Under another name for this computer, and from a form on another page."""
    address, folder = site
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}

    def status(path: str, data: bytes | None = None, **headers: str) -> int:
        request = urllib.request.Request(address + path, data, headers | kind if data else headers)
        try:
            return urllib.request.urlopen(request, timeout=60).status
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/config") == status("/gradio_api/upload", form) == 200
    assert status("/config", Host="evil.example") == 403
    before = [*folder.rglob("a.png")]
    assert status("/gradio_api/upload", form, Origin="http://evil.example") == 403
    assert [*folder.rglob("a.png")] == before
    for path in before:  # the tests below wait until no file is left
        path.unlink()


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
    mesh = trimesh.load(download(tab, "im02_body1.glb", tmp_path), process=False, force="mesh")
    assert 1 < np.ptp(mesh.vertices, axis=0).max() < 2.5
    assert str(folder) not in unescape(tab.content())
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {address.split("/")[2]}
    wait_until(lambda: not list(folder.rglob("im02*")))  # the photograph is gone

    (tmp_path / "bad.png").write_text("no picture")
    tab.set_input_files("input[type=file]", tmp_path / "bad.png")
    tab.get_by_text("bad").first.wait_for()
    button.click()
    alert = tab.get_by_role("alert").filter(has_text="Error")
    alert.wait_for()
    assert "bad.png is not a picture" in alert.inner_text()
    wait_until(lambda: str(folder) not in unescape(tab.content()))

    tab.set_input_files("input[type=file]", {"name": "big.png", "mimeType": "image/png", "buffer": b"0" * (21 << 20)})
    tab.get_by_text(re.compile("exceed|too large|maximum", re.I)).first.wait_for()


def test_before_and_after_several_people_and_one_zip(tab, site, tmp_path):
    address, folder = site
    tab.goto(address)
    tab.get_by_alt_text("sample im01.png").wait_for()  # before anything is pressed
    tab.get_by_role("tab", name="Samples").click()
    tab.get_by_role("radio", name="im03.png").click()
    tab.get_by_alt_text("sample im03.png").wait_for()
    tab.get_by_role("spinbutton", name=re.compile("number of people")).fill("3")
    tab.get_by_role("button", name="Reconstruct").click()
    result = tab.frame_locator("iframe[title=result]")
    slider = result.get_by_role("slider")
    slider.wait_for()
    for name in ("before", "after"):
        assert result.get_by_text(name, exact=True).is_visible()
    found = tab.get_by_role("listitem").filter(has_text="confidence").count()
    assert 2 <= found <= 3
    with zipfile.ZipFile(download(tab, "im03.zip", tmp_path)) as archive:
        assert archive.testzip() is None
        names = [
            "im03_angles.csv",
            "im03_bodies.json",
            "im03_bodies.npz",
            *(f"im03_body{n + 1}.glb" for n in range(found)),
        ]
        assert {*names, "im03_overlay.png"} <= {*archive.namelist()}
        assert len(json.loads(archive.read("im03_bodies.json"))["people"]) == found
        for name in archive.namelist()[:2]:
            assert download(tab, name, tmp_path).read_bytes() == archive.read(name)
    wait_until(lambda: not files_of(folder), found=lambda: files_of(folder))


def test_a_known_height_and_feet_on_the_ground(tab, site, tmp_path):
    tab.goto(site[0])
    tab.get_by_role("button", name="Places and sizes").click()
    tab.get_by_role("radio", name="feet on the ground").click()
    height = tab.get_by_label("Height of person 1")
    button = tab.get_by_role("button", name="Reconstruct")
    button.click()
    tab.get_by_text(re.compile(r"camera .* above the floor")).wait_for()  # with no height given
    height.fill("900")
    button.click()
    alert = tab.get_by_role("alert").filter(has_text="Error")
    alert.wait_for()
    assert "a height of 900 cm is not one of 40 to 280 cm" in alert.inner_text()
    height.fill("150")
    button.click()
    tab.get_by_text("height 150 cm").wait_for()
    mesh = trimesh.load(download(tab, "im01_body1.glb", tmp_path), process=False, force="mesh")
    assert abs(mesh.vertices[:, 1].min()) < 0.02  # the feet, metres
    assert 1.2 < np.ptp(mesh.vertices[:, 1]) < 1.6  # of somebody who walks
    before = (tmp_path / "im01_body1.glb").read_bytes()
    button.click()  # the same again
    tab.get_by_text("Working").wait_for()
    tab.get_by_text("Done").wait_for()
    assert download(tab, "im01_body1.glb", tmp_path).read_bytes() == before
    scene = trimesh.load(download(tab, "im01_scene.glb", tmp_path))
    assert len(scene.geometry) >= 2  # the body and the photograph


def test_a_film(tab, site, film, tmp_path):
    address, folder = site
    reconstruct(tab, address, film)
    tab.get_by_text("Step 1 of 2: find people").wait_for()
    tab.get_by_role("progressbar", name="Frames").wait_for()
    tab.get_by_role("link", name="walk_overlay.mp4").wait_for()
    tab.wait_for_function("document.querySelector('video').readyState >= 2")
    length, width, height = tab.evaluate(
        "(v => [v.duration, v.videoWidth, v.videoHeight])(document.querySelector('video'))"
    )
    image = load_image(SAMPLES / "im01.png")
    assert length == pytest.approx(2, abs=0.1) and abs(width - image.shape[1]) + abs(height - image.shape[0]) <= 2
    assert tab.get_by_role("listitem").filter(has_text="person 1, 0.00 to").count() == 1
    with zipfile.ZipFile(download(tab, "walk.zip", tmp_path)) as archive:
        endings = (".bvh", ".glb", ".json", ".npz", "_angles.csv", "_overlay.mp4")
        names = archive.namelist()
        assert {f"walk{ending}" for ending in endings} <= {*names} and all(name.startswith("walk") for name in names)
        assert len(json.loads(archive.read("walk.json"))["people"][0]["frames"]) == 24
    wait_until(lambda: not files_of(folder), found=lambda: files_of(folder))


def test_a_snapshot_of_the_webcam(tab, site):
    address, folder = site
    tab.goto(address)
    tab.get_by_role("tab", name="Webcam").click()
    tab.get_by_role("button", name=re.compile("webcam", re.I)).first.click()
    tab.locator("video").wait_for()
    tab.wait_for_function("document.querySelector('video').videoWidth > 0")
    tab.get_by_role("button", name=re.compile("capture|photo", re.I)).first.click()
    tab.get_by_alt_text("your photograph").wait_for()
    tab.get_by_role("button", name="Reconstruct").click()
    tab.frame_locator("iframe[title=result]").get_by_role("slider").wait_for()
    wait_until(lambda: not files_of(folder), found=lambda: files_of(folder))


def test_two_visitors_wait_for_each_other_and_get_their_own_results(browser, site, film):
    address, folder = site
    with new_tab(browser) as first, new_tab(browser) as second, new_tab(browser) as third:
        third.goto(address)
        reconstruct(first, address, film)
        first.get_by_text("Step 1 of 2").wait_for()
        reconstruct(second, address, SAMPLES / "im02.png")
        second.get_by_text("1 request is before yours").wait_for()
        third.get_by_role("button", name="Reconstruct").click()
        third.get_by_text("2 requests are before yours").wait_for()
        third.get_by_role("button", name="Stop").click()
        third.get_by_text("Stopped").wait_for()
        for tab, own in ((first, "walk"), (second, "im02")):
            tab.locator(".files a[href^=blob]").first.wait_for()
            names = tab.locator(".files a").all_inner_texts()
            assert len(names) > 4 and all(name.startswith(own) for name in names)
        assert not third.locator(".files").count()
    wait_until(lambda: not files_of(folder), found=lambda: files_of(folder))


def test_a_film_whose_visitor_leaves_is_stopped(browser, site, film):
    address, folder = site
    with new_tab(browser) as tab:
        reconstruct(tab, address, film)
        tab.get_by_text("Step 1 of 2").wait_for()
    wait_until(lambda: not files_of(folder), found=lambda: files_of(folder))
    with new_tab(browser) as tab:
        reconstruct(tab, address, film)
        tab.get_by_text("Step 1 of 2").wait_for()
        tab.get_by_role("button", name="Stop").click()
        tab.get_by_text("Stopped").wait_for()
        wait_until(lambda: not files_of(folder), found=lambda: files_of(folder))
        tab.wait_for_timeout(1000)
        assert not tab.locator("video").count() and not tab.get_by_role("alert").count()


@pytest.mark.parametrize("size", [(360, 740), (1280, 800)], ids=["phone", "desktop"])
def test_everything_fits_and_can_be_reached_by_keyboard(browser, site, size):
    address, _ = site
    with new_tab(browser, *size) as tab:
        tab.goto(address)
        button = tab.get_by_role("button", name="Reconstruct")
        button.wait_for()
        assert tab.evaluate("document.documentElement.lang") and overflow(tab) <= 0
        tab.evaluate("document.activeElement.blur()")
        reached = []
        while len(reached) < 40 and "Stop" not in reached:
            tab.keyboard.press("Tab")
            reached.append(tab.evaluate(NAME))
        order = [next(i for i, name in enumerate(reached) if wanted in name) for wanted in
                 ("File", "Click to upload", "number of people", "Reconstruct", "Stop")]  # fmt: skip
        assert order == sorted(order) and all(reached)  # nothing without a name
        button.focus()
        tab.keyboard.press("Enter")
        tab.frame_locator("iframe[title=result]").get_by_role("slider").wait_for()
        assert overflow(tab) <= 0
        frame = tab.locator("iframe[title=result]").bounding_box()
        assert frame["x"] >= 0 and frame["x"] + frame["width"] <= size[0]
        assert not tab.evaluate("[...document.images].filter(image => !image.alt).length")


# what a screen reader calls the element with the focus
NAME = """() => { const e = document.activeElement;
    const label = e.labels?.[0] || e.closest("label");
    return e.ariaLabel || label?.innerText || e.innerText || e.title || ""; }"""


def test_without_gradio_it_says_what_to_install(monkeypatch):
    from utils.demo import web_page as page

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"requirements-page\.txt"):
        page.build_page(None, None, None, None)


@pytest.mark.parametrize("upload", [None, "missing.png", "../../../etc/passwd"])
def test_no_path_of_the_server_is_told(tmp_path, upload):
    from utils.demo import web_page as page

    secret = tmp_path / "secret"
    with pytest.raises(UserError) as error:
        page.reconstruct(None, None, upload and secret / upload, "../demo.py", page.choose())
    assert str(secret) not in str(error.value) and str(ROOT) not in str(error.value)


def wait_until(condition, seconds: float = SLOW, found=lambda: None):
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
