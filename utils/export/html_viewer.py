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
    title: str, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, picture: np.ndarray | None = None
) -> str:
    """HTML of a mesh that can be rotated, next to a picture (H, W, 3) uint8 if one is given.

    vertices (V, 3) metres in the camera frame, faces (F, 3), colors (V, 3) uint8 sRGB.
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
    shown = "" if picture is None else f'<img alt="{title}" src="{data_url(picture, "JPEG")}">'
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=title, mesh=mesh, picture=shown)


def data_url(picture: np.ndarray, kind: str) -> str:
    """A picture (H, W, 3) uint8 as a data URL, scaled down to at most PICTURE_SIDE pixels per side."""
    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    image.save(file, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{_base64(file.getvalue())}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
