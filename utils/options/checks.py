"""Combinations of main.py's options that cannot work."""

import argparse
import os
from pathlib import Path

from utils.arguments import check_not_input
from utils.errors import UserError


def check_options(args: argparse.Namespace):
    """Complete the options and check them together. UserError names what cannot be and what to do instead."""
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0 and not args.eval_only:
        args.auto_load = 1  # the launcher has restarted a failed run
    if args.eval_only and not (args.load_checkpoint or args.auto_load):
        raise UserError("--eval_only needs trained weights: add --load_checkpoint FILE, or --auto_load 1")
    if args.train_yaml and (args.feature_cache or args.num_samples):
        raise UserError("--train_yaml excludes synthetic people: leave out --feature_cache and --num_samples")
    if args.data_mode in ("pose2sim", "emdb") and not (args.eval_only or args.train_yaml):
        raise UserError(
            f"--data_mode {args.data_mode} is for evaluation: add --eval_only, or train on h36m, 3dpw or synthetic"
        )
    if args.feature_cache and (args.data_mode, args.backbone) != ("synthetic", "movenet"):
        raise UserError(
            "--feature_cache holds MoveNet's features of synthetic people: add --data_mode synthetic --backbone movenet"
        )
    if args.num_samples and (args.eval_only or args.data_mode != "synthetic"):
        raise UserError(
            "--num_samples is the number of synthetic people in training: leave it out, or evaluate only N samples "
            "with --limit_val N"
        )
    if args.overfit and (args.eval_only or args.num_samples or args.limit_val):
        raise UserError(
            "--overfit chooses the samples of training and evaluation: leave out --eval_only and the limits"
        )
    on_images = [name for name in ("flip_test", "tight_crop", "quarter_turns") if getattr(args, name)]
    if args.overfit and args.feature_cache and on_images:
        raise UserError(f"--overfit evaluates on the cached features, which --{on_images[0]} cannot use: leave it out")
    if args.overfit:
        args.no_augment, args.dropout, args.regressor_dropout = True, 0.0, 0.0
    if args.train_backbone == "upper" and args.backbone != "movenet":
        raise UserError("--train_backbone upper is for MoveNet: add --backbone movenet, or leave it out")
    if args.train_backbone == "upper" and args.freeze_backbone:
        raise UserError("--train_backbone upper trains what --freeze_backbone freezes: leave one of them out")
    open_choice = args.train_backbone is None and args.load_checkpoint  # the checkpoint decides
    if args.w_features and not (args.eval_only or args.train_backbone == "upper" or open_choice):
        raise UserError("--w_features is for upper stages that learn: add --train_backbone upper, or leave it out")
    if args.fit_keypoints and args.backbone != "movenet":
        raise UserError("--fit_keypoints needs 2D keypoints, which only --backbone movenet detects: leave it out")
    if args.graph != "none" and args.joint_prior == "none" and set(args.graph_entries) == {"embedding"}:
        raise UserError(
            "--graph_entries embedding alone needs a prior to embed: add --joint_prior llm, or bias or conv"
        )
    num_stages = 1 + (args.num_transformers if args.model_type == "SMPL-Pose" else 0)
    if args.stage_weights and (len(args.stage_weights) != num_stages or not any(args.stage_weights)):
        raise UserError(f"--stage_weights: this network has {num_stages} stages, give a weight for each, not all 0")
    if args.exp_name in ("", ".", "..") or Path(args.exp_name).name != args.exp_name:
        raise UserError(f"--exp_name '{args.exp_name}' is not a plain folder name: leave out slashes")
    for name in ("save_predictions", "group_by"):
        if getattr(args, name) and not args.eval_only:
            raise UserError(f"--{name} is for evaluation: add --eval_only, or leave it out")
    if args.metrics_json:
        check_not_input(args.metrics_json, args.config)
    if args.metrics_json and args.metrics_json.is_dir():
        raise UserError(f"--metrics_json {args.metrics_json} is a folder: give the name of a file")
    if args.metrics_json and not args.metrics_json.parent.is_dir():
        raise UserError(f"--metrics_json: the folder {args.metrics_json.parent} does not exist; create it first")
