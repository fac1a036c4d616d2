"""Named sets of flags, and flags from the options.json of an earlier run."""

import argparse
import json
from pathlib import Path

from utils.errors import UserError

_STAGE = {"batch_size": 100, "lr": 2e-4, "data_mode": "h36m"}
_MOVENET = {
    "data_mode": "synthetic", "backbone": "movenet", "num_workers": 0, "precision": "bf16", "eval_epochs": 0,
    "keep_last": 2, "lr_schedule": "cosine", "weight_decay": 0.01, "clip_grad": 50, "stage_weights": [0.2, 0.3, 0.5, 1],
    "keypoint_loss": "l1", "w_2dj": 200, "w_3dj": 200, "loss_vertices": 1000, "w_betas": 2, "dropout": 0,
}  # fmt: skip
PRESETS = {
    # the published stages of SMPLer
    "backbone": _STAGE | {"model_type": "backbone", "num_epochs": 50},
    "smpl_pose": _STAGE | {"model_type": "SMPL-Pose", "num_epochs": 100},
    "finetune_3dpw": {"batch_size": 32, "lr": 1e-4, "data_mode": "3dpw", "num_epochs": 2, "summary_steps": 100},
    # the parts of scripts/train_default.sh
    "movenet_s": _MOVENET
    | {"batch_size": 64, "save_steps": 200, "align_corners": 1, "lr": 5e-4, "warmup_steps": 100, "ema": 0.999},
    "movenet_s_upper": _MOVENET
    | {"train_backbone": "upper", "align_corners": 0, "save_steps": 50, "lr": 1e-4, "backbone_lr": 1e-4}
    | {"w_features": 20, "warmup_steps": 50, "ema": 0.995},
}
# options that belong to one run and not to its recipe
OWN = (
    "exp_name",
    "auto_load",
    "load_checkpoint",
    "config",
    "preset",
    "log_root",
    "metrics_json",
    "eval_only",
    "device",
)
# options that choose samples of training, which an evaluation does not use
TRAINING_ONLY = ("num_samples", "overfit")


def expand(argv: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """A command line with the flags of --config FILE and --preset NAME put before its own, which win over them."""
    chooser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chooser.add_argument("--config", type=Path, nargs="?")  # the parser itself reports a missing value
    chooser.add_argument("--preset", nargs="?")
    chooser.add_argument("--eval_only", action="store_true")
    chosen, _ = chooser.parse_known_args(argv)
    before = []
    if chosen.preset in PRESETS:
        before += to_flags(PRESETS[chosen.preset], parser, f"preset {chosen.preset}")
    if chosen.config:
        left_out = OWN + TRAINING_ONLY if chosen.eval_only else OWN
        options = {name: value for name, value in _read(chosen.config).items() if name not in left_out}
        before += to_flags(options, parser, str(chosen.config))
    return before + argv


def to_flags(options: dict, parser: argparse.ArgumentParser, source: str) -> list[str]:
    """Options by name as command-line words. UserError for an unknown option; values are checked by the parser."""
    actions = {action.dest: action for action in parser._actions}
    words = []
    for name, value in options.items():
        if name not in actions:
            raise UserError(f"{source}: '{name:.50}' is no option of this program: remove it from the file")
        action, flag = actions[name], f"--{name}"
        if value is None:
            continue
        if isinstance(action, argparse.BooleanOptionalAction):
            words += [flag if value else f"--no-{name}"]
        elif action.nargs == 0:
            words += [flag] if value else []
        elif isinstance(value, list) != (action.nargs is not None):
            raise UserError(f"{source}: {name} is {value!r:.50}, which is no value of {flag}: correct or remove it")
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            words += [f"{flag}={int(value) if isinstance(value, bool) else value}"]
    return words


def _read(path: Path) -> dict:
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read ({error.strerror}); give the options.json of a run") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"--config {path} is not JSON; give the options.json of a run") from error
    if not isinstance(options, dict):
        raise UserError(f"--config {path} holds no options by name; give the options.json of a run")
    return {name: value for name, value in options.items() if name != "run"}
