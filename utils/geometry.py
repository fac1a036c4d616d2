"""Rotations, projection and mesh normals in PyTorch, differentiable.

Frames: the camera frame has x to the right, y down and z away from the viewer, in metres. The crop frame has x and y in
[-1, 1], with -1 and 1 at the outer edges of the crop.
"""

import roma
import torch
import torch.nn.functional as F
from torch import Tensor


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """6D rotations (..., 6) -> rotation matrices (..., 3, 3) (Zhou et al., CVPR 2019).

    The six numbers are a (3, 2) matrix, row by row. Its two columns, made orthonormal by Gram-Schmidt, are the first
    two columns of the result. So `rotmat[..., :2].flatten(-2)` is a 6D form of `rotmat`, and 1, 0, 0, 1, 0, 0 is the
    identity. Zeros give zeros, not nan.
    """
    return roma.special_gramschmidt(rot6d.unflatten(-1, (3, 2)), epsilon=1e-12)


def project(points: Tensor, cam: Tensor) -> Tensor:
    """points (B, N, 3) metres, weak-perspective cam (B, 3) = (s, tx, ty) -> (B, N, 2) in the crop frame."""
    return cam[:, None, :1] * (points[..., :2] + cam[:, None, 1:])


def mesh_normals(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """vertices (V, 3), faces (F, 3) -> vertex normals (V, 3) and face normals (F, 3).

    A vertex normal is the area-weighted mean of the faces around it, of length 1, or 0 if it has no face. A face
    normal is as long as twice the area of the face.
    """
    a, b, c = vertices[faces].unbind(1)
    face_normals = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(vertices)
    for corner in faces.unbind(1):
        normals.index_add_(0, corner, face_normals)
    return F.normalize(normals, dim=-1), face_normals
