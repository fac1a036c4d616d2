"""Flags of presets and of an earlier run's options.json."""

import shlex

import pytest

from utils.errors import UserError
from utils.options import get_args_parser, parse_args
from utils.options.presets import PRESETS
from utils.train.logger import Logger

STAGE_2 = "--batch_size=100 --lr=2e-4 --data_mode=h36m --model_type=SMPL-Pose --num_epochs=100"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_flags_with_their_values(name):
    args = vars(parse_args([f"--preset={name}"]))
    assert {key: args[key] for key in PRESETS[name]} == PRESETS[name]
    others = args.keys() - PRESETS[name].keys() - {"preset"}
    defaults = vars(get_args_parser().parse_args([]))
    assert {key: args[key] for key in others} == {key: defaults[key] for key in others}


def test_a_preset_is_the_documented_command_and_flags_win_over_it():
    preset, documented = parse_args(["--preset=smpl_pose"]), parse_args(shlex.split(STAGE_2))
    assert vars(preset) | {"preset": None} == vars(documented)
    assert parse_args(["--lr=1e-5", "--preset=smpl_pose"]).lr == 1e-5


def test_the_options_of_a_run_can_be_used_again(tmp_path):
    flags = ["--stage_weights", "1", "2", "--num_transformers=1", "--no-sync_bn", "--flip_test", "--align_corners=0"]
    first = parse_args([*flags, "--exp_name=first", f"--log_root={tmp_path}", "--data_root=somewhere"])
    Logger(tmp_path / "first", vars(first) | {"run": {"command": ["x"]}}, fresh=True).close()
    again = parse_args([f"--config={tmp_path}/first/options.json", "--exp_name=again"])
    own = {"exp_name": "again", "config": again.config, "log_root": again.log_root}
    assert vars(again) == vars(first) | own
    assert parse_args([f"--config={tmp_path}/first/options.json", "--lr=1"]).lr == 1


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"learning": 1}', '{"lr": "x"}', '{"lr": NaN}', '{"graph": "round"}', "[" * 100_000, '{"lr": [1]}'],
)
def test_bad_files_are_one_line(tmp_path, content):
    (tmp_path / "options.json").write_text(content)
    with pytest.raises(UserError):
        parse_args([f"--config={tmp_path}/options.json"])
    with pytest.raises(UserError, match="cannot be read"):
        parse_args([f"--config={tmp_path}"])


def test_options_of_a_training_on_few_samples_can_be_evaluated(tmp_path):
    for flags in (["--data_mode=synthetic", "--num_samples=99"], ["--overfit=4"]):
        Logger(tmp_path / "run", vars(parse_args(flags)), fresh=False).close()
        args = parse_args([f"--config={tmp_path}/run/options.json", "--eval_only", "--load_checkpoint=x.pt"])
        assert args.num_samples is None and not args.overfit


def test_a_flag_without_a_value_is_one_line():
    with pytest.raises(UserError, match="--config"):
        parse_args(["--config"])
