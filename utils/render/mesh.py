"""Draw meshes as clay over a photograph: render_mesh and overlay. Parts of a mesh may be hatched.

A backend finds the visible face of each sample: `warp` casts rays (fast on every device), `pytorch3d` rasterises. Both
share the shading code, so that their pictures agree. Camera frame: metres, x right, y down, z away from the viewer.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.camera import Camera, Perspective
from utils.geometry import mesh_normals
from utils.render.shading import CLAY, darken_cavities, shade, to_srgb

BACKENDS = ("warp", "pytorch3d")
SUPERSAMPLING = 2
CHUNK = 1 << 21  # samples shaded at once; bounds the memory for a large photograph
STRIPES = 40  # pairs of stripes along the height of a hatched body
STRIPE = 5  # pixels, of the narrowest pair
GAP = 0.25  # opacity between the stripes


class RenderOptions(NamedTuple):
    """How to draw a mesh."""

    backend: str = "warp"  # one of BACKENDS
    color: tuple[float, float, float] = CLAY  # sRGB in [0, 1]
    supersampling: int = SUPERSAMPLING  # samples per pixel and axis; 1 is fast and has hard edges
    hatched: np.ndarray | None = None  # (V,) in [0, 1]: the surface is hatched where it is above 0.5


DEFAULT = RenderOptions()


class Rendering(NamedTuple):
    """Picture of a mesh; `alpha` is the covered part of each pixel."""

    rgb: np.ndarray  # (H, W, 3) uint8, black where alpha is 0
    mask: np.ndarray  # (H, W) bool, alpha >= 0.5
    depth: np.ndarray  # (H, W) float32 metres, inf where alpha is 0
    alpha: np.ndarray  # (H, W) float32 in [0, 1]
    hatched: np.ndarray  # (H, W) float32, the hatched part of each pixel, at most alpha


def render_mesh(
    vertices: np.ndarray | Tensor,
    faces: np.ndarray,
    camera: Camera,
    height: int,
    width: int,
    options: RenderOptions = DEFAULT,
) -> Rendering:
    """Draw a mesh, vertices (V, 3) metres in the camera frame and faces (F, 3), into a picture of height x width.

    A tensor on a GPU is drawn on that GPU. Faces are visible from both sides; parts behind a pinhole are not drawn.
    """
    result = _empty(height, width)
    box, part = render_part(vertices, faces, camera, height, width, options)
    for whole, piece in zip(result, part, strict=True):
        whole[box] = piece
    return result


def render_part(
    vertices: np.ndarray | Tensor,
    faces: np.ndarray,
    camera: Camera,
    height: int,
    width: int,
    options: RenderOptions = DEFAULT,
) -> tuple[tuple[slice, slice], Rendering]:
    """As `render_mesh`, but only the box that the mesh can cover -> rows and columns of the box, picture of it."""
    vertices = torch.as_tensor(vertices, dtype=torch.float32).detach()
    faces = torch.as_tensor(np.ascontiguousarray(faces, np.int64), device=vertices.device)
    left, top, right, bottom = _visible_box(vertices, camera, height, width)
    box = slice(top, bottom), slice(left, right)
    result = _empty(max(0, bottom - top), max(0, right - left))
    if not result.mask.size:
        return box, result
    paint = _Painter(vertices, faces, options)
    samples = options.supersampling
    rows = max(1, CHUNK // samples**2 // (right - left))
    for start in range(top, bottom, rows):
        end = min(start + rows, bottom)
        rgb, depth, alpha, hatched = paint(camera.window(left, start, samples), end - start, right - left)
        strip = slice(start - top, end - top)
        result.rgb[strip], result.depth[strip], result.alpha[strip], result.hatched[strip] = rgb, depth, alpha, hatched
    result.mask[:] = result.alpha >= 0.5
    if result.mask.any():
        scale = camera.fx / np.median(result.depth[result.mask]) if isinstance(camera, Perspective) else camera.scale
        result.rgb[:] = darken_cavities(result.rgb, result.depth, result.alpha, abs(scale))
    return box, result


def _empty(height: int, width: int) -> Rendering:
    return Rendering(
        rgb=np.zeros((height, width, 3), np.uint8),
        mask=np.zeros((height, width), bool),
        depth=np.full((height, width), np.inf, np.float32),
        alpha=np.zeros((height, width), np.float32),
        hatched=np.zeros((height, width), np.float32),
    )


def overlay(image: np.ndarray, rendering: Rendering) -> np.ndarray:
    """Lay a rendering over a picture (H, W, 3) uint8 of the same size -> (H, W, 3) uint8, with soft edges.

    The picture shines through between the stripes of hatched parts.
    """
    covered = rendering.alpha > 0
    alpha = rendering.alpha[covered][:, None]
    if rendering.hatched.any():
        rows, columns = np.nonzero(covered)
        pair = max(STRIPE, np.ptp(rows) / STRIPES)  # pixels across
        wave = np.abs((rows + columns) / (pair * np.sqrt(2)) % 1 - 0.5) * 2  # 0 in the middle of a stripe, 1 of a gap
        opacity = 1 - (1 - GAP) * np.clip((wave - 0.5) * pair / 2 + 0.5, 0, 1)  # edges one pixel wide
        alpha = alpha * (1 - rendering.hatched[covered] / rendering.alpha[covered] * (1 - opacity))[:, None]
    result = image.copy()
    result[covered] = (image[covered] * (1 - alpha) + rendering.rgb[covered] * alpha + 0.5).astype(np.uint8)
    return result


class _Painter:
    """Draws one mesh, raster by raster."""

    def __init__(self, vertices: Tensor, faces: Tensor, options: RenderOptions):
        self.vertices, self.faces = vertices, faces
        self.color, self.samples = options.color, options.supersampling
        hatched = None if options.hatched is None else torch.as_tensor(options.hatched, dtype=torch.float32)
        self.hatched = None if hatched is None else hatched.to(vertices.device)
        self.normals, self.face_normals = mesh_normals(vertices, faces)
        self.cast = _make_caster(options.backend, vertices, faces)

    def __call__(self, camera: Camera, height: int, width: int) -> tuple[np.ndarray, ...]:
        """Draw height x width pixels -> rgb (H, W, 3) uint8, depth, alpha, hatched (H, W). camera: to samples."""
        size = (height * self.samples, width * self.samples)
        face, barycentric, depth = self.cast(camera, *size)
        hit = face >= 0
        visible, weights = face[hit].long(), barycentric[hit][..., None]
        points = (self.vertices[self.faces[visible]] * weights).sum(1)
        normals = F.normalize((self.normals[self.faces[visible]] * weights).sum(1), dim=-1)
        viewer = -points if isinstance(camera, Perspective) else points.new_tensor((0.0, 0.0, -1.0)).expand_as(points)
        to_viewer = F.normalize(viewer, dim=-1)
        inside = (self.face_normals[visible] * to_viewer).sum(-1, keepdim=True) < 0
        light = torch.zeros(*size, 3, device=points.device)
        light[hit] = shade(torch.where(inside, -normals, normals), to_viewer, self.color)

        alpha = _pool(hit.float(), self.samples)
        covered = alpha.clamp_min(1e-6)
        rgb = (255 * to_srgb(_pool(light, self.samples) / covered[..., None]) + 0.5).to(torch.uint8)
        depth = torch.where(alpha > 0, _pool(torch.where(hit, depth, 0), self.samples) / covered, torch.inf)
        hatched = torch.zeros_like(alpha)
        if self.hatched is not None:
            samples = torch.zeros(*size, device=points.device)
            samples[hit] = ((self.hatched[self.faces[visible]] * weights[..., 0]).sum(1) > 0.5).float()
            hatched = _pool(samples, self.samples)
        return rgb.cpu().numpy(), depth.cpu().numpy(), alpha.cpu().numpy(), hatched.cpu().numpy()


def _make_caster(backend: str, vertices: Tensor, faces: Tensor):
    # imported when used: each takes at least half a second to load, and only one is needed
    if backend == "warp":
        from utils.render.raycast_warp import RayCaster

        return RayCaster(vertices, faces)
    if backend == "pytorch3d":
        from utils.render.rasterize_pytorch3d import Rasterizer

        return Rasterizer(vertices, faces)
    raise ValueError(f"unknown renderer {backend!r}; use one of {', '.join(BACKENDS)}")


def _visible_box(vertices: Tensor, camera: Camera, height: int, width: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the pixels that the mesh can cover."""
    points = vertices.cpu().double().numpy()
    if isinstance(camera, Perspective) and (points[:, 2] <= 0).any():
        return 0, 0, width, height
    xy = camera.project(points)
    left, top = np.clip(np.floor(xy.min(0)), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(xy.max(0)) + 1, 0, (width, height)).astype(int).tolist()
    return left, top, right, bottom


def _pool(samples: Tensor, k: int) -> Tensor:
    """Mean over the samples of each pixel: (H k, W k, ...) -> (H, W, ...)."""
    return samples.unflatten(0, (-1, k)).unflatten(2, (-1, k)).mean((1, 3))
