"""The colours of a person's clothes, to tell people apart and to know them again."""

import cv2
import numpy as np

L_SHOULDER, R_SHOULDER, L_HIP, R_HIP, L_KNEE, R_KNEE, L_ANKLE, R_ANKLE = 5, 6, 11, 12, 13, 14, 15, 16
SURE = 0.3  # confidence of the keypoints between which colours are read
STEPS = np.linspace(0.15, 0.85, 5)[:, None]  # along a limb, and across the trunk
LIGHTNESS = 0.5  # of lightness, which shadows change, against hue and chroma
PARTS = 4  # upper and lower half of the trunk, thighs, shins


def clothes_colours(image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """image (H, W, 3) uint8 RGB, keypoints (17, 3) COCO in pixels with confidence -> (4, 3) CIELAB colours of upper and
    lower trunk, thighs and shins, lightness halved; nan for parts that are not visible."""
    points, sure = keypoints[:, :2], keypoints[:, 2] >= SURE
    samples = [[] for _ in range(PARTS)]
    if sure[[L_SHOULDER, R_SHOULDER, L_HIP, R_HIP]].all():
        for part, heights in enumerate((STEPS[1:3], STEPS[2:4])):
            for height in heights:
                left, right = (
                    points[a] + height * (points[b] - points[a]) for a, b in ((L_SHOULDER, L_HIP), (R_SHOULDER, R_HIP))
                )
                samples[part].append(left + STEPS * (right - left))
    for part, limbs in ((2, ((L_HIP, L_KNEE), (R_HIP, R_KNEE))), (3, ((L_KNEE, L_ANKLE), (R_KNEE, R_ANKLE)))):
        samples[part] += [points[a] + STEPS * (points[b] - points[a]) for a, b in limbs if sure[a] and sure[b]]
    colours = np.full((PARTS, 3), np.nan, np.float32)
    for part, places in enumerate(samples):
        if not places:
            continue
        x, y = np.concatenate(places).round().astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
        if inside.any():
            pixels = image[y[inside], x[inside]].astype(np.float32)[None] / 255
            colours[part] = np.median(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0], axis=0) * (LIGHTNESS, 1, 1)
    return colours


def colour_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of the colours of the parts that both have, in units of CIELAB; nan if there is no such part."""
    apart = np.linalg.norm(a - b, axis=-1)
    known = ~np.isnan(apart)
    return float(apart[known].mean()) if known.any() else float("nan")
