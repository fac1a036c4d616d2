"""A small software rasteriser for triangle meshes: depth buffer, face numbers per pixel, shadow maps.

Compiled by numba (cached on disk, single-threaded, no fast-math, so that every machine draws the same picture).
Frames: the camera frame has x right, y down, z forward, in metres. Pixel centres lie at whole numbers. Pictures are
drawn on a grid of `SUPERSAMPLING` samples per pixel and axis, whose centres are spread evenly over each pixel.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

SUPERSAMPLING = 2


class Raster(NamedTuple):
    """A drawn mesh: screen (V, 3) float32 as `rasterize` takes it, the key and index (samples * H, samples * W) that it
    returns, and samples per pixel and axis."""

    screen: np.ndarray
    key: np.ndarray
    index: np.ndarray
    samples: int


class Shadow(NamedTuple):
    """A shadow map: depth keys (n, n) of the surfaces nearest to the light, the affine map (3, 4) from the camera frame
    to the shadow map, and the strength of the shadow on the background, from 0 to 1."""

    depth: np.ndarray
    affine: np.ndarray
    strength: float


@njit(cache=True, error_model="numpy")
def perspective(points: np.ndarray, focal: float, cx: float, cy: float) -> np.ndarray:
    """points (N, 3) float32, camera frame, metres -> (N, 3) float32: x, y in pixels and 1 / z (0 behind the camera).

    focal, cx, cy: focal length and principal point in pixels.
    """
    out = np.empty((points.shape[0], 3), np.float32)
    for i in range(points.shape[0]):
        z = points[i, 2]
        if z < 0.05:
            out[i, 0] = 0.0
            out[i, 1] = 0.0
            out[i, 2] = 0.0
        else:
            out[i, 0] = focal * points[i, 0] / z + cx
            out[i, 1] = focal * points[i, 1] / z + cy
            out[i, 2] = 1.0 / z
    return out


@njit(cache=True, error_model="numpy")
def rasterize(
    screen: np.ndarray, faces: np.ndarray, coverage: np.ndarray, two_sided: np.ndarray, height: int, width: int,
    samples: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Draw triangles into a z-buffer.

    screen (V, 3) float32: x, y in pixels and a depth key that grows towards the viewer and is linear on screen (1 / z).
    faces (F, 3) int32. coverage (V,) float32: the surface has a hole where the interpolated coverage is negative (hems,
    necklines, hair lines). two_sided (F,) bool: False drops back faces (corners clockwise to the viewer).
    -> key (samples * height, samples * width) float32, 0 at empty samples; face number int32, -1 at empty samples.
    """
    rows, columns = samples * height, samples * width
    key = np.zeros((rows, columns), np.float32)
    index = np.full((rows, columns), -1, np.int32)
    shift = 0.5 * (samples - 1)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
        if za <= 0.0 or zb <= 0.0 or zc <= 0.0:
            continue
        ca, cb, cc = coverage[a], coverage[b], coverage[c]
        if ca < 0.0 and cb < 0.0 and cc < 0.0:
            continue
        xa, ya = screen[a, 0] * samples + shift, screen[a, 1] * samples + shift
        xb, yb = screen[b, 0] * samples + shift, screen[b, 1] * samples + shift
        xc, yc = screen[c, 0] * samples + shift, screen[c, 1] * samples + shift
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area == 0.0 or (area > 0.0 and not two_sided[f]):
            continue
        x0 = max(int(np.ceil(min(xa, xb, xc))), 0)
        x1 = min(int(np.floor(max(xa, xb, xc))), columns - 1)
        y0 = max(int(np.ceil(min(ya, yb, yc))), 0)
        y1 = min(int(np.floor(max(ya, yb, yc))), rows - 1)
        if x0 > x1 or y0 > y1:
            continue
        holes = ca < 0.0 or cb < 0.0 or cc < 0.0
        # weights of corners a and b, and the key, are linear in x and y
        u_x, u_y = (yb - yc) / area, (xc - xb) / area
        v_x, v_y = (yc - ya) / area, (xa - xc) / area
        z_x, z_y = u_x * (za - zc) + v_x * (zb - zc), u_y * (za - zc) + v_y * (zb - zc)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                u = u_x * (x - xc) + u_y * (y - yc)
                v = v_x * (x - xc) + v_y * (y - yc)
                if u < -1e-6 or v < -1e-6 or u + v > 1.000001:
                    continue
                z = np.float32(zc + z_x * (x - xc) + z_y * (y - yc))
                if z <= key[y, x] or (holes and u * ca + v * cb + (1.0 - u - v) * cc < 0.0):
                    continue
                key[y, x] = z
                index[y, x] = f
    return key, index


