"""Build COCO with SMPL fits: coco_smpl/train.yaml, from one of four kinds of fits.

    python scripts/build_coco_dataset.py --images train2017 --annotations person_keypoints_train2017.json
        --fits MSCOCO_train_SMPL_NeuralAnnot.json --output DATA_ROOT                (one line)
    python scripts/build_coco_dataset.py --images train2014 --fits COCO2014-All-ver01.json --output DATA_ROOT
    python scripts/build_coco_dataset.py --images coco --fits coco2014part_cliffGT.npz --output DATA_ROOT

Fits by NeuralAnnot or SMPLify (coco_smplify_train.json) need --annotations; those of EFT (.json) and CLIFF (.npz)
do not. Pictures of 2014 are also found under their names of 2017.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.keypoint_orders import COCO17_TO_J24
from scripts.lib.builders.command import build_all, parser_of, prepare
from scripts.lib.builders.fits import add_fit_flags, reader_of_fits
from utils.errors import exit_on_user_error


@exit_on_user_error
def main():
    args = add_fit_flags(parser_of(__doc__)).parse_args()
    bodies = prepare(args)
    build_all({"coco_smpl/train.yaml": reader_of_fits(args, bodies, COCO17_TO_J24)}, bodies, args)


if __name__ == "__main__":
    main()
