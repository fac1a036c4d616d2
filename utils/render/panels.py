"""Pictures of reconstructions: overlay, views from other sides, joints, keypoints, and a sheet of several panels."""

import math
from itertools import pairwise

import cv2
import numpy as np
from torch import Tensor

from utils.camera import Camera, Crop, Perspective, WeakPerspective
from utils.crop import IMAGENET_MEAN, IMAGENET_STD
from utils.render.colors import joint_color
from utils.render.labels import draw_number, draw_text
from utils.render.mesh import DEFAULT, RenderOptions, overlay, render_mesh, render_part
from utils.skeleton import J14_BONES, SMPL_JOINTS, SMPL_PARENTS

PAPER_TOP, PAPER_BOTTOM = 244, 214  # grey levels of the side view's background
FILL = 0.86  # fraction of the side view that the body fills
GAP = 0.012  # width of the white gap between panels, in panel heights
GREEN, RED = (0, 220, 0), (255, 40, 40)
MAX_WIDTH = 8192  # pixels, of a picture that is scaled up
MAX_PANELS = 5  # people who get a panel of their own
GRIDS = {1: (1, 1), 2: (1, 2), 3: (2, 2), 4: (2, 2), 5: (2, 3)}  # panels -> rows, columns


def draw_overlay(
    image: np.ndarray,
    bodies: list[np.ndarray],
    faces: np.ndarray,
    cameras: list[Camera],
    options: RenderOptions | list[RenderOptions] = DEFAULT,
) -> np.ndarray:
    """Draw meshes (each (V, 3) metres, camera frame) over a picture (H, W, 3) uint8 -> (H, W, 3) uint8.

    A pixel shows the nearest body, by the depth in the camera frame. Weak-perspective cameras have no common depth:
    with them, smaller bodies in the picture are taken to be farther away. options: of all bodies, or of each.
    """
    height, width = image.shape[:2]
    bodies = list(zip(bodies, cameras, _each(options, len(bodies)), strict=True))
    if all(isinstance(camera, Perspective) for camera in cameras):
        bodies.sort(key=lambda body: -body[0][:, 2].mean())
        nearest = np.full((height, width), np.inf, np.float32)
    else:
        bodies.sort(key=lambda body: np.ptp(body[1].project(body[0]), axis=0).max())
        nearest = None
    image = image.copy()
    for vertices, camera, own in bodies:
        box, part = render_part(vertices, faces, camera, height, width, own)
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


def draw_views(
    bodies: list[np.ndarray],
    faces: np.ndarray,
    height: int,
    width: int,
    options: RenderOptions | list[RenderOptions] = DEFAULT,
    notes: list[str] | None = None,
    **view: float,
) -> np.ndarray:
    """Draw bodies (each (V, 3), camera frame) from another side -> (height, width, 3) uint8.

    One body fills the picture. Of several, the first MAX_PANELS have a numbered panel each, in which they are fitted by
    their own size: side by side, bodies at different depths would be specks. view: angle_deg and tilt_deg, see
    `draw_side_view`. notes: a line for each panel, or "".
    """
    shown = min(len(bodies), MAX_PANELS)
    rows, columns = GRIDS[shown]
    gap = max(2, round(GAP * height)) if shown > 1 else 0
    picture = np.full((height, width, 3), 255, np.uint8)
    tops, lefts = _edges(height, rows, gap), _edges(width, columns, gap)
    for i, own in enumerate(_each(options, len(bodies))[:shown]):
        (top, bottom), (left, right) = tops[i // columns], lefts[i % columns]
        panel = draw_side_view(bodies[i], faces, bottom - top, right - left, options=own, **view)
        if len(bodies) > 1:
            radius = 0.05 * min(panel.shape[:2])
            draw_number(panel, i + 1, len(bodies), (0, 0), radius)
        if notes and notes[i]:
            draw_text(panel, notes[i], max(9, panel.shape[0] // 30))
        picture[top:bottom, left:right] = panel
    if len(bodies) > shown:
        (top, bottom), (left, right) = tops[-1], lefts[-1]  # the last cell is free
        draw_text(picture[top:bottom, left:right], f"and {len(bodies) - shown} more", max(9, (bottom - top) // 30))
    return picture


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
    bodies: np.ndarray | list[np.ndarray],
    faces: np.ndarray,
    max_height: int,
    options: RenderOptions | list[RenderOptions] = DEFAULT,
    notes: list[str] | None = None,
    min_height: int = 1,
) -> np.ndarray:
    """Input (H, W, 3) uint8, overlay and side views in a row with white gaps.

    bodies: vertices of one, or of each. The sheet is at most max_height pixels high; a lower picture is scaled up to
    min_height. options and notes: see `draw_views`.
    """
    bodies = [bodies] if isinstance(bodies, np.ndarray) else bodies
    height, width = image.shape[:2]
    new = int(np.clip(height, min_height, max_height))
    if new > height:  # a thin picture is not scaled up to any width
        new = min(new, max(height, MAX_WIDTH * height // width))
    if new != height:
        size, shrink = (max(1, round(width * new / height)), new), new < height
        image, overlay = (
            cv2.resize(panel, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
            for panel in (image, overlay)
        )
        width, height = size
    gap = np.full((height, max(2, round(GAP * height)), 3), 255, np.uint8)
    _, columns = GRIDS[min(len(bodies), MAX_PANELS)]
    beside = min(height, width) if len(bodies) == 1 else math.ceil(height * columns / 2)
    views = draw_views(bodies, faces, height, beside, options, notes)
    return np.concatenate((image, gap, overlay, gap, views), axis=1)


def _each(options: RenderOptions | list[RenderOptions], count: int) -> list[RenderOptions]:
    return [options] * count if isinstance(options, RenderOptions) else list(options)


def _edges(length: int, count: int, gap: int) -> list[tuple[int, int]]:
    """First pixel, and the one after the last, of `count` panels in a row of `length` pixels."""
    edges = np.linspace(0, length + gap, count + 1).round().astype(int).tolist()
    return [(a, b - gap) for a, b in pairwise(edges)]


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
    pixels = (((points.clip(-4, 4) + 1) * size - 1) / 2).round()
    pixels = [tuple(map(int, pixel)) if show else None for pixel, show in zip(pixels, shown, strict=True)]
    for a, b in J14_BONES:
        if pixels[a] and pixels[b]:
            cv2.line(image, pixels[a], pixels[b], color, 1, cv2.LINE_AA)
    for pixel in filter(None, pixels):
        cv2.circle(image, pixel, 2, color, -1, cv2.LINE_AA)
