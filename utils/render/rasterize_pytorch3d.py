"""Visible face of a mesh at each sample, by PyTorch3D's rasteriser: slower than ray casting, and independent of it."""

import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes
from torch import Tensor

from utils.camera import Camera, Perspective

TILE = 64  # samples; on a CPU PyTorch3D tests every face at every sample: a tile gets only the faces that reach it


class Rasterizer:
    """Rasterises one mesh: vertices (V, 3) float32 in the camera frame, faces (F, 3), on the CPU or a CUDA device."""

    def __init__(self, vertices: Tensor, faces: Tensor):
        self.vertices, self.faces = vertices, faces.long()

    def __call__(self, camera: Camera, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """-> face (H, W) int32, or -1; barycentric coordinates in it (H, W, 3); depth (H, W) metres, or inf."""
        device = self.vertices.device
        face = torch.full((height, width), -1, dtype=torch.int32, device=device)
        barycentric = torch.zeros(height, width, 3, device=device)
        depth = torch.full((height, width), torch.inf, device=device)
        xy = torch.as_tensor(camera.project(self.vertices.cpu().double().numpy()), device=device)
        corners = xy[self.faces]
        low, high = corners.amin(1), corners.amax(1)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                tile = slice(top, min(top + TILE, height)), slice(left, min(left + TILE, width))
                end = torch.tensor((tile[1].stop, tile[0].stop), device=device)
                start = torch.tensor((left, top), device=device)
                reach = ((high > start - 1) & (low < end)).all(1).nonzero()[:, 0]
                if len(reach):
                    size = (tile[0].stop - top, tile[1].stop - left)
                    found, weights, z = self._rasterize(xy - start, self.faces[reach], size, camera)
                    hit = found >= 0
                    face[tile] = torch.where(hit, reach[found.clamp_min(0)].int(), -1)
                    barycentric[tile] = weights * hit[..., None]
                    depth[tile] = torch.where(hit, z, torch.inf)
        return face, barycentric, depth

    def _rasterize(
        self, xy: Tensor, faces: Tensor, size: tuple[int, int], camera: Camera
    ) -> tuple[Tensor, Tensor, Tensor]:
        height, width = size
        # PyTorch3D: x to the left, y up, [-1, 1] along the shorter side, between the outer edges of its pixels
        ndc = (torch.tensor((width, height), device=xy.device) - 2 * xy - 1) / min(size)
        z = self.vertices[:, 2]
        is_perspective = isinstance(camera, Perspective)
        if not is_perspective:  # PyTorch3D draws nothing behind z = 0
            shift = 1 - z.min()
            z = z + shift
        mesh = Meshes([torch.column_stack((ndc.float(), z))], [faces])
        found, depth, barycentric, _ = rasterize_meshes(
            mesh, size, blur_radius=0.0, faces_per_pixel=1, bin_size=0, perspective_correct=is_perspective
        )
        depth = depth[0, ..., 0]
        return found[0, ..., 0], barycentric[0, ..., 0, :], depth if is_perspective else depth - shift
