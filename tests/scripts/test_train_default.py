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
    cache, train, cache_upper, train_upper, export = commands_of(tmp_path)
    assert cache[:2] == cache_upper[:2] == ["python", "scripts/cache_features.py"]
    first, second = training_options(train), training_options(train_upper)
    assert (first.num_samples, first.num_epochs, first.train_backbone) == (100_000, 8, None)
    assert (second.num_samples, second.num_epochs, second.train_backbone) == (7_500, 4, "upper")
    assert second.w_orient == second.w_bones == 0
    start = "logs/default/checkpoints/epoch_***.pt"
    assert second.load_checkpoint == start and export[export.index("--start") + 1] == start
    assert export[export.index("--input") + 1] == "logs/default_upper/checkpoints/epoch_***.pt"


def test_the_second_part_from_given_weights(tmp_path):
    settings = {"START": "a b.safetensors", "UPPER_SEED": "3", "UPPER_FLAGS": "--w_orient=10 --w_bones=20"}
    cache, train, export = commands_of(tmp_path, PROCESSES="1", **settings)
    assert cache[cache.index("--seed") + 1] == "3"
    assert "--nproc_per_node=1" in train
    options = training_options(train)
    assert (options.w_orient, options.w_bones, options.batch_size) == (10, 20, 32)
    assert options.load_checkpoint == "a b.safetensors" == export[export.index("--start") + 1]
