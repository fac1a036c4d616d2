"""Shading of rasterised people: skin, cloth with patterns and folds, hair and plain things under sky light and a sun.

Light is summed in linear RGB; the finished picture is sRGB. Every surface has one row of `patterns.MATERIAL`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from datasets.synthetic.person.mesh import Mesh
from datasets.synthetic.person.patterns import HAIR, SKIN, cloth_color
from datasets.synthetic.raster.color import SRGB_TABLE
from datasets.synthetic.raster.noise import noise2, noise3
from datasets.synthetic.raster.rasterizer import Raster, Shadow, barycentric, lit


class SkinTexture(NamedTuple):
    """Texture coordinates of the body, uv (T, 2) in [0, 1] and uv_faces (F, 3), and texture (H, W, 5) float32: RGB, the
    share of it that the skin tone tints, the share that is hair (see `datasets.synthetic.person.skin`)."""

    uv: np.ndarray
    uv_faces: np.ndarray
    texture: np.ndarray


class Light(NamedTuple):
    """Light on the people. irradiance (9, 3): spherical harmonics of the sky in the sky's frame; to_sky (3, 3):
    rotation from the camera frame to the sky's frame; sun (3,): unit vector towards the sun, camera frame; sun_color
    (3,): linear RGB; shadow: of the sun; exposure: factor on all light."""

    irradiance: np.ndarray
    to_sky: np.ndarray
    sun: np.ndarray
    sun_color: np.ndarray
    shadow: Shadow
    exposure: float


@njit(cache=True, error_model="numpy")
def irradiance_at(sh: np.ndarray, x: float, y: float, z: float, out: np.ndarray) -> None:
    """Irradiance of a surface with unit normal (x, y, z) -> out (3,). sh (9, 3): spherical harmonics of the light,
    already convolved with the cosine (Ramamoorthi and Hanrahan, SIGGRAPH 2001)."""
    for c in range(3):
        value = sh[0, c] + sh[1, c] * y + sh[2, c] * z + sh[3, c] * x
        value += sh[4, c] * x * y + sh[5, c] * y * z + sh[6, c] * (3 * z * z - 1) + sh[7, c] * x * z
        out[c] = max(value + sh[8, c] * (x * x - y * y), 0.0)


@njit(cache=True, error_model="numpy")
def texel(texture: np.ndarray, u: float, v: float, out: np.ndarray) -> None:
    """Bilinear sample of texture (H, W, C) at (u, v) in [0, 1], v upwards -> out (C,)."""
    height, width = texture.shape[0], texture.shape[1]
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    x, y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
    j, i = int(x), int(y)
    s, t = x - j, y - i
    for c in range(texture.shape[2]):
        top = texture[i, j, c] * (1 - s) + texture[i, j + 1, c] * s
        bottom = texture[i + 1, j, c] * (1 - s) + texture[i + 1, j + 1, c] * s
        out[c] = top * (1 - t) + bottom * t


@njit(cache=True, error_model="numpy")
def shade_people(
    raster: Raster, mesh: Mesh, skin: SkinTexture, fabrics: np.ndarray, geometry: np.ndarray, light: Light
) -> np.ndarray:
    """Colour every pixel that shows a surface.

    fabrics (N, h, w, 3): linear RGB pictures for pattern IMAGE; geometry (7,): see `cloth_color`. -> (H, W, 4) float32:
    sRGB times alpha, alpha.
    """
    screen, key, index, samples = raster
    faces, attributes, face_layer, face_corner = mesh.faces, mesh.attributes, mesh.layer, mesh.corner
    materials, uv, uv_faces, skin_texture = mesh.materials, skin.uv, skin.uv_faces, skin.texture
    sh, to_sky, sun, sun_color, shadow, exposure = light
    shadow_map, shadow_affine = shadow.depth, shadow.affine
    rows, columns = index.shape[0] // samples, index.shape[1] // samples
    out = np.zeros((rows, columns, 4), np.float32)
    color, sky, detail, surface = np.empty(3), np.empty(3), np.empty(5), np.empty(10)
    colors = np.empty((materials.shape[0], 9))  # numba reads plain arrays faster than those inside records
    for layer in range(materials.shape[0]):
        for c2 in range(3):
            colors[layer, c2] = materials[layer].color[c2]
            colors[layer, 3 + c2] = materials[layer].second[c2]
            colors[layer, 6 + c2] = materials[layer].third[c2]
    count = samples * samples
    done = np.empty(count, np.bool_)
    down, right = np.empty(count, np.int64), np.empty(count, np.int64)
    for k in range(count):
        down[k], right[k] = k // samples, k % samples
    for row in range(rows):
        for column in range(columns):
            for k in range(count):
                done[k] = index[row * samples + down[k], column * samples + right[k]] < 0
            for k in range(count):
                if done[k]:
                    continue
                i, j = row * samples + down[k], column * samples + right[k]
                f = index[i, j]
                layer = face_layer[f]
                # samples of the same surface are shaded once
                x_mean, y_mean, share = 0.0, 0.0, 0
                for m in range(k, count):
                    i2, j2 = row * samples + down[m], column * samples + right[m]
                    near = abs(key[i2, j2] - key[i, j]) < 0.02 * key[i, j]
                    if not done[m] and face_layer[index[i2, j2]] == layer and near:
                        done[m] = True
                        share += 1
                        x_mean += j2
                        y_mean += i2
                x = (x_mean / share + 0.5) / samples - 0.5
                y = (y_mean / share + 0.5) / samples - 0.5
                u, v, w = barycentric(screen, faces, f, x, y)
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                for c2 in range(10):
                    value = u * attributes[a, c2] + v * attributes[b, c2] + w * attributes[c, c2]
                    surface[c2] = value
                qx, qy, qz, nx, ny, nz, px, py, pz, opened = (
                    surface[0], surface[1], surface[2], surface[3], surface[4], surface[5], surface[6], surface[7],
                    surface[8], surface[9],
                )  # fmt: skip
                material = materials[layer]
                distance = np.sqrt(qx * qx + qy * qy + qz * qz)
                vx, vy, vz = -qx / distance, -qy / distance, -qz / distance
                inside = nx * vx + ny * vy + nz * vz < -0.2
                if inside:  # the inner side of a sleeve or skirt is visible
                    nx, ny, nz = -nx, -ny, -nz
                    opened *= 0.5
                if material.kind == SKIN:
                    corner = face_corner[f]
                    ta, tb, tc = uv_faces[corner, 0], uv_faces[corner, 1], uv_faces[corner, 2]
                    s = u * uv[ta, 0] + v * uv[tb, 0] + w * uv[tc, 0]
                    t = u * uv[ta, 1] + v * uv[tb, 1] + w * uv[tc, 1]
                    texel(skin_texture, s, t, detail)
                    for c2 in range(3):
                        value = detail[c2] * (detail[3] * colors[layer, c2] + 1 - detail[3])
                        color[c2] = value * (1 - detail[4]) + colors[layer, 3 + c2] * detail[4]
                elif material.kind == HAIR:
                    turn = np.arctan2(px, pz - geometry[6])
                    strand = noise2(turn * 40, py * 12, material.seed)
                    strand = 0.5 * strand + 0.5 * noise3(px * 60, py * 25, pz * 60, material.seed)
                    for c2 in range(3):
                        color[c2] = colors[layer, c2] * (0.5 + strand)
                    nx += 0.5 * (strand - 0.5)
                    nz += 0.5 * (noise2(turn * 35, py * 10, material.seed + 3) - 0.5)
                else:
                    cloth_color(material, colors, layer, px, py, pz, geometry, fabrics, color)
                if material.bump > 0:
                    # folds: a slow and a fast noise field tilt the normal
                    scale = 1.0 / material.bump_period
                    ex, ey, ez = px * scale, py * scale * 0.7, pz * scale
                    strength = material.bump
                    fold = noise3(ex, ey, ez, material.seed) - 0.5
                    nx += strength * fold
                    ny += strength * (noise3(2.3 * ex, 2.3 * ey, 2.3 * ez + 5.3, material.seed) - 0.5)
                    opened *= 1 + 0.4 * strength * fold  # valleys are darker
                length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
                nx, ny, nz = nx / length, ny / length, nz / length
                if material.mottle > 0:
                    stain = 1 + material.mottle * (noise3(px * 14, py * 14, pz * 14, material.seed + 5) - 0.5)
                    for c2 in range(3):
                        color[c2] *= stain
                irradiance_at(
                    sh,
                    to_sky[0, 0] * nx + to_sky[0, 1] * ny + to_sky[0, 2] * nz,
                    to_sky[1, 0] * nx + to_sky[1, 1] * ny + to_sky[1, 2] * nz,
                    to_sky[2, 0] * nx + to_sky[2, 1] * ny + to_sky[2, 2] * nz,
                    sky,
                )
                cosine = nx * sun[0] + ny * sun[1] + nz * sun[2]
                reach = 0.0
                if cosine > -0.3:
                    reach = lit(shadow_map, shadow_affine, qx + 0.01 * nx, qy + 0.01 * ny, qz + 0.01 * nz, 0.012)
                highlight = 0.0
                if reach > 0 and cosine > 0:
                    hx, hy, hz = vx + sun[0], vy + sun[1], vz + sun[2]
                    half = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
                    toward = max((nx * hx + ny * hy + nz * hz) / half, 0.0)
                    # Schlick's approximation of toward ** gloss, which would cost ten times as much
                    highlight = material.specular * toward / (material.gloss * (1 - toward) + toward)
                rim = 1 - max(nx * vx + ny * vy + nz * vz, 0.0)
                rim = material.specular * 0.5 * rim * rim * rim
                weight = share / count
                for c2 in range(3):
                    wrap = 0.0
                    if material.kind == SKIN:  # subsurface scattering: light passes the terminator, red furthest
                        wrap = 0.25 if c2 == 0 else 0.08
                    direct = max((cosine + wrap) / (1 + wrap), 0.0) * reach * sun_color[c2]
                    value = color[c2] * (sky[c2] * opened + direct)
                    value += highlight * sun_color[c2] + rim * sky[c2] * opened
                    value = max(value * exposure, 0.0)
                    value = value / (1 + 0.35 * value) * 1.35 if value < 1 else 1.0  # compress highlights
                    out[row, column, c2] += weight * SRGB_TABLE[int(value * 4095)]
                out[row, column, 3] += weight
    return out
