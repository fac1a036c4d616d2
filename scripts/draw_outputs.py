"""Draw a sheet of the demo's outputs.

    python scripts/draw_outputs.py --output samples/results/outputs.jpg
    python scripts/draw_outputs.py --panels --output samples/results/panels.jpg

The first has one row per image with overlay, joints, side view and top view. The second has the demo's own sheet of
each image: input, overlay, and a side view of each person. Without --img_path it also shows rendered people at
different depths, and halves of the samples.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.predictor import Predictor, load_predictor
from scripts.lib.films.staged import LEFT, RIGHT, Actor, make_group
from scripts.lib.keypoint_sheets import write_jpeg
from utils.arguments import check_not_input, output_file, script_parser
from utils.demo.photo_results import VIEWS, PhotoResults
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder
from utils.media.find import find_media
from utils.media.images import load_image
from utils.paths import SAMPLES
from utils.render.panels import draw_joints, draw_overlay, draw_side_view

SIDE = 360  # pixels of a tile
PANEL_HEIGHT, PANEL_WIDTH = 170, 1760  # pixels of a row of the demo's sheets
GUTTER = 14  # pixels between sheets
MAX_PEOPLE = 5
WAIST = 0.52  # of the height of a sample's person
# rendered people: rows of the synthetic test split, feet, heights in pixels; the nearest last
GROUP = (
    Actor(LEFT, lambda _: (355, 150), 62),
    Actor(RIGHT, lambda _: (285, 172), 92),
    Actor(LEFT, lambda _: (205, 198), 132),
    Actor(RIGHT, lambda _: (90, 232), 205),
)


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


def halves(predictor: Predictor, path: Path) -> list[np.ndarray]:
    """Two parts of an image: down to the waist of its person, and from there on."""
    image = load_image(path)
    _, y, _, height = predictor(image)[0].bbox
    waist = round(y + WAIST * height)
    return [np.ascontiguousarray(image[:waist]), np.ascontiguousarray(image[waist:])]


def draw_panels(predictor: Predictor, images: list[np.ndarray]) -> np.ndarray:
    """The demo's sheets of images, scaled to one height, in rows of PANEL_WIDTH pixels -> (H, PANEL_WIDTH, 3) uint8."""
    results = PhotoResults(predictor.faces, predictor.colors, predictor.body.name, weights=predictor.weights)
    rows, left = [], PANEL_WIDTH
    for image in images:
        sheet = results.sheet(image, predictor(image, max_people=MAX_PEOPLE))
        zoom = min(PANEL_HEIGHT / sheet.shape[0], PANEL_WIDTH / sheet.shape[1])
        height, width = (round(zoom * n) for n in sheet.shape[:2])
        if left + width > PANEL_WIDTH:
            rows.append(np.full((PANEL_HEIGHT + GUTTER, PANEL_WIDTH, 3), 255, np.uint8))
            left = 0
        rows[-1][:height, left : left + width] = cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA)
        left += width + GUTTER
    return np.vstack(rows)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--output", type=output_file(".jpg", ".jpeg"), required=True, metavar="FILE", help="JPEG to write"
    )
    parser.add_argument("--img_path", nargs="+", metavar="PATH", help="images or folders (default: samples)")
    parser.add_argument("--panels", action="store_true", help="draw the demo's own sheet of each image")
    parser.add_argument("--checkpoint", metavar="FILE", help="default: the network of the demo")
    args = parser.parse_args()
    paths = find_media(args.img_path or [str(SAMPLES)])
    check_not_input(args.output, *paths)
    make_folder(args.output.parent)
    predictor = load_predictor(args.checkpoint)
    if args.panels:
        images = [load_image(path) for path in paths]
        if not args.img_path:
            images += [make_group(GROUP), *(half for path in paths for half in halves(predictor, path))]
        picture = draw_panels(predictor, images)
    else:
        picture = np.vstack([draw(predictor, path) for path in paths])
    write_jpeg(args.output, picture[..., ::-1])
    print(f"wrote {printable(args.output)}")


if __name__ == "__main__":
    main()
