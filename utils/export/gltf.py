"""A small writer of glTF 2.0: meshes, skins and animations in one binary .glb file.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch

from utils.files import atomic_path
from utils.geometry import mesh_normals

COMPONENT = {np.dtype("u1"): 5121, np.dtype("u2"): 5123, np.dtype("u4"): 5125, np.dtype("f4"): 5126}
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, MIPMAPS, CLAMP = 9729, 9987, 33071  # filters and borders of textures
TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
CLAY = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 0.8}


class Gltf:
    """A glTF document under construction; `nodes`, `meshes`, `skins`, ... are lists of dicts as in glTF."""

    def __init__(self):
        self.data = bytearray()
        self.document = {
            "asset": {"version": "2.0", "generator": "SMPL-Pose"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "materials": [{"pbrMetallicRoughness": CLAY, "doubleSided": True}],
        }

    def add(self, kind: str, value: dict) -> int:
        """Append to a list of the document -> index of the new entry."""
        self.document.setdefault(kind, []).append(value)
        return len(self.document[kind]) - 1

    def add_to_scene(self, node: int):
        self.document["scenes"][0]["nodes"].append(node)

    def add_array(self, array: np.ndarray, target: int | None = None, bounds: bool = False, normalized=False) -> int:
        """Add an array (N, ...) of uint8, uint16, uint32 or float32 -> index of its accessor.

        Matrices are (N, 4, 4), row by row; glTF stores them by columns. bounds: also store minimum and maximum.
        """
        kind = TYPES[array.shape[1:]]
        if kind == "MAT4":
            array = array.swapaxes(1, 2)
        array = np.ascontiguousarray(array)
        view = self._add_bytes(array.tobytes(), {"target": target} if target else {})
        accessor = {"bufferView": view, "componentType": COMPONENT[array.dtype], "count": len(array), "type": kind}
        if bounds:
            accessor |= {
                name: np.atleast_1d(find(array, 0)).tolist() for name, find in (("min", np.min), ("max", np.max))
            }
        return self.add("accessors", accessor | ({"normalized": True} if normalized else {}))

    def _add_bytes(self, data: bytes, more: dict) -> int:
        """-> index of the buffer view."""
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.data += data
        return self.add("bufferViews", view | more)

    def add_picture(self, data: bytes, kind: str) -> int:
        """Add a material that shows a picture as it is, without light -> its index. data: a file of kind jpeg or png.

        Texture coordinates: (0, 0) is the upper left corner of the picture, (1, 1) the lower right one.
        """
        image = self.add("images", {"bufferView": self._add_bytes(data, {}), "mimeType": f"image/{kind}"})
        sampler = self.add("samplers", {"magFilter": LINEAR, "minFilter": MIPMAPS, "wrapS": CLAMP, "wrapT": CLAMP})
        texture = self.add("textures", {"source": image, "sampler": sampler})
        self.document["extensionsUsed"] = ["KHR_materials_unlit"]
        surface = {"baseColorTexture": {"index": texture}, "metallicFactor": 0, "roughnessFactor": 1}
        material = {"name": "picture", "pbrMetallicRoughness": surface, "extensions": {"KHR_materials_unlit": {}}}
        return self.add("materials", material | {"doubleSided": True})

    def add_mesh(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        colors: np.ndarray | None = None,
        material: int = 0,
        **attributes: np.ndarray,
    ) -> int:
        """vertices (V, 3) metres, faces (F, 3), colors (V, 3) uint8 sRGB, more attributes (V, ...) -> mesh index."""
        arrays = {"NORMAL": vertex_normals(vertices, faces), **attributes}
        accessors = {"POSITION": self.add_array(vertices.astype(np.float32), ARRAY_BUFFER, bounds=True)}
        if colors is not None:
            linear = np.column_stack(((colors / 255) ** 2.2, np.ones(len(colors))))  # glTF stores linear colours
            accessors["COLOR_0"] = self.add_array(
                (255 * linear).round().astype(np.uint8), ARRAY_BUFFER, normalized=True
            )
        accessors |= {name: self.add_array(array, ARRAY_BUFFER) for name, array in arrays.items()}
        indices = self.add_array(faces.astype(np.uint32).reshape(-1), ELEMENT_ARRAY_BUFFER)
        return self.add("meshes", {"primitives": [{"attributes": accessors, "indices": indices, "material": material}]})

    def save(self, path: str | Path):
        """Write the .glb atomically."""
        document = {**self.document, "buffers": [{"byteLength": len(self.data)}]}
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        data = bytes(self.data) + b"\0" * (-len(self.data) % 4)
        size = 12 + 8 + len(text) + 8 + len(data)
        chunks = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON") + text
        with atomic_path(path) as temporary:
            temporary.write_bytes(chunks + struct.pack("<I4s", len(data), b"BIN\0") + data)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """`mesh_normals` in float64 -> unit normals (V, 3) float32; (0, 1, 0) without a face, as glTF wants length 1."""
    normals, _ = mesh_normals(torch.from_numpy(vertices.astype(np.float64)), torch.from_numpy(faces.astype(np.int64)))
    normals[(normals == 0).all(1)] = torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64)
    return normals.numpy().astype(np.float32)
