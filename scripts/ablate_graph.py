"""The experiment of docs/ablation.md: train variants of the joint graph on cached features and compare them.

    python scripts/cache_features.py --output data/people --num_samples 8000
    python scripts/cache_features.py --output data/val --split val --num_samples 1000
    python scripts/ablate_graph.py --output logs/ablation --features data/people --test data/val
    python scripts/ablate_graph.py --output logs/ablation --report

docs/ablation.md has all commands of the published experiment, with more people and more tests.

A run trains one variant on one share of the people with one seed, as main.py does. A finished run is a record
NAME.json with its weights (NAME.safetensors) and its estimates (NAME.TEST.npz). Run the command again to do what is
missing: an interrupted run is resumed from its checkpoint. Several processes with the same --output share the runs.
--occluded, --pose2sim and --photos take cached features of these sets, see scripts/cache_features.py.

Variants: none (no graph), kinematic (static graph, prior of the kinematic tree), learned (static graph, no prior),
llm_static and llm_adaptive (prior of the language model), shuffled_adaptive (as llm_adaptive, but with the prior
assigned to the wrong joints; the permutation depends on the seed). All variants of a seed start from the same weights
and train on the same samples in the same order.
"""

import fcntl
import fnmatch
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.feature_cache import FeatureCache
from scripts.lib.graph_ablation.measure import joint_labels, nearest_pose
from scripts.lib.graph_ablation.report import OCCLUDED, TEST, describe, report
from scripts.lib.graph_ablation.run import RECIPE, VARIANTS, Run, Stopped, execute, options_of
from utils.arguments import Parser, input_folder, number, output_folder, script_parser
from utils.checkpoint import find_checkpoint, load_checkpoint
from utils.errors import UserError, exit_on_user_error
from utils.files import atomic_path, make_folder, write_text
from utils.process import choose_device


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Lock the run that writes `path` -> whether this process may do it; the lock lasts until the block ends.

    The operating system releases the lock when its process ends, so a crash leaves no lock behind.
    """
    lock = path.with_suffix(".lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield not path.exists()  # another process may have finished the run before
        lock.unlink(missing_ok=True)


def work(runs: list[Run], folder: Path, features: Path, tests: dict[str, FeatureCache], settings: dict):
    """Execute every run that has no record yet and that no other process executes. Stops at a signal."""
    for run in runs:
        with claim(folder / f"{run.name}.json") as claimed:
            if not claimed:
                continue
            try:
                record = execute(run, folder, features, tests, settings)
            except Stopped:
                print(f"{run.name} is not finished; the same command resumes it", flush=True)
                return
            print(f"{run.name}: {describe(record)}, {record['train_seconds']:.0f} s of training", flush=True)


def read_records(folder: Path) -> list[dict]:
    """All finished runs. UserError for a file that is not the record of a run."""
    records = []
    for path in sorted(folder.glob("*_seed*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            Run(record["variant"], record["share"], record["seed"]), record["tests"][TEST], record["settings"]
            VARIANTS[record["variant"]], record["gates"], record["people"], record["parameters"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not the record of a run ({error}): delete it and run again") from error
        records.append(record)
    return records


def nearest_file(folder: Path, share: float) -> Path:
    return folder / f"nearest_{share:g}.npy"


def write_nearest(folder: Path, shares: list[float], people: FeatureCache, test: FeatureCache):
    """Save the distance of each test pose from the nearest training pose, for each share of the people."""
    for share in shares:
        path = nearest_file(folder, share)
        if not path.exists():
            poses = joint_labels(people)[: round(share * len(people))]
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, nearest_pose(joint_labels(test), poses))


def read_nearest(folder: Path, share: float) -> np.ndarray | None:
    """The distances of `write_nearest` (N,) in metres, None if they are not saved."""
    path = nearest_file(folder, share)
    return np.load(path, allow_pickle=False) if path.exists() else None


def check_settings(records: list[dict], settings: dict | None = None):
    """UserError if the settings of the runs differ."""
    for record in records:
        settings = settings or record["settings"]
        if different := sorted(name for name in settings if record["settings"].get(name) != settings[name]):
            raise UserError(f"--output holds runs with another {', '.join(different)}: choose another folder")


def remember_settings(folder: Path, settings: dict):
    """Save the settings before the first run. UserError if an unfinished run of the folder has others."""
    path = folder / "settings.json"
    if path.exists():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            check_settings([{"settings": dict(content)}], settings)
        except (OSError, TypeError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): choose another --output") from error
    else:
        write_text(path, json.dumps(settings, indent=1) + "\n")


def get_args_parser() -> Parser:
    parser = script_parser(__doc__)
    count = number(int, at_least=1)
    parser.add_argument("--output", type=output_folder, required=True, metavar="DIR", help="folder of the runs")
    parser.add_argument("--report", action="store_true", help="print the tables of the finished runs, and stop")
    data = parser.add_argument_group("cached features")
    data.add_argument("--features", type=input_folder, metavar="DIR", help="training people")
    data.add_argument("--people", type=count, metavar="N", help="use only the first N of them (default: all)")
    data.add_argument("--test", type=input_folder, metavar="DIR", help="synthetic test people")
    data.add_argument("--occluded", type=input_folder, metavar="DIR", help="test people of --occlude")
    data.add_argument("--pose2sim", type=input_folder, metavar="DIR", help="the pose2sim set")
    data.add_argument("--photos", type=input_folder, metavar="DIR", help="annotated photographs")
    runs = parser.add_argument_group("runs")
    runs.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    share = number(float, above=0)
    runs.add_argument("--shares", nargs="+", type=share, default=[1.0], help="shares of the people (default: 1)")
    runs.add_argument("--seeds", nargs="+", type=number(int, at_least=0), default=[0, 1, 2], help="default: 0 1 2")
    runs.add_argument("--runs", nargs="+", default=["*"], help="patterns of runs, such as 'none_*' '*_1_seed2'")
    train = parser.add_argument_group("training")
    train.add_argument("--load_checkpoint", metavar="FILE", help="network without a graph to start from")
    train.add_argument(
        "--num_samples", type=count, default=200_000, help="training samples of a run (default: %(default)s)"
    )
    train.add_argument(
        "--lr", type=number(float, above=0), default=5e-4, help="highest learning rate (default: %(default)s)"
    )
    train.add_argument(
        "--main_flags",
        type=shlex.split,
        default=[],
        metavar="FLAGS",
        help="flags of main.py for all runs, in one string",
    )
    train.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    train.add_argument("--num_threads", type=count, default=1, help="threads of torch (default: %(default)s)")
    return parser


@exit_on_user_error
def main():
    args = get_args_parser().parse_args()
    if args.report:
        records = read_records(args.output)
        if not records:
            raise UserError(f"no finished run in {args.output}: train first, see --help")
        check_settings(records)
        print(report(args.output, records, partial(read_nearest, args.output), len(args.seeds)))
        return
    if not (args.features and args.test):
        raise UserError("no data: give --features DIR and --test DIR, or --report")
    if over := [share for share in args.shares if share > 1]:
        raise UserError(f"--shares {over[0]:g} is above 1: a share is a part of the people")
    choose_device(args.device)
    torch.set_num_threads(args.num_threads)
    folders = {TEST: args.test, OCCLUDED: args.occluded, "pose2sim": args.pose2sim, "photos": args.photos}
    align_corners = False
    if args.load_checkpoint:
        align_corners = load_checkpoint(find_checkpoint(args.load_checkpoint))["config"].get("align_corners", True)
    tests = {name: FeatureCache(folder, None, align_corners) for name, folder in folders.items() if folder}
    people = FeatureCache(args.features, args.people, align_corners)
    settings = {
        "num_samples": args.num_samples,
        "lr": args.lr,
        "people": len(people),
        "recipe": shlex.join([*RECIPE, *args.main_flags]),
        "load_checkpoint": args.load_checkpoint,
        "align_corners": align_corners,
        "device": args.device,
        "tests": {name: len(dataset) for name, dataset in tests.items()},
    }
    # seed by seed, so that the report of an unfinished experiment compares the same seeds
    runs = [Run(variant, share, seed) for seed in args.seeds for share in args.shares for variant in args.variants]
    runs = [run for run in runs if any(fnmatch.fnmatchcase(run.name, pattern) for pattern in args.runs)]
    for run in runs:
        options_of(run, settings)  # too few people are an error before any training
    make_folder(args.output)
    check_settings(read_records(args.output), settings)
    remember_settings(args.output, settings)
    write_nearest(args.output, args.shares, people, tests[TEST])
    work(runs, args.output, args.features, tests, settings)


if __name__ == "__main__":
    main()
