"""Visible face of a mesh at each sample of a raster, by ray casting with NVIDIA Warp on a CPU or a CUDA device.

Importing this module imports Warp; utils.render does so at the first use. Kernels are compiled once per machine (some
seconds) and cached in $WARP_CACHE_PATH or the user's cache folder. If that is not writable, they go to a temporary
folder that is deleted when the process ends.
"""

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import torch
import warp as wp
from torch import Tensor

from utils.camera import Camera, Perspective

FAR = 1e6  # metres
_FIRST, _started = threading.Lock(), set()  # lock for the first launch; devices on which it is done


@wp.kernel(enable_backward=False)
def _cast(
    mesh: wp.uint64,
    focal: wp.vec2,
    centre: wp.vec2,
    is_perspective: wp.bool,
    near: float,
    face: wp.array2d[wp.int32],
    barycentric: wp.array2d[wp.vec3],
    depth: wp.array2d[wp.float32],
):
    row, column = wp.tid()
    x = (float(column) - centre[0]) / focal[0]
    y = (float(row) - centre[1]) / focal[1]
    origin = wp.vec3(x, y, near)
    direction = wp.vec3(0.0, 0.0, 1.0)
    if is_perspective:
        origin = wp.vec3(0.0, 0.0, 0.0)
        direction = wp.vec3(x, y, 1.0)
    hit = wp.mesh_query_ray(mesh, origin, direction, FAR)
    if hit.result:
        face[row, column] = hit.face
        barycentric[row, column] = wp.vec3(hit.u, hit.v, 1.0 - hit.u - hit.v)
        depth[row, column] = origin[2] + hit.t  # along both kinds of rays, z grows by 1 per unit of t


class RayCaster:
    """Casts rays at one mesh: vertices (V, 3) float32 in the camera frame, faces (F, 3), on a CPU or a CUDA device."""

    def __init__(self, vertices: Tensor, faces: Tensor):
        with _FIRST:
            _start_warp()
        self.vertices = vertices.contiguous()
        self.near = float(vertices[:, 2].min()) - 1
        indices = faces.to(torch.int32).flatten().contiguous()
        # not copied: the mesh keeps references to both tensors
        with _stream_of_torch(vertices.device):
            self.mesh = wp.Mesh(wp.from_torch(self.vertices, dtype=wp.vec3), wp.from_torch(indices))

    def __call__(self, camera: Camera, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """-> face (H, W) int32, or -1; barycentric coordinates in it (H, W, 3); depth (H, W) metres, or inf."""
        device = self.vertices.device
        face = torch.full((height, width), -1, dtype=torch.int32, device=device)
        barycentric = torch.zeros(height, width, 3, device=device)
        depth = torch.full((height, width), torch.inf, device=device)
        is_perspective = isinstance(camera, Perspective)
        focal = (camera.fx, camera.fy) if is_perspective else (camera.scale, camera.scale)
        # the first launch loads the kernel, which threads must not do at the same time
        with _FIRST if device not in _started else nullcontext(), _stream_of_torch(device):
            wp.launch(
                _cast,
                dim=(height, width),
                inputs=[self.mesh.id, wp.vec2(*focal), wp.vec2(camera.cx, camera.cy), is_perspective, self.near],
                outputs=[wp.from_torch(face), wp.from_torch(barycentric, dtype=wp.vec3), wp.from_torch(depth)],
                device=wp.device_from_torch(device),
            )
        _started.add(device)
        return face, barycentric, depth


def _stream_of_torch(device: torch.device):
    """Context that puts Warp's kernels on torch's current stream, in order with torch's own."""
    if device.type == "cpu":
        return nullcontext()
    return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)))


@cache
def _start_warp():
    """Start Warp without its banner, with a writable cache folder."""
    wp.config.log_level = wp.LOG_WARNING
    try:
        folder = Path(wp.config.kernel_cache_dir or os.environ.get("WARP_CACHE_PATH") or _user_cache() / "warp")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # read-only, or no home folder
        folder = Path(tempfile.mkdtemp(prefix="smpl-pose-warp-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    wp.config.kernel_cache_dir = str(folder)
    # without a GPU, Warp's C++ part prints a warning
    with nullcontext() if torch.cuda.is_available() else _silent_stderr():
        wp.init()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what C++ code prints to stderr."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
