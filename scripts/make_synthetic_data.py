"""Write synthetic people in the layout of the seven data set archives, so that every documented command runs.

    python scripts/make_synthetic_data.py --output DIR --num_samples 1000 --num_workers 8

N samples each for training on mixed data (a composite over five sets), validation as Human3.6M, training and testing
as 3DPW.
"""

import argparse
import multiprocessing
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import SyntheticDataset
from datasets.tsv import TSVWriter, write_composite
from utils.errors import UserError, exit_on_user_error
from utils.paths import ASSETS, OPEN_BODY

COMPOSITE = "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml"
# the sets that the composite joins; each has a share of the training people
PARTS = ("human3.6m/train.yaml", "coco_smpl/train.yaml", "muco/train.yaml", "up3d/trainval.yaml", "mpii/train.yaml")
# split and first row (in units of num_samples) of the people that stand in for each plain set
PLAIN = {
    "3dpw/train.yaml": ("train", 1),
    "human3.6m/valid.protocol2.yaml": ("val", 0),
    "3dpw/test_has_gender.yaml": ("test", 0),
}
QUALITY = 92

_dataset = None  # what worker processes draw from; they inherit it by fork


def draw(index):
    """Row `index` of the current data set -> key, JPEG bytes, label, picture size."""
    image, label = _dataset.wide_picture(index)
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"{_dataset.split}_{index:07d}", encoded.tobytes(), label, image.shape[0]


def write_set(yaml_file, dataset, rows, num_workers):
    """Write rows of a SyntheticDataset as a plain set."""
    global _dataset
    _dataset = dataset
    cv2.setNumThreads(0)
    with TSVWriter(yaml_file) as writer:
        if num_workers > 1:
            pool = multiprocessing.get_context("fork").Pool(num_workers)
            drawn = pool.imap(draw, rows, chunksize=8)
        else:
            pool, drawn = None, map(draw, rows)
        try:
            for key, image, label, size in tqdm(drawn, total=len(rows), desc=str(yaml_file), disable=None):
                writer.add(key, image, label, size, size)
        finally:
            if pool is not None:
                pool.terminate()


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder that the data sets go into")
    parser.add_argument("--num_samples", type=int, default=1000, help="people per split")
    parser.add_argument("--num_workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--body", type=Path, default=OPEN_BODY, help="body in SMPL layout (.npz)")
    parser.add_argument(
        "--assets", type=Path, default=ASSETS, help="folder of fetched assets; plain looks where absent"
    )
    args = parser.parse_args()
    if args.num_samples < 1 or args.num_workers < 1:
        raise UserError("--num_samples and --num_workers must be 1 or more")
    count = args.num_samples

    def people(split):
        return SyntheticDataset(args.body, split, args.seed, num_samples=2 * count, augment=False, assets=args.assets)

    bounds = np.linspace(0, count, len(PARTS) + 1).astype(int)
    rows = []
    for part, name in enumerate(PARTS):
        mine = range(bounds[part], bounds[part + 1])
        write_set(args.output / name, people("train"), mine, args.num_workers)
        rows += [(part, row) for row in range(len(mine))]
    for name, (split, first) in PLAIN.items():
        write_set(args.output / name, people(split), range(first * count, (first + 1) * count), args.num_workers)
    order = np.random.default_rng(args.seed).permutation(count)
    write_composite(args.output / COMPOSITE, [args.output / name for name in PARTS], np.array(rows)[order])
    print(f"wrote {4 * count} people to {args.output}: use --data_root {args.output} or SMPL_POSE_DATA={args.output}")


if __name__ == "__main__":
    main()
