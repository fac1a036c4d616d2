"""Build UP-3D: up3d/trainval.yaml.

python scripts/build_up3d_dataset.py --up3d up-3d --output DATA_ROOT
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.readers.up3d import UP3D
from scripts.lib.builders.command import build_all, parser_of, prepare
from utils.arguments import input_folder
from utils.errors import exit_on_user_error

SPLITS = ("trainval", "train", "val", "test")


@exit_on_user_error
def main():
    parser = parser_of(__doc__)
    parser.add_argument("--up3d", type=input_folder, required=True, metavar="DIR", help="the unpacked folder up-3d")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=["trainval"], help="default: trainval")
    args = parser.parse_args()
    bodies = prepare(args)
    build_all({f"up3d/{split}.yaml": UP3D(args.up3d, bodies, split) for split in args.splits}, bodies, args)


if __name__ == "__main__":
    main()