@njit(cache=True, error_model="numpy")
def barycentric(screen: np.ndarray, faces: np.ndarray, f: int, x: float, y: float) -> tuple[float, float, float]:
    """Perspective-correct weights of the three corners of face f at pixel (x, y); screen as in `rasterize`."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    xa, ya, xb, yb, xc, yc = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    u = ((xb - x) * (yc - y) - (xc - x) * (yb - y)) / area
    v = ((xc - x) * (ya - y) - (xa - x) * (yc - y)) / area
    u = min(max(u, 0.0), 1.0) * screen[a, 2]
    v = min(max(v, 0.0), 1.0) * screen[b, 2]
    w = max(1.0 - u / screen[a, 2] - v / screen[b, 2], 0.0) * screen[c, 2]
    total = u + v + w
    return u / total, v / total, w / total


@njit(cache=True, error_model="numpy")
def area_weighted_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """points (V, 3), faces (F, 3) -> unit vertex normals (V, 3) float32, weighted by face area, pointing outwards."""
    normals = np.zeros(points.shape, np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for i in range(points.shape[0]):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        normals[i, 0] /= length
        normals[i, 1] /= length
        normals[i, 2] /= length
    return normals


@njit(cache=True, error_model="numpy")
def look_along(points: np.ndarray, direction: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthographic view of points (V, 3) along the unit vector `direction` (3,), fitted to a square of `size` pixels.

    -> screen (V, 3) float32 for `rasterize`, and the affine map (3, 4) float32 from the frame of the points to it.
    """
    # the first axis must not be parallel to the direction
    up = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(direction, up)
    right /= np.sqrt((right * right).sum())
    down = np.cross(direction, right)
    axes = np.empty((3, 3))
    axes[0], axes[1], axes[2] = right, down, direction
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for i in range(points.shape[0]):
        for k in range(3):
            value = axes[k, 0] * points[i, 0] + axes[k, 1] * points[i, 1] + axes[k, 2] * points[i, 2]
            low[k] = min(low[k], value)
            high[k] = max(high[k], value)
    step = max(high[0] - low[0], high[1] - low[1]) / (size - 5) + 1e-9
    affine = np.zeros((3, 4), np.float32)
    for k in range(2):
        affine[k, :3] = axes[k] / step
        affine[k, 3] = 2.0 - low[k] / step
    affine[2, :3] = -axes[2]  # grows towards the light
    affine[2, 3] = high[2] + 1.0
    screen = np.empty((points.shape[0], 3), np.float32)
    for i in range(points.shape[0]):
        for k in range(3):
            screen[i, k] = (
                affine[k, 0] * points[i, 0] + affine[k, 1] * points[i, 1] + affine[k, 2] * points[i, 2] + affine[k, 3]
            )
    return screen, affine


@njit(cache=True, error_model="numpy")
def lit(shadow_map: np.ndarray, affine: np.ndarray, x: float, y: float, z: float, bias: float) -> float:
    """Share of the light that reaches point (x, y, z) in the camera frame: 0 to 1, bilinear over four texels of the
    shadow map; 1 outside the map. bias: added to the depth key, in metres, against self-shadowing."""
    u = affine[0, 0] * x + affine[0, 1] * y + affine[0, 2] * z + affine[0, 3]
    v = affine[1, 0] * x + affine[1, 1] * y + affine[1, 2] * z + affine[1, 3]
    key = affine[2, 0] * x + affine[2, 1] * y + affine[2, 2] * z + affine[2, 3] + bias
    key = max(key, 0.0)  # far behind everything: lit only at empty texels
    if not (u >= 0.0 and v >= 0.0 and u < shadow_map.shape[1] - 1 and v < shadow_map.shape[0] - 1):
        return 1.0
    i, j = int(v), int(u)
    s, t = u - j, v - i
    share = 0.0
    if shadow_map[i, j] <= key:
        share += (1 - s) * (1 - t)
    if shadow_map[i, j + 1] <= key:
        share += s * (1 - t)
    if shadow_map[i + 1, j] <= key:
        share += (1 - s) * t
    if shadow_map[i + 1, j + 1] <= key:
        share += s * t
    return share


def ambient_occlusion(
    points: np.ndarray, faces: np.ndarray, directions: int = 48, size: int = 256, bias: float = 0.02
) -> np.ndarray:
    """Ambient light that reaches each vertex: points (V, 3), faces (F, 3) -> (V,) float32 in [0, 1], 1 is unoccluded.

    One shadow map of size x size texels per direction decides whether a vertex is lit; directions are weighted by the
    cosine to the vertex normal.
    """
    normals = area_weighted_normals(points, faces)
    # Fibonacci sphere: evenly spread, the same on every machine
    k = np.arange(directions) + 0.5
    elevation, turn = np.arccos(1 - 2 * k / directions), np.pi * (1 + 5**0.5) * k
    towards = np.stack((np.cos(turn) * np.sin(elevation), np.sin(turn) * np.sin(elevation), np.cos(elevation)), -1)
    whole, sides = np.ones(len(points), np.float32), np.ones(len(faces), bool)
    opened, possible = np.zeros(len(points)), np.zeros(len(points))
    for direction in towards:
        screen, _ = look_along(points, -direction, size)
        key, _ = rasterize(screen, faces, whole, sides, size, size, 1)
        column, row = np.round(screen[:, 0]).astype(int), np.round(screen[:, 1]).astype(int)
        cosine = np.maximum(normals @ direction, 0)
        opened += cosine * (key[row, column] <= screen[:, 2] + bias)
        possible += cosine
    return (opened / possible).astype(np.float32)
