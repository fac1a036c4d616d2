"""Render a body over a picture on the CPU, by both renderers, over the whole picture or only around the body."""

from collections.abc import Iterator

import numpy as np

from scripts.lib.benchmark.timing import Row, Settings, compare
from utils.camera import default_focal, pinhole
from utils.paths import OPEN_BODY
from utils.render import RenderOptions, overlay, render_mesh
from utils.render.panels import draw_overlay

PHOTOGRAPH, FRAME = (720, 540), (994, 1768)  # (height, width) in pixels of a sample and of a common video
FILL = 0.45  # height of the body / height of the picture


def measure(settings: Settings) -> Iterator[Row]:
    with np.load(OPEN_BODY) as data:
        upright, faces = data["v_template"] * (1, -1, -1), data["f"].astype(np.int64)
    upright = upright - (upright.min(0) + upright.max(0)) / 2

    def draw(size: tuple[int, int], backend: str, samples: int, whole: bool = False):
        options = RenderOptions(backend, supersampling=samples)
        image = np.full((*size, 3), 128, np.uint8)
        focal = default_focal(*size).pixels
        vertices = upright + (0, 0, focal * np.ptp(upright[:, 1]) / (FILL * size[0]))
        vertices, camera = vertices.astype(np.float32), pinhole(focal, *size)
        if whole:
            return lambda: overlay(image, render_mesh(vertices, faces, camera, *size, options))
        return lambda: draw_overlay(image, [vertices], faces, [camera], options)

    cases = {
        f"photograph {PHOTOGRAPH[1]} x {PHOTOGRAPH[0]}, 2 x 2 samples a pixel": {
            "PyTorch3D, whole picture": draw(PHOTOGRAPH, "pytorch3d", 2, whole=True),
            "Warp, whole picture": draw(PHOTOGRAPH, "warp", 2, whole=True),
            "Warp, body alone": draw(PHOTOGRAPH, "warp", 2),
        },
        f"frame {FRAME[1]} x {FRAME[0]}, 1 sample a pixel": {
            "PyTorch3D, whole picture": draw(FRAME, "pytorch3d", 1, whole=True),
            "Warp, whole picture": draw(FRAME, "warp", 1, whole=True),
            "Warp, body alone": draw(FRAME, "warp", 1),
        },
    }
    for case, methods in cases.items():
        yield from compare("rendering", case, methods, 1, "pictures/s", settings)
