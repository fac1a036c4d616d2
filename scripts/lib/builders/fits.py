"""Which reader a file of fits needs."""

from argparse import ArgumentParser

from datasets.builders import Bodies, Reader
from datasets.builders.readers.coco_json import CocoJson
from datasets.builders.readers.eft import Eft
from datasets.builders.readers.npz import Npz
from utils.arguments import input_file, input_folder
from utils.errors import UserError


def add_fit_flags(parser: ArgumentParser) -> ArgumentParser:
    """Flags of COCO and MPII."""
    parser.add_argument("--images", type=input_folder, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--fits", type=input_file, required=True, metavar="FILE", help="SMPL fits, .json or .npz")
    parser.add_argument(
        "--annotations", type=input_file, metavar="FILE.json", help="keypoints and boxes, in COCO's form"
    )
    return parser


def reader_of_fits(args, bodies: Bodies, keypoint_order: tuple[int, ...]) -> Reader:
    """By the kind of --fits: CLIFF's .npz, EFT's .json, or, with --annotations, fits by annotation id."""
    if args.fits.suffix.lower() == ".npz":
        return Npz(args.images, args.fits)
    if args.annotations:
        return CocoJson(args.images, args.annotations, args.fits, keypoint_order)
    with args.fits.open("rb") as file:
        start = file.read(1 << 16)
    if b'"parm_pose"' in start or b'"data"' in start:
        return Eft(args.images, args.fits, bodies)
    raise UserError(f"{args.fits} has fits by annotation id: give the annotations with --annotations")
