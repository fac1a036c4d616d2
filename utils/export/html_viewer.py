"""An interactive view of a mesh as one HTML file. It works in any browser, without an internet connection."""

import base64
import html
import io
import json
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from utils.camera import UPRIGHT
from utils.errors import printable
from utils.export.gltf import vertex_normals

TEMPLATE = Path(__file__).with_name("viewer.html")
PICTURE_SIDE = 1600  # pixels; a larger picture is scaled down


def viewer_page(
    title: str,
    vertices: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray,
    picture: np.ndarray | None = None,
    before: np.ndarray | None = None,
) -> str:
    """HTML of a mesh that can be rotated, next to a picture (H, W, 3) uint8 if one is given.

    vertices (V, 3) metres in the camera frame, faces (F, 3), colors (V, 3) uint8 sRGB. before (H, W, 3) uint8: another
    state of the picture; a slider uncovers one or the other.
    """
    title = html.escape(printable(title))
    upright = vertices * UPRIGHT
    arrays = {
        "positions": upright.astype("<f4"),
        "normals": vertex_normals(upright, faces).astype("<f4"),
        "colors": colors.astype("u1"),
        "indices": faces.astype("<u4"),
    }
    mesh = json.dumps({name: _base64(array.tobytes()) for name, array in arrays.items()})
    shown = "" if picture is None else _pictures(title, picture, before)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=title, mesh=mesh, pictures=shown)


def _pictures(title: str, picture: np.ndarray, before: np.ndarray | None) -> str:
    """HTML of a picture, or of two that cover each other and a slider. title: HTML."""
    ratio = f"{picture.shape[1] / picture.shape[0]:.5f}"
    shown, slider = f'<img alt="{title} with the bodies drawn over it" src="{data_url(picture, "JPEG")}">', ""
    if before is not None:
        shown += f'<img id="before" alt="{title}" src="{data_url(before, "JPEG")}"><span id="edge"></span>'
        shown += "<span class='side'>before</span><span class='side'>after</span>"
        slider = '<input type="range" value="50" aria-label="Percent of the photograph that is shown without bodies">'
    return f'<figure><div id="pictures" style="--ratio: {ratio}; --shown: 50%">{shown}</div>{slider}</figure>'


def data_url(picture: np.ndarray, kind: str) -> str:
    """A picture (H, W, 3) uint8 as a data URL, scaled down to at most PICTURE_SIDE pixels per side."""
    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    image.save(file, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{_base64(file.getvalue())}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
