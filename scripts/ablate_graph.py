"""Does the joint graph help, and does it matter what its prior says? Train the transformer on kept features and see.

    python scripts/cache_features.py --output data/people --num_samples 20000
    python scripts/cache_features.py --output data/test --split test --num_samples 2000
    python scripts/ablate_graph.py --output logs/ablation --features data/people --test data/test
    python scripts/ablate_graph.py --output logs/ablation --table

A run trains one variant on one share of the people from one seed, in about 3 minutes on one core, and leaves one file
in --output. Variants of a share and seed see the same people in the same order, start from the same numbers and train
equally long. Run the same command again to go on, or several times at once to share the work. --pose2sim and --photos
take kept features of these sets, see scripts/cache_features.py. shuffled is the control: the prior's own numbers,
given to the wrong joints, by another permutation for every seed.
"""

import argparse
import fcntl
import fnmatch
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.feature_cache import FeatureCache
from scripts.lib.graph_ablation.run import RECIPE, VARIANTS, Run, execute
from scripts.lib.graph_ablation.table import describe, table
from utils.checkpoint import find_checkpoint, load_checkpoint
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Whether the run that will write `path` is ours; no other process gets it until the block ends.

    The system drops the lock when its process ends, however it ends: there are no stale ones.
    """
    lock = path.with_suffix(".lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield not path.exists()  # the one who had the lock before may have finished it
        lock.unlink(missing_ok=True)


def work(runs: list[Run], folder: Path, people: FeatureCache, tests: dict, settings: dict):
    """Every run that has no file yet and nobody else is at."""
    for run in runs:
        path = folder / f"{run.name}.json"
        with claim(path) as ours:
            if ours:
                result = execute(run, people, tests, settings)
                write_text(path, json.dumps(result, indent=1) + "\n")
                print(f"{run.name}: {describe(result)} in {result['seconds']:.0f} s", flush=True)


def read_results(folder: Path) -> list[dict]:
    """All finished runs. UserError where a file is none."""
    results = []
    for path in sorted(folder.glob("*_seed*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            Run(result["variant"], result["share"], result["seed"]), result["tests"], result["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not the file of a run ({error}): delete it and run again") from error
        results.append(result)
    return results


def check_settings(results: list[dict], settings: dict | None = None):
    """UserError where runs are not comparable."""
    for result in results:
        settings = settings or result["settings"]
        if different := sorted(name for name in settings if result["settings"].get(name) != settings[name]):
            raise UserError(f"--output holds runs with another {', '.join(different)}: choose another folder")


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs' files")
    parser.add_argument("--table", action="store_true", help="print what is finished and stop")
    parser.add_argument("--features", type=Path, help="kept features to train on")
    parser.add_argument("--people", type=int, help="use the first so many of them (default: all)")
    parser.add_argument("--test", type=Path, help="kept features of the synthetic test people")
    parser.add_argument("--pose2sim", type=Path, help="kept features of the pose2sim set")
    parser.add_argument("--photos", type=Path, help="kept features of annotated photographs")
    parser.add_argument("--load_checkpoint", metavar="FILE", help="network without a graph to start from")
    parser.add_argument(
        "--lr", type=float, default=5e-4, help="at its highest; a trained start wants less (default: %(default)s)"
    )
    parser.add_argument("--visits", type=int, default=20_000, help="people seen in a run (default: %(default)s)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--shares", nargs="+", type=float, default=[1.0, 0.1, 0.01], help="of the people")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", nargs="+", default=["*"], help="only these, by patterns like 'full_*' '*_0.1_seed2'")
    parser.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda or cuda:N")
    parser.add_argument("--num_threads", type=int, default=1, help="cores of this process (default: %(default)s)")
    args = parser.parse_args()
    if args.table:
        results = read_results(args.output)
        if not results:
            raise UserError(f"no finished run in {args.output}: train some first, see --help")
        check_settings(results)
        print(table(results))
        return
    if not (args.features and args.test):
        raise UserError("nothing to train or to test on: give --features DIR and --test DIR, or --table")
    torch.set_num_threads(args.num_threads)
    folders = {"synthetic": args.test, "pose2sim": args.pose2sim, "photos": args.photos}
    align_corners = False
    if args.load_checkpoint:
        align_corners = load_checkpoint(find_checkpoint(args.load_checkpoint))["config"].get("align_corners", True)
    tests = {name: FeatureCache(folder, None, align_corners) for name, folder in folders.items() if folder}
    people = FeatureCache(args.features, args.people, align_corners)
    settings = {
        "visits": args.visits,
        "lr": args.lr,
        "people": len(people),
        "recipe": " ".join(RECIPE),
        "load_checkpoint": args.load_checkpoint,
        "align_corners": align_corners,
        "device": args.device,
        "tests": {name: len(dataset) for name, dataset in tests.items()},
    }
    args.output.mkdir(parents=True, exist_ok=True)
    check_settings(read_results(args.output), settings)
    # seed by seed, so that a table of what is finished is fair
    runs = [Run(variant, share, seed) for seed in args.seeds for share in args.shares for variant in args.variants]
    runs = [run for run in runs if any(fnmatch.fnmatchcase(run.name, pattern) for pattern in args.runs)]
    work(runs, args.output, people, tests, settings)


if __name__ == "__main__":
    main()
