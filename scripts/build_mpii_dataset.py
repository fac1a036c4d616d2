"""Build MPII with SMPL fits: mpii/train.yaml.

    python scripts/build_mpii_dataset.py --images images --annotations train.json
        --fits MPII_train_SMPL_NeuralAnnot.json --output DATA_ROOT                  (one line)
    python scripts/build_mpii_dataset.py --images images --fits mpii_cliffGT.npz --output DATA_ROOT

Fits by NeuralAnnot need --annotations (in COCO's form); those of CLIFF (.npz) and EFT (.json) do not.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.keypoint_orders import MPII16_TO_J24
from scripts.lib.builders.command import build_all, parser_of, prepare
from scripts.lib.builders.fits import add_fit_flags, reader_of_fits
from utils.errors import exit_on_user_error


@exit_on_user_error
def main():
    args = add_fit_flags(parser_of(__doc__)).parse_args()
    bodies = prepare(args)
    build_all({"mpii/train.yaml": reader_of_fits(args, bodies, MPII16_TO_J24)}, bodies, args)


if __name__ == "__main__":
    main()
