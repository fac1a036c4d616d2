"""Write synthetic people in the layout of the seven data set archives, so that all commands run without downloads.

    python scripts/make_synthetic_data.py --output DIR --num_samples 1000 --num_workers 8

N people each for training on mixed data (a composite of five sets), for validation in place of Human3.6M, and for
training and test in place of 3DPW.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import SyntheticDataset
from datasets.tsv import TSVWriter, write_composite
from utils.arguments import add_assets_flag, default_path, input_file, number, output_folder, script_parser
from utils.errors import UserError, exit_on_user_error, printable
from utils.paths import OPEN_BODY

COMPOSITE = "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml"
# the plain sets of the composite; each contains a share of the training people
PARTS = ("human3.6m/train.yaml", "coco_smpl/train.yaml", "muco/train.yaml", "up3d/trainval.yaml", "mpii/train.yaml")
# split of the people in every other plain set, and the first row in units of num_samples
PLAIN_SETS = {
    "3dpw/train.yaml": ("train", 1),
    "human3.6m/valid.protocol2.yaml": ("val", 0),
    "3dpw/test_has_gender.yaml": ("test", 0),
}
QUALITY = 92  # of the JPEGs

_dataset = None  # the current data set; worker processes inherit it by fork


def draw(index: int) -> tuple[str, bytes, dict, int]:
    """Row `index` of the current data set -> key, JPEG bytes, METRO label, side of the picture in pixels."""
    image, label = _dataset.wide_picture(index)
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"{_dataset.split}_{index:07d}", encoded.tobytes(), label, image.shape[0]


def write_set(yaml_file: Path, dataset: SyntheticDataset, rows: range, num_workers: int) -> None:
    """Write rows of a data set as a plain set, with num_workers processes."""
    global _dataset
    _dataset = dataset
    cv2.setNumThreads(0)
    with TSVWriter(yaml_file) as writer:
        if num_workers == 1:
            drawn, pool = map(draw, rows), None
        else:  # the processes have the data set by being forked
            pool = ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("fork"))
            drawn = pool.map(draw, rows, chunksize=8)
        try:
            for key, image, label, size in tqdm(drawn, total=len(rows), desc=printable(yaml_file), disable=None):
                writer.add(key, image, label, size, size)
        except BrokenProcessPool as error:
            raise UserError(
                "a process was killed, perhaps for lack of memory: lower --num_workers and run the command again"
            ) from error
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)


@exit_on_user_error
def main():
    parser, positive = script_parser(__doc__), number(int, at_least=1)
    parser.add_argument("--output", type=output_folder, required=True, metavar="DIR", help="folder for the data sets")
    parser.add_argument(
        "--num_samples", type=positive, default=1000, help="number of people per set (default: %(default)s)"
    )
    parser.add_argument("--num_workers", type=positive, default=1, help="number of processes (default: %(default)s)")
    parser.add_argument(
        "--seed", type=number(int, at_least=0), default=0, help="of all random numbers (default: %(default)s)"
    )
    parser.add_argument(
        "--body", type=input_file, default=OPEN_BODY, metavar="FILE", help=f"body model ({default_path(OPEN_BODY)})"
    )
    add_assets_flag(parser)
    args = parser.parse_args()
    count = args.num_samples

    def people(split: str) -> SyntheticDataset:
        return SyntheticDataset(args.body, split, args.seed, num_samples=2 * count, augment=False, assets=args.assets)

    bounds = np.linspace(0, count, len(PARTS) + 1).astype(int)
    rows = []
    for part, name in enumerate(PARTS):
        mine = range(bounds[part], bounds[part + 1])
        write_set(args.output / name, people("train"), mine, args.num_workers)
        rows += [(part, row) for row in range(len(mine))]
    for name, (split, first) in PLAIN_SETS.items():
        write_set(args.output / name, people(split), range(first * count, (first + 1) * count), args.num_workers)
    order = np.random.default_rng(args.seed).permutation(count)
    write_composite(args.output / COMPOSITE, [args.output / name for name in PARTS], np.array(rows)[order])
    print(f"wrote {4 * count} people to {args.output}: read them with --data_root {args.output}")


if __name__ == "__main__":
    main()
