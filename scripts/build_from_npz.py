"""Build a set from an npz file of SPIN's form, or from 4D-Humans' tars.

    python scripts/build_from_npz.py --npz 3dhp.npz --images mpi_inf_3dhp --set 3dhp/train.yaml --output DATA_ROOT
    python scripts/build_from_npz.py --tars hmr2_training_data/insta --set insta/train.yaml --output DATA_ROOT

Forms: SPIN and GraphCMR (pose, shape, part, openpose, S), CLIFF (global_t, focal_l), CameraHMR (cam_int, trans_cam),
4D-Humans' evaluation files (scale in pixels). --set is the path of the new set below --output; a set in the place
of one of METRO's, for example mpii/train.yaml, is used by --data_mode.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.readers.hmr2_tars import Hmr2Tars
from datasets.builders.readers.npz import Npz
from scripts.lib.builders.command import build_all, parser_of, prepare
from utils.arguments import input_file, input_folder
from utils.errors import UserError, exit_on_user_error


@exit_on_user_error
def main():
    parser = parser_of(__doc__)
    parser.add_argument("--npz", type=input_file, metavar="FILE.npz", help="file with the labels")
    parser.add_argument("--images", type=input_folder, metavar="DIR", help="what imgname is relative to")
    parser.add_argument("--tars", type=input_folder, metavar="DIR", help="folder of .tar files")
    parser.add_argument("--set", required=True, metavar="FOLDER/NAME.yaml", help="the new set, below --output")
    args = parser.parse_args()
    if args.tars is None and (args.npz is None or args.images is None):
        raise UserError("give --npz and --images, or --tars")
    name = Path(args.set)
    if name.suffix != ".yaml" or name.is_absolute() or ".." in name.parts or len(name.parts) < 2:
        raise UserError(f"--set {args.set}: give FOLDER/NAME.yaml, a path below --output")
    bodies = prepare(args, genders=True)
    build_all({args.set: Hmr2Tars(args.tars) if args.tars else Npz(args.images, args.npz)}, bodies, args)


if __name__ == "__main__":
    main()
