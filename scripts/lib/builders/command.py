"""What the commands of all builders share."""

import sys
from argparse import Namespace

import torch

from datasets.builders import Bodies, BuildOptions, Reader, build_set
from datasets.human_mesh import HumanMeshDataset
from scripts.check_dataset import check_set, describe
from scripts.lib.builders.bodies import load_bodies
from utils.arguments import Parser, input_file, number, output_folder, script_parser
from utils.errors import UserError, printable
from utils.files import write_text


def parser_of(documentation: str) -> Parser:
    """A parser with the flags that all builders have."""
    parser = script_parser(documentation)
    parser.add_argument(
        "--output", type=output_folder, required=True, metavar="DATA_ROOT", help="data root of the sets"
    )
    parser.add_argument(
        "--smpl_path",
        type=input_file,
        metavar="FILE",
        help="neutral body; SMPL_MALE and SMPL_FEMALE beside it are used for men and women (default: as main.py)",
    )
    parser.add_argument(
        "--keypoint_regressor",
        type=input_file,
        metavar="FILE.npy",
        help="keypoints from vertices: J24 (24, V), Human3.6M (17, V) or J_regressor_extra.npy (default: the body's "
        "own, or J_regressor_extra.npy beside it)",
    )
    parser.add_argument("--num_workers", type=number(int, at_least=1), default=4, help="processes")
    parser.add_argument("--sheet_rows", type=number(int, at_least=0), default=16, help="people on the contact sheet")
    parser.add_argument("--overwrite", action="store_true", help="build again what is there already")
    parser.add_argument("--ignore_problems", action="store_true", help="exit code 0 even if the report has problems")
    return parser


def prepare(args: Namespace, genders: bool = False) -> Bodies:
    """Load the bodies."""
    torch.set_num_threads(1)  # processes share the cores; a pool of threads does not survive their fork
    return load_bodies(args.smpl_path, args.keypoint_regressor, ("male", "female") if genders else ())


def build_all(sets: dict[str, Reader], bodies: Bodies, args: Namespace, notes: dict[str, str] | None = None) -> None:
    """Build each set (path below --output -> reader), print its report, check it as training reads it.

    UserError at the end if a report has problems, unless --ignore_problems. Ctrl-C ends it with one line.
    """
    try:
        _build_all(sets, bodies, args, notes or {})
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr, flush=True)
        sys.exit(130)


def _build_all(sets: dict[str, Reader], bodies: Bodies, args: Namespace, notes: dict[str, str]) -> None:
    options = BuildOptions(args.num_workers, args.sheet_rows, args.overwrite)
    problems = []
    for name, reader in sets.items():
        yaml_file = args.output / name
        report = build_set(reader, yaml_file, bodies, options, notes.get(name))
        text = "\n".join([f"{yaml_file}:", *report.lines()])
        print(text, flush=True)
        write_text(yaml_file.with_suffix(".report.txt"), text + "\n")
        rows = HumanMeshDataset(yaml_file)
        faults, _ = check_set(rows, f"check {name}", min(args.num_workers, 4) if args.num_workers > 1 else 0)
        print(f"{printable(yaml_file)}: {describe(faults, len(rows))}", flush=True)
        if faults:
            problems.append(f"{yaml_file}: {len(faults)} rows cannot be used, first: {faults[0]['why']}")
        problems += [f"{yaml_file}: {problem}" for problem in report.problems]
    if problems and not args.ignore_problems:
        raise UserError(
            f"{len(problems)} problems; the first: {problems[0]}. The set is written: look at its contact sheet "
            "before you train on it"
        )
