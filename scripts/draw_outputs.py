"""Draw a sheet of the demo's outputs: one row per image with overlay, joints, side view and top view.

python scripts/draw_outputs.py --output samples/results/outputs.jpg
"""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.predictor import Predictor, load_predictor
from scripts.lib.keypoint_sheets import write_jpeg
from utils.arguments import output_file, script_parser
from utils.demo.photo_results import VIEWS
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder
from utils.media.find import find_media
from utils.media.images import load_image
from utils.paths import SAMPLES
from utils.render.panels import draw_joints, draw_overlay, draw_side_view

SIDE = 360  # pixels of a tile


def fit(image: np.ndarray) -> np.ndarray:
    """Scale an image (H, W, 3) to fit into a white square (SIDE, SIDE, 3)."""
    zoom = SIDE / max(image.shape[:2])
    height, width = (round(zoom * n) for n in image.shape[:2])
    tile = np.full((SIDE, SIDE, 3), 255, np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return tile


def draw(predictor: Predictor, path: Path) -> np.ndarray:
    """The row of an image: four tiles, (SIDE, 4 SIDE, 3) uint8 RGB."""
    image = load_image(path)
    people = predictor(image)
    if not people:
        raise UserError(f"no person found in {path}: leave it out of --img_path")
    person = people[0]
    body = person.to_camera(person.vertices)
    overlay = draw_overlay(image, [body], predictor.faces, [person.perspective])
    joints = draw_joints(image, [person.record()["joints_2d"]])
    views = (draw_side_view(person.vertices, predictor.faces, SIDE, SIDE, **view) for view in VIEWS.values())
    return np.hstack([fit(overlay), fit(joints), *views])


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--output", type=output_file(".jpg", ".jpeg"), required=True, metavar="FILE", help="JPEG to write"
    )
    parser.add_argument(
        "--img_path", nargs="+", default=[str(SAMPLES)], metavar="PATH", help="images or folders (default: samples)"
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="default: the network of the demo")
    args = parser.parse_args()
    paths = find_media(args.img_path)
    make_folder(args.output.parent)
    predictor = load_predictor(args.checkpoint)
    rows = [draw(predictor, path) for path in paths]
    write_jpeg(args.output, np.vstack(rows)[..., ::-1])
    print(f"wrote {printable(args.output)}")


if __name__ == "__main__":
    main()
