"""Ablation of the joint graph and its prior: train variants of the transformer on cached features and compare them.

    python scripts/cache_features.py --output data/people --num_samples 20000
    python scripts/cache_features.py --output data/test --split test --num_samples 2000
    python scripts/ablate_graph.py --output logs/ablation --features data/people --test data/test
    python scripts/ablate_graph.py --output logs/ablation --table

A run trains one variant on one share of the people with one seed. It takes about 3 minutes on one core and writes one
file to --output. All variants of a share and seed start from the same weights and train on the same samples in the same
order. Run the command again to resume, or several times at once to share the runs among processes. --pose2sim and
--photos take cached features of these sets, see scripts/cache_features.py.

Variants: none (no graph), kinematic (tree prior), learned (no prior), llm (prior of the language model), full (llm
prior and adaptive term), shuffled (full, but with the prior assigned to the wrong joints; the permutation depends on
the seed). shuffled is the control for full.
"""

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
from utils.arguments import Parser, input_folder, number, output_folder, script_parser
from utils.checkpoint import find_checkpoint, load_checkpoint
from utils.errors import UserError, exit_on_user_error
from utils.files import make_folder, write_text
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


def work(runs: list[Run], folder: Path, people: FeatureCache, tests: dict[str, FeatureCache], settings: dict):
    """Execute every run that has no file yet and that no other process executes."""
    for run in runs:
        path = folder / f"{run.name}.json"
        with claim(path) as claimed:
            if claimed:
                result = execute(run, people, tests, settings)
                write_text(path, json.dumps(result, indent=1) + "\n")
                print(f"{run.name}: {describe(result)} in {result['seconds']:.0f} s", flush=True)


def read_results(folder: Path) -> list[dict]:
    """All finished runs. UserError for a file that is not the result of a run."""
    results = []
    for path in sorted(folder.glob("*_seed*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            Run(result["variant"], result["share"], result["seed"]), result["tests"], result["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not the result of a run ({error}): delete it and run again") from error
        results.append(result)
    return results


def check_settings(results: list[dict], settings: dict | None = None):
    """UserError if the settings of the runs differ."""
    for result in results:
        settings = settings or result["settings"]
        if different := sorted(name for name in settings if result["settings"].get(name) != settings[name]):
            raise UserError(f"--output holds runs with another {', '.join(different)}: choose another folder")


def get_args_parser() -> Parser:
    parser = script_parser(__doc__)
    count = number(int, at_least=1)
    parser.add_argument("--output", type=output_folder, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, and stop")
    data = parser.add_argument_group("cached features")
    data.add_argument("--features", type=input_folder, metavar="DIR", help="training people")
    data.add_argument("--people", type=count, metavar="N", help="use only the first N of them (default: all)")
    data.add_argument("--test", type=input_folder, metavar="DIR", help="synthetic test people")
    data.add_argument("--pose2sim", type=input_folder, metavar="DIR", help="the pose2sim set")
    data.add_argument("--photos", type=input_folder, metavar="DIR", help="annotated photographs")
    runs = parser.add_argument_group("runs")
    runs.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    share = number(float, above=0)
    runs.add_argument(
        "--shares", nargs="+", type=share, default=[1.0, 0.1, 0.01], help="shares of the people (default: 1 0.1 0.01)"
    )
    runs.add_argument("--seeds", nargs="+", type=number(int, at_least=0), default=[0, 1, 2], help="default: 0 1 2")
    runs.add_argument("--runs", nargs="+", default=["*"], help="patterns of runs, such as 'full_*' '*_0.1_seed2'")
    train = parser.add_argument_group("training")
    train.add_argument("--load_checkpoint", metavar="FILE", help="network without a graph to start from")
    train.add_argument(
        "--num_samples", type=count, default=20_000, help="training samples of a run (default: %(default)s)"
    )
    train.add_argument(
        "--lr", type=number(float, above=0), default=5e-4, help="highest learning rate (default: %(default)s)"
    )
    train.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    train.add_argument("--num_threads", type=count, default=1, help="threads of torch (default: %(default)s)")
    return parser


@exit_on_user_error
def main():
    args = get_args_parser().parse_args()
    if args.table:
        results = read_results(args.output)
        if not results:
            raise UserError(f"no finished run in {args.output}: train first, see --help")
        check_settings(results)
        print(table(results))
        return
    if not (args.features and args.test):
        raise UserError("no data: give --features DIR and --test DIR, or --table")
    if over := [share for share in args.shares if share > 1]:
        raise UserError(f"--shares {over[0]:g} is above 1: a share is a part of the people")
    choose_device(args.device)
    torch.set_num_threads(args.num_threads)
    folders = {"synthetic": args.test, "pose2sim": args.pose2sim, "photos": args.photos}
    align_corners = False
    if args.load_checkpoint:
        align_corners = load_checkpoint(find_checkpoint(args.load_checkpoint))["config"].get("align_corners", True)
    tests = {name: FeatureCache(folder, None, align_corners) for name, folder in folders.items() if folder}
    people = FeatureCache(args.features, args.people, align_corners)
    settings = {
        "num_samples": args.num_samples,
        "lr": args.lr,
        "people": len(people),
        "recipe": " ".join(RECIPE),
        "load_checkpoint": args.load_checkpoint,
        "align_corners": align_corners,
        "device": args.device,
        "tests": {name: len(dataset) for name, dataset in tests.items()},
    }
    make_folder(args.output)
    check_settings(read_results(args.output), settings)
    # Seed by seed, so that the table of an unfinished ablation compares the same seeds.
    runs = [Run(variant, share, seed) for seed in args.seeds for share in args.shares for variant in args.variants]
    runs = [run for run in runs if any(fnmatch.fnmatchcase(run.name, pattern) for pattern in args.runs)]
    work(runs, args.output, people, tests, settings)


if __name__ == "__main__":
    main()
