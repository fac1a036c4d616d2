"""Meshes as files that other programs open.

All have y up and z towards the viewer, as Blender, Unity and MeshLab expect: people stand upright. Metres.
"""

from pathlib import Path

import numpy as np

from utils.camera import UPRIGHT
from utils.export.gltf import Gltf
from utils.files import atomic_path, write_text


def save_mesh(path: str | Path, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None = None):
    """Write vertices (V, 3), metres in the camera frame, faces (F, 3) and colors (V, 3) uint8 sRGB, atomically, as
    Wavefront .obj, Stanford .ply (binary) or glTF .glb, whichever the suffix says."""
    {".obj": _save_obj, ".ply": _save_ply, ".glb": _save_glb}[Path(path).suffix](
        path, vertices * UPRIGHT, np.asarray(faces), colors
    )


def _save_obj(path, vertices, faces, colors):
    lines = ["# SMPL-Pose: metres, y up, z towards the viewer"]
    rows = vertices if colors is None else np.column_stack((vertices, colors / 255))
    form = "v %.6f %.6f %.6f" + " %.4f" * (rows.shape[1] - 3)
    lines += [form % tuple(row) for row in rows.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    write_text(path, "\n".join(lines) + "\n")


def _save_ply(path, vertices, faces, colors):
    fields = [(axis, "<f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue") if colors is not None]
    rows = np.empty(len(vertices), fields)
    for name, column in zip("xyz", vertices.T, strict=True):
        rows[name] = column
    for name, column in zip(rows.dtype.names[3:], () if colors is None else colors.T, strict=True):
        rows[name] = column
    corners = np.empty(len(faces), [("count", "u1"), ("indices", "<i4", 3)])
    corners["count"], corners["indices"] = 3, faces
    header = ["ply", "format binary_little_endian 1.0", "comment SMPL-Pose: metres, y up, z towards the viewer"]
    header += [f"element vertex {len(rows)}"]
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header\n"]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join(header).encode() + rows.tobytes() + corners.tobytes())


def _save_glb(path, vertices, faces, colors):
    gltf = Gltf()
    gltf.add_to_scene(gltf.add("nodes", {"name": "body", "mesh": gltf.add_mesh(vertices, faces, colors)}))
    gltf.save(path)
