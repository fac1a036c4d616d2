"""Build BEDLAM: bedlam/train.yaml, from its SMPL labels and 6 fps pictures.

    python scripts/build_bedlam_dataset.py --labels all_npz_12_smpl_training --images training_images --output DATA_ROOT

--labels has one .npz per scene, --images one folder per scene. Pictures of close-up scenes are turned upright.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.readers.bedlam import Bedlam
from scripts.lib.builders.command import build_all, parser_of, prepare
from utils.arguments import input_folder
from utils.errors import exit_on_user_error


@exit_on_user_error
def main():
    parser = parser_of(__doc__)
    parser.add_argument(
        "--labels", type=input_folder, required=True, metavar="DIR", help="folder of scenes' .npz files"
    )
    parser.add_argument("--images", type=input_folder, required=True, metavar="DIR", help="folder of scenes' folders")
    args = parser.parse_args()
    bodies = prepare(args)  # BEDLAM's shapes are of the neutral body, whatever the person's gender
    build_all({"bedlam/train.yaml": Bedlam(args.images, list(args.labels.glob("*.npz")))}, bodies, args)


if __name__ == "__main__":
    main()
