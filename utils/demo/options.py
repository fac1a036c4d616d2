"""Command line of demo.py, and checks of it before any work."""

import argparse
import os
import re
import sys
from pathlib import Path

from utils.arguments import Parser, number
from utils.demo.placing import PLACES, Placing
from utils.errors import UserError
from utils.media.find import is_film
from utils.person import Box
from utils.process import PRECISIONS
from utils.render.mesh import BACKENDS

PHOTO_KINDS = ("obj", "ply", "glb", "scene", "npz", "json", "angles", "html", "side", "top", "keypoints")
VIDEO_KINDS = ("glb", "bvh", "scene", "npz", "json", "angles")
NAMED_OTHERWISE = {"side", "top", "keypoints", "angles", "scene"}  # not by the name of the kind after the dot
KINDS = tuple(dict.fromkeys(PHOTO_KINDS + VIDEO_KINDS))
LARGEST_BOX = 1_000_000  # pixels
SMALLEST, LARGEST = 40, 280  # heights of people, centimetres


def get_demo_parser() -> Parser:
    parser = Parser(description="Reconstruct 3D bodies of people in photographs and videos.")
    source = parser.add_argument_group("input")
    source.add_argument(
        "--img_path", nargs="+", default=[], metavar="PATH", help="photographs, videos, folders or 'globs'"
    )
    source.add_argument(
        "--fps",
        type=number(float, 0.001, below=10_000),
        metavar="N",
        help="the pictures of a folder or glob are the frames of a film, N per second",
    )
    source.add_argument("--webcam", type=number(int, 0), metavar="N", help="record from this webcam (0 is the first)")
    source.add_argument(
        "--seconds",
        type=number(float, 0.1, below=100_000),
        default=5.0,
        help="length of the recording (default: %(default)s)",
    )
    source.add_argument(
        "--max_people",
        type=number(int, 1, below=1001),
        default=1,
        metavar="N",
        help="largest number of people, the most prominent first (default: %(default)s)",
    )
    source.add_argument("--bbox", type=parse_bbox, metavar="x,y,w,h", help="box of the person, pixels")
    source.add_argument(
        "--boxes", type=Path, metavar="FILE", help="boxes by file name: .json {name: [[x, y, w, h], ...]} or .csv"
    )
    source.add_argument(
        "--focal",
        type=number(float, 1, below=10_000_000),
        metavar="PIXELS",
        help="focal length of the camera (default: from EXIF, else twice the diagonal)",
    )

    out = parser.add_argument_group("output")
    out.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="default: %(default)s")
    out.add_argument(
        "--save",
        type=parse_kinds,
        default=(),
        metavar="KIND,...",
        help=f"all, or for photographs {', '.join(PHOTO_KINDS)}; for videos {', '.join(VIDEO_KINDS)}",
    )
    out.add_argument("--save_obj", action="store_true", help="the same as --save obj")
    out.add_argument("--html", action="store_true", help="the same as --save html: an interactive view in one file")
    out.add_argument("--renderer", choices=BACKENDS, default="warp", help="renderer (default: %(default)s)")
    out.add_argument(
        "--smooth",
        type=number(float, 0, below=60),
        default=0.06,
        metavar="S",
        help="width of the temporal smoothing of videos, seconds (default: %(default)s)",
    )

    where = parser.add_argument_group("places and sizes")
    where.add_argument(
        "--place",
        choices=PLACES,
        help="camera: before the camera; origin: every body at its own origin; ground: feet on y = 0 "
        "(default: camera, but meshes of photographs at their origin)",
    )
    where.add_argument(
        "--height",
        type=parse_heights,
        default=(),
        metavar="CM,...",
        help="true standing height of the first person, which scales everybody, or of each",
    )
    where.add_argument(
        "--same_floor",
        action=argparse.BooleanOptionalAction,
        help="choose sizes so that all people of a photograph stand on one floor (default: with --place ground)",
    )
    where.add_argument(
        "--tilt",
        type=number(float, -90, below=90.001),
        metavar="DEGREES",
        help="how much the camera looks down (default: estimated from the people)",
    )

    page = parser.add_argument_group("web page")
    page.add_argument(
        "--serve", action="store_true", help="start a web page for photographs, films and webcam pictures"
    )
    page.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this computer)")
    page.add_argument("--port", type=number(int, 0, below=65_536), default=7860, help="default: %(default)s")

    network = parser.add_argument_group("network")
    network.add_argument("--load_checkpoint", metavar="FILE", help="default: the one in pretrained/")
    network.add_argument("--device", default="auto", help="auto (CUDA if present), cpu, cuda or cuda:N")
    network.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="auto: 16 bits if the device is faster with them"
    )
    network.add_argument(
        "--compile", action="store_true", help="torch.compile: minutes for the first picture, then faster"
    )
    network.add_argument(
        "--flip_test",
        action=argparse.BooleanOptionalAction,
        help="average with the prediction for the mirrored crop: more accurate, twice the network's time "
        "(default: for photographs, not for films)",
    )
    network.add_argument(
        "--fit_keypoints",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fit the limbs to the 2D keypoints of the backbone, if it has any",
    )
    network.add_argument(
        "--quarter_turns",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="estimate people who lie or are upside down again in the picture turned by quarters",
    )
    network.add_argument(
        "--tight_crop",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="give the network the middle of the crop, enlarged by a factor of 1.09",
    )
    network.add_argument("--smpl_path", metavar="FILE", help="body model that the checkpoint was trained with")
    network.add_argument("--keypoint_regressor", metavar="FILE", help="J17 regressor of that body model, .npy")
    return parser


