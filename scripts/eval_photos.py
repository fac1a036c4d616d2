"""Evaluate projected joints on real people: PCK of the 12 limb joints of annotated photographs.

    python scripts/eval_photos.py --photos DIR --output FILE.json                    # the default network
    python scripts/eval_photos.py --photos DIR --output FILE.json --checkpoint C
    python scripts/eval_photos.py --photos DIR --output FILE.json --movenet          # MoveNet, for comparison

DIR contains images/ and annotations.json, see datasets/photos.py. Each person is cropped to a square with 1.25 times
the longer side of the box. PCK@t is the share of labelled joints whose projection is less than t longer sides away.
Takes about 0.2 s per person on one core.
"""

import functools
import json
import sys
from argparse import BooleanOptionalAction
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.photos import J14_NAMES, LIMBS, read_annotations
from models.inference.prepare import fast_movenet
from models.movenet import load_movenet
from models.predictor import load_predictor
from utils.arguments import Parser, check_not_input, script_parser
from utils.camera import Crop
from utils.crop import crop_image, normalize
from utils.detect.movenet_decoder import decode_argmax, decode_single_person, to_crop_frame
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder, write_text
from utils.media.images import load_image, save_image
from utils.metrics import pck
from utils.paths import MOVENET
from utils.process import PRECISIONS, choose_device
from utils.render.panels import draw_overlay
from utils.skeleton import COCO17

MOVENET_SIZE = 256  # pixels, its training resolution
NUM_OVERLAYS = 10

LIMB_BONES = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("shoulder", "hip"))
]
LABEL_COLOUR, LEFT_COLOUR, RIGHT_COLOUR = (255, 255, 255), (255, 140, 0), (0, 160, 255)

Joints = dict[str, np.ndarray]  # name -> (2,) pixels of the photograph


def movenet_joints(network: torch.nn.Module, decoder: str, image: np.ndarray, bbox: list[float]) -> Joints:
    """Keypoints of MoveNet in pixels of an image (H, W, 3), for the person in bbox (x, y, width, height).

    decoder: argmax for decode_argmax, own for decode_single_person.
    """
    crop = Crop.around(bbox)
    pixels = normalize(crop_image(image, crop.center, crop.scale, size=MOVENET_SIZE, antialias=True))
    device = network.gain.device
    with torch.inference_mode():
        maps = network(pixels[None].to(device))
    keypoints = decode_argmax(maps.heatmaps) if decoder == "argmax" else decode_single_person(*maps)
    in_crop = to_crop_frame(keypoints, (MOVENET_SIZE, MOVENET_SIZE))[0, :, :2].cpu().numpy()
    # Integer label coordinates are pixel centres of the 224 px crop; a crop of 256 px has the same outer edges.
    side = 200 * crop.scale
    xy = np.asarray(crop.center) + side * (in_crop / 2 - 0.5 / MOVENET_SIZE)
    return dict(zip(COCO17, xy, strict=True))


def measure(entry: dict, joints: Joints) -> dict[str, float]:
    """Distance of every labelled limb joint from its label, in longer box sides."""
    labels = {name: np.asarray(entry["keypoints"][name], float) for name in LIMBS}
    side = max(entry["bbox"][2:])
    return {name: float(np.hypot(*(joints[name] - xyv[:2])) / side) for name, xyv in labels.items() if xyv[2] > 0}


def evaluate(entries: list[dict], predict: Callable[[str, list[float]], Joints]) -> dict:
    """predict(image file name, bbox) -> joints. Returns the report that is written as JSON."""
    images, all_errors = [], {name: [] for name in LIMBS}
    for entry in entries:
        joints = predict(entry["image"], entry["bbox"])
        errors = measure(entry, joints)
        for name, error in errors.items():
            all_errors[name].append(error)
        images.append(
            {"image": entry["image"], "bbox": entry["bbox"], **pck(list(errors.values()))}
            | {"errors": errors, "joints": {name: [float(v) for v in xy] for name, xy in joints.items()}}
        )
    pooled = pck([error for errors in all_errors.values() for error in errors])
    return pooled | {
        "num_people": len(entries),
        "per_joint": {name: pck(errors) for name, errors in all_errors.items()},
        "images": images,
    }


def draw(image: np.ndarray, entry: dict, joints: Joints) -> np.ndarray:
    """Crop around the person (640, 640, 3): labelled joints white, predicted limbs orange (left) and blue (right)."""
    x, y, width, height = entry["bbox"]
    side = 1.6 * max(width, height)
    zoom = 640 / side
    to_panel = np.array([[zoom, 0, 320 - zoom * (x + width / 2)], [0, zoom, 320 - zoom * (y + height / 2)]])
    panel = cv2.warpAffine(image, to_panel, (640, 640))
    place = {name: tuple(int(v) for v in np.rint(to_panel @ (*xy, 1))) for name, xy in joints.items()}
    for a, b in LIMB_BONES:
        cv2.line(panel, place[a], place[b], LEFT_COLOUR if a.startswith("left") else RIGHT_COLOUR, 2, cv2.LINE_AA)
    for name in LIMBS:
        label_x, label_y, visible = entry["keypoints"][name]
        if visible:
            label = tuple(int(v) for v in np.rint(to_panel @ (label_x, label_y, 1)))
            cv2.line(panel, label, place[name], LABEL_COLOUR, 1, cv2.LINE_AA)
            cv2.circle(panel, label, 4, LABEL_COLOUR, -1, cv2.LINE_AA)
    return panel


