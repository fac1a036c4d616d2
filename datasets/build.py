"""Build data sets and loaders from the options of the command line. Other modules of this package take no `args`."""

from argparse import Namespace

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from datasets.feature_cache import FeatureCache
from datasets.human_mesh import HumanMeshDataset
from datasets.locate import FILES, find_data_root
from datasets.mixture import Mixture
from datasets.sampler import WHOLE, Shard, ShuffledRows, SkipBadRows, collate
from datasets.tsv import read_note
from utils.arguments import split_weight
from utils.errors import UserError
from utils.paths import OPEN_BODY
from utils.process import rank, world_size
from utils.train.signals import leave_signals_to_parent


def build_dataset(args: Namespace, split: str) -> Dataset:
    """The set of --data_mode, or own sets, for split "train" (augmented) or "val", at most args.limit_val rows of it.

    Uses args.data_root and args.seed. Synthetic people of "val" are those of the test split with --eval_only. With
    args.overfit, both splits are the first so many training samples.
    """
    if args.overfit:
        return Samples(_build_dataset(args, "train"), args.overfit)
    dataset = _build_dataset(args, split)
    limited = split == "val" and args.limit_val and args.limit_val < len(dataset)
    return Subset(dataset, range(args.limit_val)) if limited else dataset


class Samples(Dataset):
    """The first samples of a data set, read once and kept in memory."""

    def __init__(self, dataset: Dataset, num_samples: int):
        if num_samples > len(dataset):
            raise UserError(
                f"--overfit {num_samples}: the training set has only {len(dataset)} samples; give at most that"
            )
        self.rows = [dataset[i] for i in range(num_samples)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return dict(self.rows[index])


def _build_dataset(args: Namespace, split: str) -> Dataset:
    if args.feature_cache and split == "train":
        learns = args.train_backbone == "upper"
        return FeatureCache(args.feature_cache, args.num_samples, bool(args.align_corners), with_trunk8=learns)
    if chosen := args.train_yaml if split == "train" else args.val_yaml:
        return _mixture(args, chosen, train=split == "train")
    if args.data_mode == "synthetic":
        from datasets.synthetic.dataset import SyntheticDataset  # imports numba, which other modes do not need

        if split == "train":
            options = {"seed": args.seed, "num_samples": args.num_samples, "augment": not args.no_augment}
            return SyntheticDataset(body_file=OPEN_BODY, split="train", **options)
        # the same people for every --seed; a model must not be chosen on the test people
        return SyntheticDataset(body_file=OPEN_BODY, split="test" if args.eval_only else "val", seed=0)
    file = FILES[args.data_mode].get(split)
    if file is None:
        raise UserError(f"--data_mode {args.data_mode} has no {split} set: use it with --eval_only")
    root, train = find_data_root(args.data_root, file), split == "train"
    return HumanMeshDataset(
        root / file,
        augment=train and not args.no_augment,
        seed=args.seed if train else 0,
        root=None if args.allow_outside_paths else root.absolute(),
        with_smpl_joints=args.data_mode == "emdb" and not train,
        with_gender=_with_gender(args, train),
    )


def _with_gender(args: Namespace, train: bool) -> bool:
    """Whether the rows are for evaluation by the gender of the labels."""
    return args.data_mode == "3dpw" and bool(args.overfit or not train)


def _mixture(args: Namespace, chosen: list[str], train: bool) -> Mixture:
    seed = args.seed if train else 0
    options = {"augment": train and not args.no_augment, "seed": seed, "with_gender": _with_gender(args, train)}
    options["with_smpl_joints"] = args.data_mode == "emdb" and not train
    root = {"root": None} if args.allow_outside_paths else {}
    files, weights = zip(*map(split_weight, chosen), strict=True)
    return Mixture([HumanMeshDataset(file, **options, **root) for file in files], weights, seed)


def describe_data(args: Namespace) -> str:
    """Name of the evaluation set, for the evaluation protocol."""
    if args.overfit:
        return f"the first {args.overfit} samples of training"
    if args.val_yaml:
        return " ".join(args.val_yaml)
    people = f"the fixed {'test' if args.eval_only else 'validation'} people"
    return f"{args.data_mode}, {FILES.get(args.data_mode, {}).get('val', people)}"


def describe_labels(args: Namespace) -> dict[str, str]:
    """The note on the labels of the evaluation set, for the evaluation protocol; {} if there is nothing
    to note."""
    if args.overfit:
        files = []
    elif args.val_yaml:
        files = [split_weight(text)[0] for text in args.val_yaml]
    else:
        file = FILES.get(args.data_mode, {}).get("val")
        files = [find_data_root(args.data_root, file) / file] if file else []
    notes = [note for file in files if (note := read_note(file))]
    labels = {"labels": "; ".join(dict.fromkeys(notes))} if notes else {}
    if args.data_mode == "emdb":
        labels["joints"] = "24 SMPL joints, against those of the labelled body"
    return labels


def make_loader(args: Namespace, split: str) -> DataLoader:
    """This process's loader of the split "train" or "val"."""
    dataset, train = build_dataset(args, split), split == "train"
    batch_size = args.batch_size if train else args.val_batch_size
    shard = Shard(args.seed, rank(), world_size())
    options = {"num_workers": args.num_workers, "train": train, "shard": shard, "skip_bad_rows": True}
    pin_memory = torch.cuda.is_available() and args.device != "cpu"
    return build_loader(dataset, batch_size=batch_size, pin_memory=pin_memory, **options)


def build_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    num_workers: int,
    train: bool,
    shard: Shard = WHOLE,
    skip_bad_rows: bool = False,
    pin_memory: bool = False,
) -> DataLoader:
    """Load this process's share of a data set in batches.

    train: random order, a new one after `loader.sampler.set_epoch(epoch)`; all processes have equally many full
    batches, or one smaller batch if the set is too small for a full one. Otherwise rows `rank, rank + world_size, ...`
    in order, so that over all processes each row is loaded exactly once. The content of a row depends on seed, epoch
    and row number alone, not on num_workers or world_size. skip_bad_rows: see `datasets.sampler.SkipBadRows`.
    pin_memory: for a GPU, which then copies batches faster.
    """
    if train:
        sampler = ShuffledRows(len(dataset), batch_size, shard)
    else:
        sampler = range(shard.rank, len(dataset), shard.world_size)
    return DataLoader(
        SkipBadRows(dataset, replace=train) if skip_bad_rows else dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=_start_worker,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        drop_last=train and len(sampler) >= batch_size,
        generator=torch.Generator().manual_seed(shard.seed),  # seeds the workers; the global generator is not used
    )


def _start_worker(_: int) -> None:
    leave_signals_to_parent()
    cv2.setNumThreads(0)  # one core per worker; a thread pool does not survive the fork anyway
