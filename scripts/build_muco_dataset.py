"""Build MuCo-3DHP: muco/train.yaml.

    python scripts/build_muco_dataset.py --images MuCo --annotations MuCo-3DHP.json --fits smpl_param.json
        --output DATA_ROOT                                                          (one line)

--images has the folders augmented_set and unaugmented_set. Of each picture the nearest person is taken. Fits further
than 25 mm from the joints are left out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.readers.muco import MuCo
from scripts.lib.builders.command import build_all, parser_of, prepare
from utils.arguments import input_file, input_folder
from utils.errors import exit_on_user_error


@exit_on_user_error
def main():
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=input_folder, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--annotations", type=input_file, required=True, metavar="FILE.json", help="MuCo-3DHP.json")
    parser.add_argument(
        "--fits", type=input_file, metavar="FILE.json", help="smpl_param.json; without it, joints alone"
    )
    parser.add_argument("--all_people", action="store_true", help="also those behind the nearest person")
    args = parser.parse_args()
    bodies = prepare(args)
    reader = MuCo(args.images, args.annotations, args.fits, args.all_people)
    build_all({"muco/train.yaml": reader}, bodies, args)


if __name__ == "__main__":
    main()
