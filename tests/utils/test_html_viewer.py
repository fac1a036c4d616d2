"""The one-file viewer in headless Chromium: mouse, keys, before and after, a lost context, no WebGL, a phone."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tests.helpers.browser import WITH_3D, WITHOUT_3D, chromium, drag, new_tab, overflow
from utils.camera import UPRIGHT
from utils.export.html_viewer import viewer_page

PIXEL = """at => { const c = document.querySelector("canvas"), p = new Uint8Array(4), g = c.getContext("webgl2");
    g.readPixels(at * c.width, c.height / 2, 1, 1, g.RGBA, g.UNSIGNED_BYTE, p); return [...p]; }"""
LOSE = """window.lost = document.querySelector("canvas").getContext("webgl2").getExtension("WEBGL_lose_context");
    lost.loseContext();"""


@pytest.fixture
def ball():
    sphere = trimesh.creation.icosphere(subdivisions=2)
    colors = np.full((len(sphere.vertices), 3), (250, 10, 10), np.uint8)
    return sphere.vertices.astype(np.float32), sphere.faces, colors


@pytest.fixture(scope="module")
def launch():
    with chromium() as launch:
        yield launch


@pytest.fixture(scope="module")
def browser(launch):
    return launch(*WITH_3D)


@pytest.fixture
def tab(browser):
    with new_tab(browser, reduced_motion="reduce") as tab:
        tab.errors = []
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        yield tab
        assert not tab.errors


def open_page(tab, folder: Path, *content):
    (folder / "ball.html").write_text(viewer_page(*content), encoding="utf-8")
    tab.goto((folder / "ball.html").as_uri())
    return tab.locator("canvas")


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
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    canvas = open_page(tab, tmp_path, "ball", *ball)
    drag(tab, canvas, 0)
    before = float(canvas.get_attribute("data-yaw"))
    drag(tab, canvas, 100)
    tab.wait_for_function("yaw => document.querySelector('canvas').dataset.yaw - yaw > 0.9", arg=before)
    red, green, *_ = tab.evaluate(PIXEL, 0.5)
    assert red > 100 > green and [url.split(":")[0] for url in asked] == ["file"]


def test_the_keyboard_turns_and_zooms(tab, ball, tmp_path):
    canvas = open_page(tab, tmp_path, "ball", *ball)
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "+"):
        tab.keyboard.press(key)
    yaw, pitch, zoom = tab.evaluate("[view.yaw, view.pitch, view.zoom]")
    assert (yaw, pitch, zoom) == pytest.approx((0.2, -0.1, 1.1))
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # the button
    assert tab.get_by_role("button", name="Stop turning").count() and tab.evaluate("view.turning")
    tab.keyboard.press("Enter")
    assert tab.get_by_role("button", name="Turn").count() and not tab.evaluate("view.turning")


def test_it_turns_by_itself_unless_the_visitor_wants_no_motion(browser, ball, tmp_path):
    with new_tab(browser, reduced_motion="no-preference") as tab:
        open_page(tab, tmp_path, "ball", *ball)
        tab.wait_for_function("() => view.yaw > 0.05")


def test_a_lost_context_is_told_and_drawn_again(tab, ball, tmp_path):
    canvas = open_page(tab, tmp_path, "ball", *ball)
    tab.wait_for_function("() => document.querySelector('canvas').dataset.yaw === '0.000'")
    whole = [tab.evaluate(PIXEL, at) for at in (0.5, 0.01)]
    for _ in range(2):
        tab.evaluate(LOSE)
        alert = tab.get_by_role("alert")
        alert.wait_for()
        assert "returns by itself" in alert.inner_text() and canvas.is_hidden()
        drag(tab, tab.locator("#stage"), 30)
        tab.evaluate("lost.restoreContext()")
        canvas.wait_for()
        assert alert.is_hidden()
        tab.wait_for_function(f"() => ({PIXEL})(0.5)[0] > 100")
    assert [tab.evaluate(PIXEL, at) for at in (0.5, 0.01)] == whole
    canvas.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("() => document.querySelector('canvas').dataset.yaw === '0.100'")


def test_without_webgl_it_says_so_beside_the_pictures(launch, ball, tmp_path):
    picture = np.full((40, 60, 3), 99, np.uint8)
    with new_tab(launch(*WITHOUT_3D)) as tab:
        canvas = open_page(tab, tmp_path, "ball", *ball, picture, picture)
        alert = tab.get_by_role("alert")
        alert.wait_for()
        text, box = alert.inner_text(), alert.bounding_box()
        assert "cannot show the body in 3D" in text and "WebGL 2" in text and "another browser" in text
        assert box["width"] > 400 and box["height"] > 300 and canvas.is_hidden()  # a panel, not a line
        assert tab.get_by_role("img", name="ball with the bodies drawn over it").is_visible()
        assert not tab.get_by_role("button").count()


def test_a_slider_shows_before_and_after(tab, ball, tmp_path):
    after, before = (np.full((300, 400, 3), color, np.uint8) for color in ((250, 0, 0), (0, 0, 250)))
    open_page(tab, tmp_path, "ball", *ball, after, before)
    slider = tab.get_by_role("slider")
    box = tab.locator("#pictures").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(4 / 3, rel=0.01)

    def blue() -> int:
        """Shown percent of the picture before, by pixels of its middle row."""
        row = pixels(tab.screenshot())[round(box["y"] + box["height"] / 2)]
        row = row[round(box["x"]) + 4 : round(box["x"] + box["width"]) - 4].astype(int)
        return round(100 * (row[:, 2] > row[:, 0] + 100).mean())

    assert abs(blue() - 50) <= 2
    slider.focus()
    for _ in range(20):
        tab.keyboard.press("ArrowRight")
    assert slider.input_value() == "70" and abs(blue() - 70) <= 2
    tab.keyboard.press("Home")
    assert blue() == 0
    tab.keyboard.press("End")
    assert blue() >= 99


def pixels(png: bytes) -> np.ndarray:
    import cv2

    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("shape", [(300, 400, 3), (900, 300, 3), None], ids=["wide", "tall", "no picture"])
@pytest.mark.parametrize("size", [(360, 740), (1280, 800)], ids=["phone", "desktop"])
def test_everything_fits_the_width_of_the_window(browser, ball, tmp_path, size, shape):
    pictures = [] if shape is None else [np.zeros(shape, np.uint8)] * 2
    with new_tab(browser, *size, reduced_motion="reduce") as tab:
        canvas = open_page(tab, tmp_path, "ball", *ball, *pictures)
        assert overflow(tab) <= 0
        box = canvas.bounding_box()
        assert min(box["width"], box["height"]) >= 300
        if shape is not None:
            shown = tab.locator("#pictures").bounding_box()
            assert shown["x"] >= 0 and shown["x"] + shown["width"] <= size[0] + 1
            beside, below = box["x"] >= shown["x"] + shown["width"] - 1, box["y"] >= shown["y"] + shown["height"]
            assert below if size[0] < 641 else beside
