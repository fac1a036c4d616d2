"""Pictures of reconstructions: overlay, side view, joints, keypoints, and a sheet of several panels."""

import cv2
import numpy as np
from torch import Tensor

from utils.camera import Camera, Crop, Perspective, WeakPerspective
from utils.crop import IMAGENET_MEAN, IMAGENET_STD
from utils.render.colors import joint_color
from utils.render.mesh import DEFAULT, RenderOptions, overlay, render_mesh, render_part
from utils.skeleton import J14_BONES, SMPL_JOINTS, SMPL_PARENTS

PAPER_TOP, PAPER_BOTTOM = 244, 214  # grey levels of the side view's background
FILL = 0.86  # fraction of the side view that the body fills
GAP = 0.012  # width of the white gap between panels, in panel heights
GREEN, RED = (0, 220, 0), (255, 40, 40)


def draw_overlay(
    image: np.ndarray,
    bodies: list[np.ndarray],
    faces: np.ndarray,
    cameras: list[Camera],
    options: RenderOptions = DEFAULT,
) -> np.ndarray:
    """Draw meshes (each (V, 3) metres, camera frame) over a picture (H, W, 3) uint8 -> (H, W, 3) uint8.

    A pixel shows the nearest body, by the depth in the camera frame. Weak-perspective cameras have no common depth:
    with them, smaller bodies in the picture are taken to be farther away.
    """
    height, width = image.shape[:2]
    pairs = list(zip(bodies, cameras, strict=True))
    if all(isinstance(camera, Perspective) for camera in cameras):
        pairs.sort(key=lambda pair: -pair[0][:, 2].mean())
        nearest = np.full((height, width), np.inf, np.float32)
    else:
        pairs.sort(key=lambda pair: np.ptp(pair[1].project(pair[0]), axis=0).max())
        nearest = None
    image = image.copy()
    for vertices, camera in pairs:
        box, part = render_part(vertices, faces, camera, height, width, options)
        if nearest is not None:
            in_front = part.depth <= nearest[box]
            part = part._replace(alpha=part.alpha * in_front)
            nearest[box] = np.where(in_front & part.mask, part.depth, nearest[box])
        image[box] = overlay(image[box], part)
    return image


def mesh_picture(image: Tensor, vertices: Tensor, faces: np.ndarray, cam: Tensor) -> np.ndarray:
    """Meshes drawn over crops, side by side -> (H, B * W, 3) uint8.

    image (B, 3, H, W), ImageNet-normalised; vertices (B, V, 3) metres, camera frame; faces (F, 3); cam (B, 3) of the
    crop. A nonfinite mesh is left out.
    """
    pictures = []
    for picture, body, camera in zip(
        to_uint8(image), vertices.detach().float().cpu().numpy(), cam.detach().float().cpu(), strict=True
    ):
        size = picture.shape[0]
        crop = Crop((size / 2, size / 2), size / 200)
        drawn = np.isfinite(body).all() and bool(camera.isfinite().all()) and camera[0] > 0.01
        bodies, cameras = ([body], [crop.camera(camera.numpy())]) if drawn else ([], [])
        pictures.append(draw_overlay(np.ascontiguousarray(picture), bodies, faces, cameras))
    return np.concatenate(pictures, axis=1)


