"""Draw synthetic people and keep what the frozen MoveNet sees of them, so that training can read them many times.

    python scripts/cache_features.py --output data/people --num_samples 50000 --num_workers 2
    python main.py --data_mode=synthetic --backbone=movenet --feature_cache=data/people ...

70 MB for a thousand people. Run again to go on after an interruption, or with a larger --num_samples for more.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.feature_cache import LABELS, shard_path, write_shard
from datasets.synthetic import ASSETS, SyntheticDataset
from models.build import META_DATA, MOVENET, MOVENET_STATISTICS, OPEN_BODY
from models.movenet import build_movenet_backbone
from utils.errors import UserError, exit_on_user_error

SHARD = 500  # people
BATCH = 25


@torch.inference_mode()
def see(backbone, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """images (N, 3, 224, 224), ImageNet-normalised -> features by name."""
    parts = []
    for batch in images.split(BATCH):
        with torch.autocast("cpu", torch.bfloat16):
            features = backbone(batch.contiguous(memory_format=torch.channels_last))
        parts.append((*features.maps, features.pooled, features.points, features.keypoints))
    return dict(
        zip(("map16", "map32", "pooled", "points", "keypoints"), map(torch.cat, zip(*parts, strict=True)), strict=True)
    )


def make_shard(number: int, folder: Path, seed: int, split: str, assets: str) -> int:
    """Draw people SHARD * number and on, and write what is seen of them -> how many there are."""
    torch.set_num_threads(1)
    people = SyntheticDataset(
        META_DATA / OPEN_BODY, split, seed=seed, num_samples=SHARD * (number + 1), assets=assets, augment=True
    )
    backbone = build_movenet_backbone(MOVENET, MOVENET_STATISTICS).to(memory_format=torch.channels_last)
    rows = [people[i] for i in range(SHARD * number, SHARD * (number + 1))]
    labels = {name: torch.stack([row[name] for row in rows]) for name in LABELS}
    provenance = {"split": split, "seed": seed, "first": SHARD * number, "assets": bool(people.generator.photos)}
    features = see(backbone, torch.stack([row["image"] for row in rows]))
    write_shard(shard_path(folder, number), features, labels, provenance)
    return len(rows)


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--num_samples", type=int, default=50_000, help="people in all (default: %(default)s)")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--assets", default=str(ASSETS), help="folder of scripts/fetch_synthetic_assets.sh, or none")
    parser.add_argument("--num_workers", type=int, default=2, help="processes (default: %(default)s)")
    args = parser.parse_args()
    if args.num_samples < SHARD:
        raise UserError(f"--num_samples {args.num_samples}: give at least {SHARD}, one file's worth")
    args.output.mkdir(parents=True, exist_ok=True)
    numbers = [n for n in range(args.num_samples // SHARD) if not shard_path(args.output, n).exists()]
    make = partial(make_shard, folder=args.output, seed=args.seed, split=args.split, assets=args.assets)
    with ProcessPoolExecutor(args.num_workers) as pool, tqdm(total=SHARD * len(numbers), unit="people") as bar:
        for count in pool.map(make, numbers):
            bar.update(count)


if __name__ == "__main__":
    main()