def print_report(report: dict) -> None:
    """Print a table with one line per joint."""
    print(f"{'joint':<16}{'PCK@0.05':>9}{'PCK@0.1':>9}{'error':>8}{'count':>7}")
    for name, row in [*report["per_joint"].items(), ("all", report)]:
        numbers = [row["pck@0.05"], row["pck@0.1"], row["mean_error"]]
        shown = ["-" if number is None else f"{number:.3f}" for number in numbers]
        print(f"{name:<16}{shown[0]:>9}{shown[1]:>9}{shown[2]:>8}{row['count']:>7}")


def get_parser() -> Parser:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--photos", type=Path, required=True, metavar="DIR", help="folder with annotations.json and images/"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--checkpoint", metavar="FILE", help="network to evaluate (default: the network of the demo)")
    parser.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="auto: the fastest of the device (default: %(default)s)"
    )
    parser.add_argument("--flip_test", action=BooleanOptionalAction, default=True, help="as in the demo (default: on)")
    parser.add_argument(
        "--fit_keypoints", action=BooleanOptionalAction, default=True, help="as in the demo (default: on)"
    )
    parser.add_argument(
        "--quarter_turns", action=BooleanOptionalAction, default=True, help="as in the demo (default: on)"
    )
    parser.add_argument("--tight_crop", action=BooleanOptionalAction, default=True, help="as in the demo (default: on)")
    parser.add_argument(
        "--overlays",
        type=Path,
        metavar="DIR",
        help=f"draw the {NUM_OVERLAYS} people with the largest errors into this folder",
    )
    parser.add_argument(
        "--movenet", nargs="?", const="argmax", choices=("argmax", "own"), metavar="DECODER",
        help="evaluate MoveNet, decoded by the maxima of its heatmaps (argmax, default) or by its own decoder (own)",
    )  # fmt: skip
    return parser


@exit_on_user_error
def main():
    args = get_parser().parse_args()
    if args.movenet and args.checkpoint:
        raise UserError("--movenet and --checkpoint name two networks: give one of them")
    entries = read_annotations(args.photos)
    if args.output.is_dir():
        raise UserError(f"--output {args.output} is a folder: give the name of a file")
    check_not_input(args.output, args.photos / "annotations.json")
    make_folder(args.output.parent)
    if args.overlays:
        make_folder(args.overlays)
    load = functools.lru_cache(maxsize=1)(lambda name: load_image(args.photos / "images" / name))
    meshes = []
    if args.movenet:
        network = fast_movenet(load_movenet(MOVENET), choose_device(args.device))

        def predict(name: str, bbox: list[float]) -> Joints:
            return movenet_joints(network, args.movenet, load(name), bbox)
    else:
        names = ("flip_test", "fit_keypoints", "quarter_turns", "tight_crop")
        refinements = {name: getattr(args, name) for name in names}
        predictor = load_predictor(args.checkpoint, args.device, precision=args.precision, **refinements)

        def predict(name: str, bbox: list[float]) -> Joints:
            person = predictor(load(name), bbox)[0]
            meshes.append((person.vertices, person.camera))
            return dict(zip(J14_NAMES, person.keypoints_2d, strict=True))

    report = {"model": f"movenet {args.movenet}" if args.movenet else str(args.checkpoint or "default")}
    report |= evaluate(entries, predict)
    write_text(args.output, json.dumps(report, indent=1))
    print_report(report)
    print(f"wrote {printable(args.output)}")
    if args.overlays:
        measured = [i for i, row in enumerate(report["images"]) if row["count"]]
        worst = sorted(measured, key=lambda i: report["images"][i]["mean_error"], reverse=True)[:NUM_OVERLAYS]
        for rank, i in enumerate(worst, 1):
            image = load(entries[i]["image"])
            joints = {name: np.array(xy) for name, xy in report["images"][i]["joints"].items()}
            panels = [draw(image, entries[i], joints)]
            if meshes:
                vertices, camera = meshes[i]
                panels.append(draw(draw_overlay(image, [vertices], predictor.faces, [camera]), entries[i], joints))
            save_image(
                args.overlays / f"{rank:02d}_{Path(entries[i]['image']).stem}.jpg", np.concatenate(panels, axis=1)
            )
        print(f"drew {len(worst)} people into {printable(args.overlays)}")


if __name__ == "__main__":
    main()
