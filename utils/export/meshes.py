"""Meshes as files for other programs.

All have y up and z towards the viewer, as Blender, Unity and MeshLab expect: people stand upright. Metres.
"""

from pathlib import Path

import numpy as np

from utils.export.gltf import Gltf
from utils.files import atomic_path
from utils.placement.frame import CAMERA, Frame

HEADER = "SMPL-Pose: metres, y up, z towards the viewer"


def save_mesh(
    path: str | Path,
    vertices: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray | None = None,
    frame: Frame = CAMERA,
):
    """Write a mesh atomically as Wavefront .obj, Stanford .ply (binary) or glTF .glb, by the suffix of `path`.

    vertices (V, 3) metres in the camera frame, faces (F, 3), colors (V, 3) uint8 sRGB; frame: of the file. trimesh
    writes .obj and .ply. It does not write .glb, as it leaves out normals and would store sRGB colours where glTF
    expects linear ones.
    """
    save = {".obj": _save_by_trimesh, ".ply": _save_by_trimesh, ".glb": _save_glb}[Path(path).suffix]
    save(path, frame.apply(vertices.astype(np.float64)), np.asarray(faces), colors)


def _save_by_trimesh(path, vertices, faces, colors):
    import trimesh  # takes a fifth of a second, and most runs save no such file

    mesh = trimesh.Trimesh(vertices, faces, vertex_colors=colors, process=False)  # keeps the order of vertices
    kind = Path(path).suffix[1:]
    options = {"obj": {"header": HEADER, "digits": 6, "include_normals": False}, "ply": {"vertex_normal": False}}
    data = mesh.export(file_type=kind, **options[kind])
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def _save_glb(path, vertices, faces, colors):
    gltf = Gltf()
    gltf.add_to_scene(gltf.add("nodes", {"name": "body", "mesh": gltf.add_mesh(vertices, faces, colors)}))
    gltf.save(path)
