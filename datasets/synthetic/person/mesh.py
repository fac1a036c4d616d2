"""From a body, a pose and an outfit to one triangle mesh in the camera frame, with everything that shading wants to
know."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from datasets.synthetic.raster.rasterizer import vertex_normals

_COVERED = 0.012  # skin deeper than this (metres) inside a garment is not drawn
_OPEN = 0.1  # this near a hem (metres) the inside of a garment may be seen


@dataclass
class Mesh:
    """points (V, 3) camera frame, metres; attributes (V, 10): the point, its normal, its place in the rest pose and
    how open it is to the sky (side by side, as shading reads them together); coverage (V,); faces (F, 3);
    layer (F,) row of materials; corner (F,) row of the body's uv_faces or -1; two_sided (F,); materials (L,)."""

    points: np.ndarray
    attributes: np.ndarray
    coverage: np.ndarray
    faces: np.ndarray
    layer: np.ndarray
    corner: np.ndarray
    two_sided: np.ndarray
    materials: np.ndarray


@njit(cache=True, error_model="numpy")
def _compact(faces, coverage, hidden):
    """Faces with a covered corner and a corner not hidden -> their numbers, renumbered corners, whether they are near a
    hem, used vertices."""
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
def _pose_sheet(used, points, shapedirs, betas, normals, offset, bones, weights, transforms):
    """Shape, push outwards and skin the `used` vertices of a sheet -> (M, 3) float32."""
    out = np.empty((used.shape[0], 3), np.float32)
    for m in range(used.shape[0]):
        i = used[m]
        # three sums side by side: each alone would wait for its own last addition
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
                t = bones[i, k]  # no view of transforms: counting references to it would cost more than the product
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


def _unit_shapes():
    """Points and outward faces of a ball, box and rod that fit [-1, 1]."""
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
    # a box with corners of its own for every side, so that its edges stay sharp
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


def build_mesh(body, wardrobe, openness, look, betas, transforms, to_camera):
    """Dress a posed body.

    body: Body; wardrobe: Wardrobe; openness (V,) of the body's surface; look: as `synthetic_outfits.dress` returns it;
    betas (10,); transforms (24, 3, 4) rest to world; to_camera (3, 4) world to camera. -> Mesh
    """
    skin, _, layers, props = look
    count = len(body.template)
    betas = np.asarray(betas, np.float32)
    matrix = to_camera[:, :3] @ transforms
    matrix[:, :, 3] += to_camera[:, 3]
    transforms = np.concatenate((matrix, to_camera[None])).astype(np.float32)  # the last one is for things in the world
    closed = [layer for layer in layers if layer.hides_skin]

    def hidden(offset, own=None):
        """Vertices (V,) of the body's surface, pushed outwards by `offset`, that lie deep under another garment."""
        under = np.zeros(count, bool)
        for layer in closed:
            if layer is not own:
                under |= (layer.coverage > _COVERED) & (layer.offset > offset)
        return under

    nothing, everywhere = np.zeros(count, np.float32), np.ones(count, np.float32)
    parts, materials = [], [skin]

    def add(points, rest, openness, coverage, faces, corner, two_sided):
        parts.append((points, rest, openness, coverage, faces, corner, two_sided))

    kept, corners, _, used = _compact(body.faces, everywhere, hidden(nothing))
    points = _pose_sheet(
        used,
        body.template,
        body.shapedirs,
        betas,
        wardrobe.sheets["tight"].normals,
        nothing,
        body.bones,
        body.weights,
        transforms,
    )
    add(points, body.template[used], openness[used], everywhere[used], corners, kept, False)
    for layer in layers:
        sheet = wardrobe.sheets[layer.sheet]
        on_body = len(sheet.points) == count
        under = hidden(layer.offset, layer) if on_body else np.zeros(len(sheet.points), bool)
        kept, corners, hem, used = _compact(sheet.faces, layer.coverage, under)
        points = _pose_sheet(
            used,
            sheet.points,
            sheet.shapedirs,
            betas,
            sheet.normals,
            layer.offset,
            sheet.bones,
            sheet.weights,
            transforms,
        )
        add(
            points,
            sheet.points[used],
            openness[used] if on_body else np.full(len(used), 0.9, np.float32),
            layer.coverage[used],
            corners,
            kept if on_body else np.full(len(kept), -1, np.int32),
            hem if on_body else True,
        )
        materials.append(layer.material)
    for prop in props:
        unit, faces = _SHAPES[prop.shape]
        rest = (unit @ prop.affine[:, :3].T + prop.affine[:, 3]).astype(np.float32)
        t = transforms[prop.bone]
        points = (rest @ t[:, :3].T + t[:, 3]).astype(np.float32)
        ones = np.ones(len(rest), np.float32)
        add(points, rest, ones, ones, faces, np.full(len(faces), -1, np.int32), False)
        materials.append(prop.material)

    shifts = np.cumsum([0] + [len(part[0]) for part in parts[:-1]])
    points = np.concatenate([part[0] for part in parts])
    faces = np.concatenate([part[4] + np.int32(shift) for part, shift in zip(parts, shifts, strict=True)])
    return Mesh(
        points=points,
        attributes=np.column_stack(
            (
                points,
                vertex_normals(points, faces),
                np.concatenate([part[1] for part in parts]),
                np.concatenate([part[2] for part in parts]),
            )
        ),
        coverage=np.concatenate([part[3] for part in parts]),
        faces=faces,
        layer=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part[4]) for part in parts]),
        corner=np.concatenate([part[5] for part in parts]).astype(np.int32),
        two_sided=np.concatenate([np.broadcast_to(part[6], len(part[4])) for part in parts]),
        materials=np.array(materials),
    )


def join(meshes):
    """Several meshes -> one; layers are numbered on."""
    points = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]])
    layers = np.cumsum([0] + [len(mesh.materials) for mesh in meshes[:-1]])

    def together(name):
        return np.concatenate([getattr(mesh, name) for mesh in meshes])

    return Mesh(
        points=together("points"),
        attributes=together("attributes"),
        coverage=together("coverage"),
        faces=np.concatenate([mesh.faces + np.int32(shift) for mesh, shift in zip(meshes, points, strict=True)]),
        layer=np.concatenate([mesh.layer + np.int32(shift) for mesh, shift in zip(meshes, layers, strict=True)]),
        corner=together("corner"),
        two_sided=together("two_sided"),
        materials=together("materials"),
    )
