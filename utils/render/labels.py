"""Numbers of people in pictures: a disc of the person's colour at the head, or in the corner of a panel."""

import cv2
import numpy as np

from utils.render.shading import CLAY
from utils.skeleton import SMPL_JOINTS

# sRGB in [0, 1] of the first, second, ... person of a picture, apart for colour-blind readers too
PERSON_COLORS = (
    (0.45, 0.70, 0.92),
    (0.95, 0.67, 0.28),
    (0.42, 0.74, 0.56),
    (0.90, 0.55, 0.72),
    (0.93, 0.88, 0.45),
    (0.66, 0.56, 0.88),
    (0.80, 0.45, 0.36),
)
INK, RIM = (25, 28, 32), (255, 255, 255)
FONT, FONT_HEIGHT = cv2.FONT_HERSHEY_DUPLEX, 22  # pixels of a digit at scale 1
HEAD = SMPL_JOINTS.index("head")


def person_color(number: int, count: int) -> tuple[float, float, float]:
    """Colour of person `number` (from 1) of `count`: clay if there is one alone."""
    return CLAY if count == 1 else PERSON_COLORS[(number - 1) % len(PERSON_COLORS)]


def color_name(number: int, count: int) -> str:
    """The same as "#rrggbb"."""
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in person_color(number, count))


def number_people(image: np.ndarray, joints: dict[int, np.ndarray], count: int):
    """Draw the numbers of people above their heads into a picture (H, W, 3) uint8, in place.

    joints: number -> SMPL joints (24, 2), pixels; count: of all people. One person alone has no number.
    """
    if count < 2 or not joints:
        return
    radii = np.array([_radius(image, 0.045 * np.ptp(points, axis=0).max()) for points in joints.values()])
    heads = np.array([points[HEAD] for points in joints.values()])
    heads[:, 1] -= 2.5 * radii
    size = np.array(image.shape[1::-1]) - 1
    heads = np.clip(heads, np.minimum(radii[:, None] + 1, size / 2), np.maximum(size - radii[:, None] - 1, size / 2))
    for number, center, radius in zip(joints, place_numbers(heads, radii), radii, strict=True):
        draw_number(image, number, count, center, radius)


def _radius(image: np.ndarray, wanted: float) -> int:
    """Radius of a disc that can be read in a picture of this size, pixels."""
    side = max(image.shape[:2])
    return round(float(np.clip(wanted, max(9, 0.012 * side), max(12, 0.04 * side))))


def draw_number(image: np.ndarray, number: int, count: int, center: tuple[float, float], radius: float):
    """Draw a person's number into a picture (H, W, 3) uint8, in place. The disc is kept inside the picture."""
    radius = _radius(image, radius)
    height, width = image.shape[:2]
    x, y = (
        int(np.clip(value, min(radius + 1, n // 2), max(n - radius - 2, n // 2)))
        for value, n in zip(center, (width, height), strict=True)
    )
    fill = tuple(round(255 * channel) for channel in person_color(number, count))
    cv2.circle(image, (x, y), radius + 1, RIM, -1, cv2.LINE_AA)
    cv2.circle(image, (x, y), radius, fill, -1, cv2.LINE_AA)
    text, scale = str(number), 1.2 * radius / FONT_HEIGHT / max(1, 0.75 * len(str(number)))
    weight = max(1, round(radius / 9))
    (wide, high), _ = cv2.getTextSize(text, FONT, scale, weight)
    cv2.putText(image, text, (x - wide // 2, y + high // 2), FONT, scale, INK, weight, cv2.LINE_AA)


def place_numbers(heads: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Centres (P, 2) of discs above heads (P, 2), pixels, so that no disc covers an earlier one; radii (P,)."""
    placed: list[np.ndarray] = []
    for center, radius in zip(heads, radii, strict=True):
        center = np.array(center, np.float64)
        for _ in range(len(placed)):
            near = [
                (other, reach)
                for other, reach in zip(placed, radius + radii[: len(placed)], strict=True)
                if np.hypot(*(center - other)) < reach
            ]
            if not near:
                break
            other, reach = near[0]
            center[0] = other[0] + (reach + 1 if center[0] >= other[0] else -reach - 1)
        placed.append(center)
    return np.array(placed).reshape(-1, 2)


def draw_text(image: np.ndarray, text: str, height: int = 12):
    """Write a line at the lower edge of a panel (H, W, 3) uint8, in place, narrow enough for its width."""
    margin = max(3, height // 2)
    scale = height / FONT_HEIGHT
    (wide, _), _ = cv2.getTextSize(text, FONT, scale, 1)
    scale *= min(1.0, (image.shape[1] - 2 * margin) / max(wide, 1))
    cv2.putText(image, text, (margin, image.shape[0] - margin), FONT, scale, INK, 1, cv2.LINE_AA)
