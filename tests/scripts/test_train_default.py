"""scripts/train_default.sh: the commands that it runs, recorded by programs in place of python and torchrun."""

import os
import shlex
import shutil
import subprocess

import pytest

from utils.options import parse_args
from utils.paths import ROOT

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def commands_of(folder, **settings) -> list[list[str]]:
    """Words of each command that the script runs with these settings."""
    for name in ("python", "torchrun"):
        program = folder / name
        program.write_text(f'#!/usr/bin/env bash\nprintf "%q " {name} "$@" >> "{folder}/log"; echo >> "{folder}/log"\n')
        program.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "ASSETS": "none", **settings}
    subprocess.run(["bash", ROOT / "scripts" / "train_default.sh"], env=environment, check=True)
    return [shlex.split(line) for line in (folder / "log").read_text().splitlines()]


def training_options(command: list[str]):
    return parse_args(command[command.index("main.py") + 1 :])


def test_all_parts(tmp_path):
    cache, train, cache_first, train_first, export_first, cache_second, train_second, export = commands_of(tmp_path)
    for command in (cache, cache_first, cache_second):
        assert command[:2] == ["python", "scripts/cache_features.py"]
    frozen, first, second = (training_options(command) for command in (train, train_first, train_second))
    assert (frozen.num_samples, frozen.num_epochs, frozen.train_backbone) == (100_000, 8, None)
    assert (first.num_samples, first.num_epochs, first.train_backbone) == (7_500, 4, "upper")
    assert (second.num_samples, second.num_epochs, second.train_backbone) == (20_000, 4, "upper")
    assert (first.w_orient, first.w_bones, second.w_orient, second.w_bones) == (0, 0, 10, 20)
    start = "logs/default/checkpoints/epoch_***.pt"
    assert first.load_checkpoint == start == export_first[export_first.index("--start") + 1]
    assert export_first[export_first.index("--input") + 1] == "logs/default_upper1/checkpoints/epoch_***.pt"
    assert second.load_checkpoint == export_first[export_first.index("--output") + 1]
    assert export[export.index("--input") + 1] == "logs/default_upper/checkpoints/epoch_***.pt"
    folders = [command[command.index("--output") + 1] for command in (cache, cache_first, cache_second)]
    assert folders == [str(options.feature_cache) for options in (frozen, first, second)]


def test_the_last_round_from_given_weights(tmp_path):
    settings = {"START": "a b.safetensors", "UPPER_SEED": "4", "OUTPUT": "c d.safetensors"}
    cache, train, export = commands_of(tmp_path, PROCESSES="1", **settings)
    assert cache[cache.index("--seed") + 1] == "4"
    assert "--nproc_per_node=1" in train
    options = training_options(train)
    assert (options.w_orient, options.w_bones, options.batch_size) == (10, 20, 32)
    assert options.load_checkpoint == "a b.safetensors" == export[export.index("--start") + 1]
    assert export[export.index("--output") + 1] == "c d.safetensors"
