"""Build 3DPW from its owners' release.

    python scripts/build_3dpw_dataset.py --images imageFiles --sequences sequenceFiles --output DATA_ROOT

    python scripts/build_3dpw_dataset.py --images imageFiles --json 3DPW_JSON --output DATA_ROOT

imageFiles and sequenceFiles are the folders of 3DPW's two archives. 3DPW_JSON has
3DPW_latest_train.json and 3DPW_latest_test.json of Pose2Mesh, in the camera's frame. Writes 3dpw/train.yaml and
3dpw/test_has_gender.yaml (and 3dpw/validation.yaml with --splits train validation test). Keypoints come from the body
of the person's gender if SMPL_MALE and SMPL_FEMALE lie beside the neutral one, else from the neutral body.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.readers.threedpw import ThreeDPW
from datasets.builders.readers.threedpw_json import ThreeDPWJson
from scripts.lib.builders.command import build_all, parser_of, prepare
from utils.arguments import input_folder
from utils.errors import UserError, exit_on_user_error

SETS = {"train": "3dpw/train.yaml", "validation": "3dpw/validation.yaml", "test": "3dpw/test_has_gender.yaml"}

JSON = "3DPW_latest_{}.json"


@exit_on_user_error
def main():
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=input_folder, required=True, metavar="DIR", help="imageFiles of 3DPW")
    parser.add_argument("--sequences", type=input_folder, metavar="DIR", help="sequenceFiles of 3DPW")
    parser.add_argument("--json", type=input_folder, metavar="DIR", help="JSON files of Pose2Mesh, instead")
    parser.add_argument(
        "--splits", nargs="+", choices=tuple(SETS), help="default: train and test, as far as they are there"
    )
    args = parser.parse_args()
    if (args.sequences is None) == (args.json is None):
        raise UserError("give --sequences or --json")
    paths = {split: args.json / JSON.format(split) if args.json else args.sequences / split for split in SETS}
    splits = args.splits or [split for split in ("train", "test") if paths[split].exists()]
    if not splits:
        raise UserError(f"neither {paths['train']} nor {paths['test']} is there; see docs/data.md for what to give")
    bodies = prepare(args, genders=True)
    readers = {
        split: ThreeDPWJson(args.images, paths[split])
        if args.json
        else ThreeDPW(args.images, args.sequences, (split,), bodies)
        for split in splits
    }
    build_all({SETS[split]: reader for split, reader in readers.items()}, bodies, args)


if __name__ == "__main__":
    main()
