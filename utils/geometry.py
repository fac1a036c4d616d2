"""Rotations, projection and mesh normals in PyTorch, differentiable.

The rotations agree with roma's, which scripts and tests use. They are here because roma imports PyTorch's compiler,
which takes a second of every start.

Frames: the camera frame has x to the right, y down and z away from the viewer, in metres. The crop frame has x and y in
[-1, 1], with -1 and 1 at the outer edges of the crop.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """6D rotations (..., 6) -> rotation matrices (..., 3, 3) (Zhou et al., CVPR 2019).

    The six numbers are a (3, 2) matrix, row by row. Its two columns, made orthonormal by Gram-Schmidt, are the first
    two columns of the result. So `rotmat[..., :2].flatten(-2)` is a 6D form of `rotmat`, and 1, 0, 0, 1, 0, 0 is the
    identity. Zeros give zeros, not nan.
    """
    a, b = rot6d.unflatten(-1, (3, 2)).unbind(-1)
    x = F.normalize(a, dim=-1)
    y = F.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)


def rotvec_to_rotmat(rotvec: Tensor) -> Tensor:
    """Axis-angle vectors (..., 3), radians -> rotation matrices (..., 3, 3), by Rodrigues' formula."""
    # the smallest angle keeps the axis of a zero vector, and its gradient, finite
    angle = torch.linalg.vector_norm(rotvec, dim=-1, keepdim=True).clamp(min=1e-6)
    axis = rotvec / angle
    products = axis[..., :, None] * axis[..., None, :] * (1 - angle.cos())[..., None]
    xx, yy, zz = products.diagonal(dim1=-2, dim2=-1).unbind(-1)
    xy, xz, yz = products[..., 0, 1], products[..., 0, 2], products[..., 1, 2]
    x, y, z = (axis * angle.sin()).unbind(-1)
    rows = (1 - yy - zz, xy - z, xz + y), (xy + z, 1 - xx - zz, yz - x), (xz - y, yz + x, 1 - xx - yy)
    return torch.stack([entry for row in rows for entry in row], dim=-1).unflatten(-1, (3, 3))


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Matrices (..., 3, 3) -> the nearest rotations in the Frobenius norm (special orthogonal Procrustes).

    nan for a matrix that is not finite.
    """
    is_finite = matrix.isfinite().all(-1).all(-1)[..., None, None]
    # on a CPU the decomposition raises an error for what is not finite
    u, _, vt = torch.linalg.svd(torch.where(is_finite, matrix, 0).double())
    # a reflection becomes a rotation along the direction of the smallest singular value
    sign = torch.linalg.det(u @ vt).sign()
    u = torch.cat((u[..., :2], u[..., 2:] * sign[..., None, None]), dim=-1)
    return torch.where(is_finite, u @ vt, torch.nan).to(matrix.dtype)


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
