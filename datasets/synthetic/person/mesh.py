"""From a body, a pose and an outfit to one triangle mesh in the camera frame, with all that shading needs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from datasets.synthetic.person.look import Look
from datasets.synthetic.person.wardrobe import Layer, Prop, Sheet, Wardrobe
from datasets.synthetic.raster.rasterizer import area_weighted_normals

_COVERED = 0.012  # metres from the hem; surfaces further inside a garment are hidden by it
_OPEN = 0.1  # metres from the hem; the inner side of a garment may be visible there


class Mesh(NamedTuple):
    """One triangle mesh of several layers (skin, garments, props).

    points (V, 3) float32: camera frame, metres. attributes (V, 10) float32: point, unit normal, rest-pose point
    (metres) and openness to the sky, side by side because shading reads them together. coverage (V,) float32: metres,
    see `rasterize`. faces (F, 3) int32. layer (F,) int32: row of materials. corner (F,) int32: row of the body's
    uv_faces, or -1. two_sided (F,) bool. materials (L,) MATERIAL.
    """

    points: np.ndarray
    attributes: np.ndarray
    coverage: np.ndarray
    faces: np.ndarray
    layer: np.ndarray
    corner: np.ndarray
    two_sided: np.ndarray
    materials: np.ndarray


@njit(cache=True, error_model="numpy")
def _compact(
    faces: np.ndarray, coverage: np.ndarray, hidden: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Faces with a covered corner and a corner that is not hidden -> their numbers (K,), renumbered corners (K, 3),
    whether they are near a hem (K,), numbers of the vertices in use (M,)."""
    new_number = np.full(coverage.shape[0], -1, np.int32)
    used = np.empty(coverage.shape[0], np.int32)
    kept = np.empty(faces.shape[0], np.int32)
    corners = np.empty(faces.shape, np.int32)
    hem = np.empty(faces.shape[0], np.bool_)
    num_used, num_kept = 0, 0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if coverage[a] <= 0 and coverage[b] <= 0 and coverage[c] <= 0:
            continue
        if hidden[a] and hidden[b] and hidden[c]:
            continue
        kept[num_kept] = f
        hem[num_kept] = min(coverage[a], coverage[b], coverage[c]) < _OPEN
        for k in range(3):
            vertex = faces[f, k]
            if new_number[vertex] < 0:
                new_number[vertex] = num_used
                used[num_used] = vertex
                num_used += 1
            corners[num_kept, k] = new_number[vertex]
        num_kept += 1
    return kept[:num_kept], corners[:num_kept], hem[:num_kept], used[:num_used]


@njit(cache=True, error_model="numpy")
def _pose_sheet(
    used: np.ndarray, sheet: Sheet, offset: np.ndarray, betas: np.ndarray, transforms: np.ndarray
) -> np.ndarray:
    """Shape, offset along the normals and skin the vertices `used` (M,) of a Sheet -> (M, 3) float32, metres."""
    points, shapedirs, bones, weights, _, normals = sheet
    out = np.empty((used.shape[0], 3), np.float32)
    for m in range(used.shape[0]):
        i = used[m]
        # three sums at once: a single one would wait for its own previous addition
        x = points[i, 0] + offset[i] * normals[i, 0]
        y = points[i, 1] + offset[i] * normals[i, 1]
        z = points[i, 2] + offset[i] * normals[i, 2]
        for k in range(betas.shape[0]):
            x += shapedirs[i, 0, k] * betas[k]
            y += shapedirs[i, 1, k] * betas[k]
            z += shapedirs[i, 2, k] * betas[k]
        qx, qy, qz = np.float32(0), np.float32(0), np.float32(0)
        for k in range(bones.shape[1]):
            w = weights[i, k]
            if w != 0.0:
                t = bones[i, k]  # a view transforms[t] would cost more in reference counts than the product
                qx += w * (
                    transforms[t, 0, 0] * x + transforms[t, 0, 1] * y + transforms[t, 0, 2] * z + transforms[t, 0, 3]
                )
                qy += w * (
                    transforms[t, 1, 0] * x + transforms[t, 1, 1] * y + transforms[t, 1, 2] * z + transforms[t, 1, 3]
                )
                qz += w * (
                    transforms[t, 2, 0] * x + transforms[t, 2, 1] * y + transforms[t, 2, 2] * z + transforms[t, 2, 3]
                )
        out[m, 0], out[m, 1], out[m, 2] = qx, qy, qz
    return out


