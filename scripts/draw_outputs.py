"""The README's picture of what the demo writes: overlay, joints, side and top view of every sample, a row each.

python scripts/draw_outputs.py --output samples/results/outputs.jpg
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.predictor import load_predictor
from scripts.lib.keypoint_sheets import write_jpeg
from utils.demo.photo_results import VIEWS
from utils.errors import exit_on_user_error
from utils.media.find import find_media
from utils.media.images import load_image
from utils.paths import SAMPLES
from utils.render.panels import draw_joints, draw_overlay, draw_side_view

SIDE = 360  # pixels of a tile


def fit(image: np.ndarray) -> np.ndarray:
    """image (H, W, 3) -> (SIDE, SIDE, 3), whole, on white."""
    zoom = SIDE / max(image.shape[:2])
    height, width = (round(zoom * n) for n in image.shape[:2])
    tile = np.full((SIDE, SIDE, 3), 255, np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return tile


def draw(predictor, path: Path) -> np.ndarray:
    """-> a row of four tiles, (SIDE, 4 SIDE, 3) uint8 RGB."""
    image = load_image(path)
    person = predictor(image)[0]
    body = person.to_camera(person.vertices)
    overlay = draw_overlay(image, [body], predictor.faces, [person.perspective])
    joints = draw_joints(image, [person.record()["joints_2d"]])
    views = (draw_side_view(person.vertices, predictor.faces, SIDE, SIDE, **view) for view in VIEWS.values())
    return np.hstack([fit(overlay), fit(joints), *views])


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="picture to write (.jpg)")
    parser.add_argument("--img_path", nargs="+", default=[str(SAMPLES)], help="default: the samples")
    parser.add_argument("--checkpoint", help="default: the demo's")
    args = parser.parse_args()
    predictor = load_predictor(args.checkpoint)
    rows = [draw(predictor, path) for path in find_media(args.img_path)]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(args.output, np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
