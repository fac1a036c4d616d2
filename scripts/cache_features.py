"""Cache the features of the frozen MoveNet, so that training and evaluation do not compute them again.

    python scripts/cache_features.py --output data/people --num_samples 50000 --num_workers 2     # to train on
    python main.py --data_mode=synthetic --backbone=movenet --feature_cache=data/people ...

    python scripts/cache_features.py --output data/test --split test --num_samples 2000           # to evaluate on
    python scripts/cache_features.py --output data/pose2sim --pose2sim DATA_ROOT
    python scripts/cache_features.py --output data/photos --photos DIR                            # see eval_photos.py

    python scripts/cache_features.py --output data/occluded --split val --num_samples 1000 --occlude grey

A thousand people take 120 MB. Synthetic people of the training split are augmented, those of the other splits are not.
With --occlude, every person has a row without a patch and one for each of ten limbs under a patch, see
scripts/eval_occlusion.py; --num_samples counts rows. Run the command again to resume it, or with a larger
--num_samples to add people.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.feature_cache import FLAGS, LABELS, read_provenance, shard_path, write_shard
from datasets.human_mesh import HumanMeshDataset
from datasets.locate import FILES, find_data_root
from datasets.photos import AnnotatedPhotos
from datasets.synthetic import SyntheticDataset
from models.backbones.movenet import MoveNetBackbone, build_movenet_backbone
from models.inference.prepare import fast_movenet
from scripts.lib.occlusion.patches import OCCLUDERS
from scripts.lib.occlusion.sweep import PATCHES_PER_PERSON, OccludedPeople
from utils.arguments import add_assets_flag, number, output_folder, script_parser
from utils.errors import UserError, exit_on_user_error
from utils.files import make_folder
from utils.paths import MOVENET, MOVENET_STATISTICS, OPEN_BODY

SHARD = 500  # people in a file


def open_synthetic(split: str, seed: int, num_samples: int, assets: str, turned: float) -> Dataset:
    return SyntheticDataset(OPEN_BODY, split, seed=seed, num_samples=num_samples, assets=assets, turned=turned)


def open_occluded(split: str, seed: int, num_samples: int, assets: str, occluder: str) -> Dataset:
    """Rows of people under patches; num_samples: of rows, so that the last person may lack some."""
    people = open_synthetic(split, seed, -(-num_samples // PATCHES_PER_PERSON), assets, 0.0)
    return Subset(OccludedPeople(people, occluder), range(num_samples))


def open_pose2sim(data_root: str) -> Dataset:
    file = FILES["pose2sim"]["val"]
    return HumanMeshDataset(find_data_root(data_root, file) / file)


@torch.inference_mode()
def compute_features(backbone: MoveNetBackbone, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """images (N, 3, 224, 224), ImageNet-normalised -> features by name."""
    parts = []
    for image in (
        images
    ):  # one by one: the activations of one image fit into the cache of a core, a batch of 25 takes twice as long
        maps, keypoints = backbone.detect(image[None].contiguous(memory_format=torch.channels_last))
        maps = backbone.standardise(maps)
        exact, corners = (backbone.features(maps, keypoints, align_corners) for align_corners in (False, True))
        parts.append((*exact.maps, exact.pooled, exact.points, corners.points, keypoints, exact.trunk8))
    names = ("map16", "map32", "pooled", "points", "points_corners", "keypoints", "trunk8")
    return dict(zip(names, map(torch.cat, zip(*parts, strict=True)), strict=True))


def make_shard(number: int, folder: Path, open_people: Callable[[], Dataset], provenance: dict) -> int:
    """Write features and labels of the people from SHARD * number on -> number of people."""
    people = open_people()
    first = SHARD * number
    backbone = build_movenet_backbone(MOVENET, MOVENET_STATISTICS)
    backbone.movenet = fast_movenet(backbone.movenet, "cpu")
    rows = [people[i] for i in range(first, min(first + SHARD, len(people)))]
    labels = {name: torch.stack([row[name] for row in rows]) for name in LABELS}
    labels |= {name: torch.tensor([bool(row[name]) for row in rows]) for name in FLAGS}
    features = compute_features(backbone, torch.stack([row["image"] for row in rows]))
    write_shard(shard_path(folder, number), features, labels, {**provenance, "first": first})
    return len(rows)


def make_shards(numbers: list[int], folder: Path, open_people: Callable, provenance: dict, num_workers: int):
    """Write the missing shards. UserError if the existing shards are of other people."""
    for path in sorted(folder.glob("people_*.safetensors")):
        existing = read_provenance(path)
        names = sorted((provenance.keys() | existing.keys()) - {"first"})
        if different := [name for name in names if existing.get(name) != provenance.get(name)]:
            raise UserError(f"{path} holds other people ({different[0]} differs): choose another --output")
    numbers = [number for number in numbers if not shard_path(folder, number).exists()]
    make = partial(make_shard, folder=folder, open_people=open_people, provenance=provenance)
    if num_workers == 1:
        made, pool = map(make, numbers), nullcontext()
    else:
        # the processes start before tqdm's thread: a fork of a process with threads may inherit a locked lock
        pool = ProcessPoolExecutor(num_workers, initializer=torch.set_num_threads, initargs=(1,))
        made = pool.map(make, numbers)
    with pool:
        for _ in tqdm(made, total=len(numbers), unit="file"):
            pass


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("--output", type=output_folder, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--num_samples",
        type=number(int, at_least=1),
        default=50_000,
        help=f"synthetic people, in files of {SHARD} (default: %(default)s)",
    )
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="default: %(default)s")
    parser.add_argument(
        "--seed", type=number(int, at_least=0), default=0, help="of the synthetic people (default: %(default)s)"
    )
    parser.add_argument(
        "--turned",
        type=number(float, at_least=0),
        default=0.15,
        help="share of training people rotated by any angle, 0 to 1 (default: %(default)s)",
    )
    add_assets_flag(parser)
    parser.add_argument(
        "--pose2sim", metavar="DATA_ROOT", help="cache the set of scripts/build_pose2sim_dataset.py instead"
    )
    parser.add_argument("--occlude", choices=OCCLUDERS, help="people with each limb in turn under such a patch")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="cache annotated photographs instead")
    parser.add_argument(
        "--num_workers", type=number(int, at_least=1), default=2, help="processes (default: %(default)s)"
    )
    args = parser.parse_args()
    if args.turned > 1:
        raise UserError(f"--turned {args.turned:g} is above 1: give a share from 0 to 1")
    if args.pose2sim and args.photos:
        raise UserError("--pose2sim and --photos are two sets: give one of them, each with its own --output")
    if args.occlude and (args.pose2sim or args.photos or args.split == "train"):
        raise UserError("--occlude is for synthetic people to evaluate on: add --split val or test")
    if args.pose2sim or args.photos:
        source = "pose2sim" if args.pose2sim else "photos"
        open_people = partial(open_pose2sim, args.pose2sim) if args.pose2sim else partial(AnnotatedPhotos, args.photos)
        size = len(open_people())
        count = -(-size // SHARD)
        folder = Path(args.pose2sim or args.photos).resolve()
        provenance = {"split": source, "folder": str(folder), "people": size}
    else:
        # complete files only, so that a larger --num_samples can add files
        count = -(-args.num_samples // SHARD)
        provenance = {"split": args.split, "seed": args.seed, "turned": args.turned}
        open_people = partial(open_synthetic, args.split, args.seed, SHARD * count, args.assets, args.turned)
        if args.occlude:
            open_people = partial(open_occluded, args.split, args.seed, SHARD * count, args.assets, args.occlude)
            provenance["occlude"] = args.occlude
        provenance["assets"] = (Path(args.assets) / "photos").is_dir()
    make_folder(args.output)
    make_shards(list(range(count)), args.output, open_people, provenance, args.num_workers)


if __name__ == "__main__":
    main()
