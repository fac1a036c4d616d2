"""Pictures of a reconstruction for people to look at: input, overlay and side view, next to each other."""

import cv2
import numpy as np

from utils.camera import Camera, WeakPerspective
from utils.export.meshes import joint_color
from utils.render.mesh import SUPERSAMPLING, overlay, render_mesh, render_part
from utils.skeleton import SMPL_JOINTS, SMPL_PARENTS

PAPER_TOP, PAPER_BOTTOM = 244, 214  # grey of the side view's background
FILL = 0.86  # part of the side view that the body fills
GAP = 0.012  # white between panels, in heights


def draw_overlay(
    image: np.ndarray,
    bodies: list[np.ndarray],
    faces: np.ndarray,
    cameras: list[Camera],
    backend: str = "warp",
    supersampling: int = SUPERSAMPLING,
) -> np.ndarray:
    """Lay meshes (each (V, 3) metres, camera frame) over a picture (H, W, 3) uint8 -> (H, W, 3) uint8; the smallest,
    taken to be the farthest, first."""
    height, width = image.shape[:2]
    by_size = sorted(zip(bodies, cameras, strict=True), key=lambda pair: np.ptp(pair[1].project(pair[0]), axis=0).max())
    image = image.copy()
    for vertices, camera in by_size:
        box, part = render_part(vertices, faces, camera, height, width, backend, supersampling=supersampling)
        image[box] = overlay(image[box], part)
    return image


def draw_side_view(
    vertices: np.ndarray,
    faces: np.ndarray,
    height: int,
    width: int,
    angle_deg: float = 90,
    backend: str = "warp",
    tilt_deg: float = 0,
) -> np.ndarray:
    """A mesh (V, 3), camera frame, turned by angle_deg about the vertical and then towards the viewer by tilt_deg,
    fitted to height x width -> (H, W, 3) uint8.

    At 90 degrees the picture's viewer stands at its right edge; with a tilt of 90 the view is from above.
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
    return overlay(paper, render_mesh(turned, faces, camera, height, width, backend))


def draw_keypoints(image: np.ndarray, people: list[np.ndarray]) -> np.ndarray:
    """Draw skeletons, each the 24 joints (24, 2) of a body in pixels, over a picture (H, W, 3) uint8 -> (H, W, 3)."""
    image = image.copy()
    for joints in people:
        height = np.ptp(joints[:, 1])
        thickness = int(np.clip(height / 120, 1, 12))
        # in sixteenths of a pixel; far outside of any picture OpenCV's numbers run over
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
    backend: str = "warp",
) -> np.ndarray:
    """Input, overlay (H, W, 3) uint8 and side view in a row, white gaps between them, at most max_height high."""
    height, width = image.shape[:2]
    if height > max_height:
        width, height = max(1, round(width * max_height / height)), max_height
        image, overlay = (
            cv2.resize(panel, (width, height), interpolation=cv2.INTER_AREA) for panel in (image, overlay)
        )
    gap = np.full((height, max(2, round(GAP * height)), 3), 255, np.uint8)
    side_view = draw_side_view(vertices, faces, height, min(height, width), backend=backend)
    return np.concatenate((image, gap, overlay, gap, side_view), axis=1)