def _unit_shapes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Points (N, 3) in [-1, 1] and outward faces (F, 3) of a ball, a box and a rod."""
    rows, columns = 9, 14
    polar, turn = np.meshgrid(
        np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij"
    )
    ball = np.stack((np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)), -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    k = (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + k, (i + 1) * columns + j, (i + 1) * columns + k
    ball_faces = np.stack((a, c, b, b, c, d), -1).reshape(-1, 3)
    rod = ball.copy()
    rod[:, :2] = np.stack((ball[:, 0], ball[:, 2]), -1)
    rod[:, 2] = -np.clip(ball[:, 1] * 1.6, -1, 1)
    # every side of the box has its own corners, so that normals are not averaged over edges
    sides, side_faces = [], []
    for axis in range(3):
        for sign in (-1, 1):
            u, v = [(0, 1, 2), (1, 2, 0), (2, 0, 1)][axis][1:]
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            corners[:, u] = (-1, 1, 1, -1)
            corners[:, v] = (-1, -1, 1, 1)
            order = np.array([(0, 1, 2), (0, 2, 3)]) if sign > 0 else np.array([(0, 2, 1), (0, 3, 2)])
            side_faces.append(order + 4 * len(sides))
            sides.append(corners)
    return {
        "ball": (ball, ball_faces.astype(np.int32)),
        "rod": (rod, ball_faces.astype(np.int32)),
        "box": (np.concatenate(sides), np.concatenate(side_faces).astype(np.int32)),
    }


_SHAPES = _unit_shapes()


class _Part(NamedTuple):
    """One layer of a Mesh; two_sided is one value per face or one for all."""

    points: np.ndarray
    rest: np.ndarray
    openness: np.ndarray
    coverage: np.ndarray
    faces: np.ndarray
    corner: np.ndarray
    two_sided: np.ndarray | bool


def build_mesh(
    wardrobe: Wardrobe, openness: np.ndarray, look: Look, betas: np.ndarray, transforms: np.ndarray,
    to_camera: np.ndarray,
) -> Mesh:  # fmt: skip
    """Dress a posed body.

    openness (V,): of the body's surface, from `ambient_occlusion`; betas (10,); transforms (24, 3, 4): rest pose to
    world; to_camera (3, 4): world to camera. Layer 0 of the mesh is the skin.
    """
    betas = np.asarray(betas, np.float32)
    matrix = to_camera[:, :3] @ transforms
    matrix[:, :, 3] += to_camera[:, 3]
    # the last transform, number -1, is for props in the world
    transforms = np.concatenate((matrix, to_camera[None])).astype(np.float32)
    count = len(openness)
    skin = Layer("skin", np.ones(count, np.float32), np.zeros(count, np.float32), look.skin, hides_skin=False)
    layers = [skin, *look.layers]
    parts = [
        _layer_part(layer, wardrobe.sheets[layer.sheet], layers, openness, betas, transforms) for layer in layers
    ] + [_prop_part(prop, transforms[prop.bone]) for prop in look.props]
    return _concatenate(parts, [item.material for item in (*layers, *look.props)])


def _layer_part(
    layer: Layer, sheet: Sheet, layers: list[Layer], openness: np.ndarray, betas: np.ndarray, transforms: np.ndarray
) -> _Part:
    """The visible faces of one layer of skin, cloth or hair; sheets with as many vertices as the body lie on it."""
    on_body = len(sheet.points) == len(openness)
    hidden = np.zeros(len(sheet.points), bool)
    if on_body:
        for other in layers:
            if other.hides_skin and other is not layer:
                hidden |= (other.coverage > _COVERED) & (other.offset > layer.offset)
    kept, corners, hem, used = _compact(sheet.faces, layer.coverage, hidden)
    return _Part(
        points=_pose_sheet(used, sheet, layer.offset, betas, transforms),
        rest=sheet.points[used],
        openness=openness[used] if on_body else np.full(len(used), 0.9, np.float32),
        coverage=layer.coverage[used],
        faces=corners,
        corner=kept if on_body else np.full(len(kept), -1, np.int32),
        two_sided=hem if on_body else True,
    )


def _prop_part(prop: Prop, transform: np.ndarray) -> _Part:
    """A rigid prop moved by transform (3, 4)."""
    unit, faces = _SHAPES[prop.shape]
    rest = (unit @ prop.affine[:, :3].T + prop.affine[:, 3]).astype(np.float32)
    points = (rest @ transform[:, :3].T + transform[:, 3]).astype(np.float32)
    ones = np.ones(len(rest), np.float32)
    return _Part(points, rest, ones, ones, faces, np.full(len(faces), -1, np.int32), False)


def _concatenate(parts: list[_Part], materials: list[np.ndarray]) -> Mesh:
    shifts = np.cumsum([0] + [len(part.points) for part in parts[:-1]])
    points = np.concatenate([part.points for part in parts])
    faces = np.concatenate([part.faces + np.int32(shift) for part, shift in zip(parts, shifts, strict=True)])
    rest, openness = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rest", "openness"))
    sizes = [len(part.faces) for part in parts]
    return Mesh(
        points=points,
        attributes=np.column_stack((points, area_weighted_normals(points, faces), rest, openness)),
        coverage=np.concatenate([part.coverage for part in parts]),
        faces=faces,
        layer=np.repeat(np.arange(len(parts), dtype=np.int32), sizes),
        corner=np.concatenate([part.corner for part in parts]).astype(np.int32),
        two_sided=np.concatenate(
            [np.broadcast_to(part.two_sided, size) for part, size in zip(parts, sizes, strict=True)]
        ),
        materials=np.array(materials),
    )


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes -> one; the layers of each follow those of the one before."""
    points = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]])
    layers = np.cumsum([0] + [len(mesh.materials) for mesh in meshes[:-1]])
    joined = Mesh(*map(np.concatenate, zip(*meshes, strict=True)))
    return joined._replace(
        faces=np.concatenate([mesh.faces + np.int32(shift) for mesh, shift in zip(meshes, points, strict=True)]),
        layer=np.concatenate([mesh.layer + np.int32(shift) for mesh, shift in zip(meshes, layers, strict=True)]),
    )