# flags that the web page does not use
NOT_ON_THE_PAGE = ("bbox", "boxes", "focal", "fps", "height", "html", "max_people", "output", "place", "same_floor")
NOT_ON_THE_PAGE += ("save", "save_obj", "seconds", "smooth", "tilt")


def parse_demo_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `save` becomes the set of all requested kinds. UserError if flags conflict."""
    args = get_demo_parser().parse_args(_join_boxes(sys.argv[1:] if arguments is None else arguments))
    if args.serve:
        _check_page_flags(args)
    args.save_all = len(args.save) == len(KINDS)
    args.save = {*args.save, *(["obj"] if args.save_obj else []), *(["html"] if args.html else [])}
    if not (args.img_path or args.serve or args.webcam is not None):
        raise UserError("no input: name photographs or videos with --img_path, or use --webcam 0 or --serve")
    args.placing = Placing(args.place, args.tilt, args.height, args.same_floor)
    if args.tilt is not None and not args.placing.floor_needed:
        raise UserError("--tilt is the tilt to a floor, and there is none: add --place ground or --same_floor")
    if args.bbox and args.boxes:
        raise UserError("--bbox and --boxes both give boxes: use one of them")
    return args


def _check_page_flags(args: argparse.Namespace):
    """UserError if a flag is given that the web page does not use."""
    if args.img_path or args.webcam is not None:
        raise UserError("--serve gets its pictures from the web page: remove --img_path and --webcam")
    usual = get_demo_parser().parse_args([])
    if given := [name for name in NOT_ON_THE_PAGE if getattr(args, name) != getattr(usual, name)]:
        raise UserError(f"--{given[0]} has no effect on the web page, which asks for it or leaves it out: remove it")


def _join_boxes(arguments: list[str]) -> list[str]:
    """["--bbox", "-50,-20,9,9"] -> ["--bbox=-50,-20,9,9"]: argparse takes a word with a minus for a flag."""
    joined = []
    for word in arguments:
        if joined and joined[-1] == "--bbox" and re.match(r"-?[\d.]", word):
            joined[-1] = f"--bbox={word}"
        else:
            joined.append(word)
    return joined


def parse_bbox(text: str) -> Box:
    """Parse "x,y,width,height"."""
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 4:
        raise ValueError
    if not all(abs(value) < LARGEST_BOX for value in values) or min(values[2:]) < 1:
        raise argparse.ArgumentTypeError(
            f"{text} is not a box: give numbers below {LARGEST_BOX:,}, width and height of at least 1"
        )
    return values


def parse_kinds(text: str) -> tuple[str, ...]:
    """Parse "obj,json", or "all"."""
    kinds = KINDS if text == "all" else tuple(text.split(","))
    if not set(kinds) <= set(KINDS):
        raise ValueError
    return kinds


def parse_heights(text: str) -> tuple[float, ...]:
    """Parse "180,165", centimetres -> metres."""
    return tuple(parse_height(part) / 100 for part in text.split(","))


parse_height = number(float, SMALLEST, below=LARGEST + 0.001)

# names that argparse shows in "invalid ... value"
parse_heights.__name__ = "list of centimetres, such as 180 or 180,165:"
parse_bbox.__name__, parse_kinds.__name__ = "x,y,width,height", f"list out of {','.join(KINDS)},all:"


def check_kinds(kinds: set[str], photos: list[Path], films: list[Path]):
    """UserError if a kind of file was asked for that none of the inputs can give."""
    possible = {*(PHOTO_KINDS if photos else ()), *(VIDEO_KINDS if films else ())}
    if impossible := sorted(kinds - possible):
        what = "photographs" if photos else "films"
        raise UserError(
            f"--save {','.join(impossible)}: {what} give {', '.join(sorted(possible))}; leave out the others"
        )


def check_output(folder: Path, names: list[str], inputs: list[Path], kinds: set[str], others: list[Path] = ()):
    """UserError if the folder is not writable, or if results with these names would overwrite an input.

    names: of the results of `inputs`. kinds: of files besides pictures and films. others: files that are read too.
    """
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if os.path.exists(parent))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"--output {folder}: {nearest} is not a writable folder; choose another one")
    films = [os.path.isdir(source) or is_film(source) for source in inputs]
    by_name = {name.lower(): film for name, film in zip(names, films, strict=True)}
    drawn = "|".join(["overlay", *(kind for kind in ("side", "top", "keypoints") if kind in kinds)])
    data = "|".join(sorted(kinds & {*PHOTO_KINDS, *VIDEO_KINDS} - NAMED_OTHERWISE))
    table = rf"|(?:_person\d+)?\.(?:{data})" if data else ""
    table += r"|_angles\.csv" if "angles" in kinds else ""
    table += r"|_scene(?:_shot\d+)?\.glb" if "scene" in kinds else ""
    endings = {
        False: re.compile(rf"(?:_(?:{drawn}))?\.png{table}", re.IGNORECASE),
        True: re.compile(rf"_overlay\.mp4{table}", re.IGNORECASE),
    }
    for path in {*inputs, *others}:
        if not os.path.exists(path) or path.resolve().parent != folder.resolve():
            continue
        own = path.resolve().name
        for length in range(1, len(own)):
            film = by_name.get(own[:length].lower())
            if film is not None and endings[film].fullmatch(own[length:]):
                raise UserError(f"{path} is an input and would be overwritten: choose another --output")
