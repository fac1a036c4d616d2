"""From the command line's options to data sets and loaders: the only file of this package that sees `args`."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets.feature_cache import FeatureCache
from datasets.human_mesh import HumanMeshDataset
from datasets.sampler import SkipBadRows, collate
from datasets.tsv import read_note
from utils.errors import UserError
from utils.paths import OPEN_BODY, ROOT
from utils.train.signals import leave_signals_to_parent

FOLDERS = ("Tax-H36m-coco40k-Muco-UP-Mpii", "human3.6m", "coco_smpl", "muco", "up3d", "mpii", "3dpw", "pose2sim")
FILES = {
    "h36m": {"train": "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml", "val": "human3.6m/valid.protocol2.yaml"},
    "3dpw": {"train": "3dpw/train.yaml", "val": "3dpw/test_has_gender.yaml"},
    "pose2sim": {"val": "pose2sim/test.yaml"},
}
_HERE = ROOT / "datasets"


def find_data_root(data_root: str | None = None, needed: str | None = None) -> Path:
    """The folder that holds the data sets, or the one that holds the file `needed` ("3dpw/train.yaml").

    Looked for in data_root if given, else in the environment's SMPL_POSE_DATA if set, else in this package's folder and
    in any folder or link directly inside it: users link their storage into `datasets/`, which is also a code package.
    """
    if named := data_root or os.environ.get("SMPL_POSE_DATA"):
        places = [Path(named).expanduser()]
    else:
        places = [_HERE, *sorted(path for path in _HERE.iterdir() if _may_hold_data(path))]
    for place in places:
        if any((place / name).exists() for name in ((needed,) if needed else FOLDERS)):
            return place
    raise UserError(
        f"data set not found: looked for {needed or 'any of ' + ', '.join(FOLDERS)} in {', '.join(map(str, places))}; "
        "download one (bash scripts/download_datasets_wget.sh or scripts/download_datasets_azcopy.sh), "
        "make one (python scripts/make_synthetic_data.py --output DIR --num_samples 1000), "
        "or point --data_root (or the environment variable SMPL_POSE_DATA) at the folder that has one"
    )


def _may_hold_data(path: Path) -> bool:
    return path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists()


def build_dataset(args, split: str) -> Dataset:
    """The data set of `args.data_mode` for split "train" (augmented) or "val"; uses args.data_root and args.seed."""
    if args.feature_cache and split == "train":
        return FeatureCache(args.feature_cache, args.num_samples)
    if args.data_mode == "synthetic":
        from datasets.synthetic.dataset import SyntheticDataset  # brings a compiler along that other modes do without

        if split == "train":
            return SyntheticDataset(body_file=OPEN_BODY, split="train", seed=args.seed, num_samples=args.num_samples)
        return SyntheticDataset(body_file=OPEN_BODY, split="test", seed=0)  # the same people, whatever --seed
    file = FILES[args.data_mode].get(split)
    if file is None:
        raise UserError(f"--data_mode {args.data_mode} has no {split} set: use it with --eval_only")
    root, train = find_data_root(args.data_root, file), split == "train"
    return HumanMeshDataset(
        root / file,
        augment=train,
        seed=args.seed if train else 0,
        root=None if args.allow_outside_paths else root.absolute(),
    )


def describe_labels(args) -> dict[str, str]:
    """What the maker of the evaluation set says of its labels, for the protocol; nothing where it says nothing."""
    file = FILES.get(args.data_mode, {}).get("val")
    note = file and read_note(find_data_root(args.data_root, file) / file)
    return {"labels": note} if note else {}


def build_loader(
    dataset: Dataset,
    batch_size: int,
    num_workers: int,
    train: bool,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    skip_bad_rows: bool = False,
) -> DataLoader:
    """A loader of this process's share of the data set, batch_size rows at a time.

    train: a new order every epoch, told by `loader.sampler.set_epoch(epoch)`; all processes get equally many full
    batches, and where the set is too small for one, the rows there are. Otherwise rows `rank, rank + world_size, ...`
    in order, so that over all processes each row comes exactly once. What a row holds depends on seed, epoch and row
    alone, not on num_workers or world_size. skip_bad_rows: see datasets/sampler.py.
    """
    if train:
        sampler = ShuffledRows(len(dataset), batch_size, seed, rank, world_size)
    else:
        sampler = range(rank, len(dataset), world_size)
    return DataLoader(
        SkipBadRows(dataset, replace=train) if skip_bad_rows else dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=train and len(sampler) >= batch_size,
        generator=torch.Generator().manual_seed(seed),  # the workers' own seeds; leaves the global generator alone
    )


def _start_worker(_: int):
    leave_signals_to_parent()
    cv2.setNumThreads(0)  # one core per worker; a pool of threads does not survive the fork anyway


class RowNumber(int):
    """A row number that knows its epoch: `dataset[i]` draws its augmentation from both, in whatever worker it runs.

    Workers that live through all epochs hold a copy of the data set as it was at their start, so that the epoch has to
    travel with the request. Data sets that do not care see an ordinary int.
    """

    epoch: int

    def __new__(cls, row: int, epoch: int = 0):
        number = super().__new__(cls, row)
        number.epoch = epoch
        return number


class ShuffledRows(Sampler):
    """This process's share of a random order of all rows, the same length in every process."""

    def __init__(self, num_rows: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1):
        self.num_rows, self.seed, self.rank, self.world_size = num_rows, seed, rank, world_size
        self.batch_size, self.epoch, self.first_row = batch_size, 0, 0
        # leave out the odd rows of a large set, repeat some of a small one: never wait for a process without a batch
        self.num_samples = num_rows // world_size
        if self.num_samples < batch_size:
            self.num_samples = -(-num_rows // world_size)

    def set_epoch(self, epoch: int, first_batch: int = 0):
        """Choose the order of the next pass, and where to begin in it: what a run goes on with had been used before."""
        self.epoch, self.first_row = epoch, first_batch * self.batch_size

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[RowNumber]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_rows)
        order = np.resize(order, self.num_samples * self.world_size)  # cuts off or starts over
        return (RowNumber(row, self.epoch) for row in order[self.rank :: self.world_size][self.first_row :].tolist())
