"""A real browser: headless Chromium, with or without 3D graphics and a camera."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

SLOW = 300  # seconds that a busy machine may take for a step
WITH_3D = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WITHOUT_3D = ("--disable-gpu", "--disable-3d-apis")
WITH_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def chromium() -> Iterator[Callable]:
    """A function that starts a playwright browser with some of the flags above. All are closed at the end."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        options = {"executable_path": program, "timeout": 1000 * SLOW}
        yield lambda *flags: playwright.chromium.launch(args=["--no-sandbox", *flags], **options)


@contextmanager
def new_tab(browser, width: int = 1000, height: int = 700, **options) -> Iterator:
    """A playwright page in a context of its own: no cookies or storage of other tabs."""
    tab = browser.new_page(viewport={"width": width, "height": height}, **options)
    tab.set_default_timeout(1000 * SLOW)
    yield tab
    tab.close()


def drag(tab, canvas, distance: int):
    """Drag the mouse sideways over an element, from its middle; distance in pixels."""
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + distance, y, steps=4)
    tab.mouse.up()


def overflow(tab) -> float:
    """How many pixels of the page stick out to the right of the window."""
    return tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