def draw_side_view(
    vertices: np.ndarray,
    faces: np.ndarray,
    height: int,
    width: int,
    angle_deg: float = 90,
    tilt_deg: float = 0,
    options: RenderOptions = DEFAULT,
) -> np.ndarray:
    """Draw a mesh (V, 3), camera frame, from another side, fitted to height x width -> (H, W, 3) uint8.

    The mesh turns by angle_deg about the vertical axis, then by tilt_deg towards the viewer. At an angle of 90 degrees
    the photographer is at the right edge; a tilt of 90 degrees is a view from above.
    """
    angle, tilt = np.deg2rad(angle_deg), np.deg2rad(tilt_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array(((cos, 0, -sin), (0, 1, 0), (sin, 0, cos)))
    cos, sin = np.cos(tilt), np.sin(tilt)
    turn = np.array(((1, 0, 0), (0, cos, -sin), (0, sin, cos))) @ turn
    turned = vertices @ turn.astype(vertices.dtype).T
    low, high = turned.min(0), turned.max(0)
    scale = FILL * min(width / (high[0] - low[0]), height / (high[1] - low[1]))
    middle = (low + high) / 2
    camera = WeakPerspective(scale, (width - 1) / 2 - scale * middle[0], (height - 1) / 2 - scale * middle[1])
    paper = np.linspace(PAPER_TOP, PAPER_BOTTOM, height)[:, None, None].round().astype(np.uint8)
    paper = np.broadcast_to(paper, (height, width, 3))
    return overlay(paper, render_mesh(turned, faces, camera, height, width, options))


def draw_joints(image: np.ndarray, people: list[np.ndarray]) -> np.ndarray:
    """Draw skeletons over a picture (H, W, 3) uint8 -> (H, W, 3) uint8. people: SMPL joints (24, 2) of each, pixels."""
    image = image.copy()
    for joints in people:
        height = np.ptp(joints[:, 1])
        thickness = int(np.clip(height / 120, 1, 12))
        # in sixteenths of a pixel; points far outside the picture would overflow OpenCV's integers
        points = [tuple(p) for p in (16 * np.clip(joints, -1e5, 1e5)).round().astype(int).tolist()]
        for j, parent in enumerate(SMPL_PARENTS):
            if parent >= 0:
                color = joint_color(SMPL_JOINTS[j])
                cv2.line(image, points[parent], points[j], color, thickness, cv2.LINE_AA, shift=4)
        for j, point in enumerate(points):
            cv2.circle(image, point, 16 * (thickness + 1), (255, 255, 255), -1, cv2.LINE_AA, shift=4)
            cv2.circle(image, point, 16 * thickness, joint_color(SMPL_JOINTS[j]), -1, cv2.LINE_AA, shift=4)
    return image


def draw_sheet(
    image: np.ndarray,
    overlay: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    max_height: int,
    options: RenderOptions = DEFAULT,
) -> np.ndarray:
    """Input (H, W, 3) uint8, overlay and side view in a row with white gaps, at most max_height pixels high."""
    height, width = image.shape[:2]
    if height > max_height:
        width, height = max(1, round(width * max_height / height)), max_height
        image, overlay = (
            cv2.resize(panel, (width, height), interpolation=cv2.INTER_AREA) for panel in (image, overlay)
        )
    gap = np.full((height, max(2, round(GAP * height)), 3), 255, np.uint8)
    side_view = draw_side_view(vertices, faces, height, min(height, width), options=options)
    return np.concatenate((image, gap, overlay, gap, side_view), axis=1)


def keypoint_picture(image: Tensor, predicted: Tensor, labelled: Tensor, limit: int = 8) -> np.ndarray:
    """Crops side by side with predicted keypoints in red and labelled ones in green -> (H, W, 3) uint8.

    image (B, 3, H, W) ImageNet-normalised; predicted (B, 14, 2) in the crop frame, J14 order; labelled (B, 14, 3) the
    same with confidence. Shows the first `limit` samples.
    """
    crops = to_uint8(image[:limit])
    predicted = predicted[:limit].detach().float().cpu().numpy()
    labelled = labelled[:limit].detach().float().cpu().numpy()
    for crop, points, label in zip(crops, predicted, labelled, strict=True):
        _draw_skeleton(crop, label[:, :2], label[:, 2] > 0, GREEN)
        _draw_skeleton(crop, points, np.isfinite(points).all(1), RED)
    return np.concatenate(crops, axis=1)


def to_uint8(image: Tensor) -> np.ndarray:
    """Crops (B, 3, H, W), ImageNet-normalised -> (B, H, W, 3) uint8."""
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    crops = image.detach().float().cpu().permute(0, 2, 3, 1).numpy() * std + mean
    return np.ascontiguousarray((crops * 255).round().clip(0, 255).astype(np.uint8))


def _draw_skeleton(image: np.ndarray, points: np.ndarray, shown: np.ndarray, color: tuple[int, int, int]):
    """Draw J14 keypoints (14, 2) in the crop frame onto image (H, W, 3), in place; `shown` (14,) bool."""
    size = np.array(image.shape[1::-1])
    # points far outside the crop would overflow OpenCV's integers
    pixels = ((points.clip(-4, 4) + 1) / 2 * (size - 1)).round()
    pixels = [tuple(map(int, pixel)) if show else None for pixel, show in zip(pixels, shown, strict=True)]
    for a, b in J14_BONES:
        if pixels[a] and pixels[b]:
            cv2.line(image, pixels[a], pixels[b], color, 1, cv2.LINE_AA)
    for pixel in filter(None, pixels):
        cv2.circle(image, pixel, 2, color, -1, cv2.LINE_AA)
