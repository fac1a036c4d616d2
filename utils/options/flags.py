"""Every flag of main.py."""

import argparse
import sys
from pathlib import Path

from utils.arguments import Parser, backbone_name, number, output_file, pattern, weighted_file
from utils.network_config import GRAPH_ENTRIES, GRAPHS, HRNET_TYPES, JOINT_PRIORS, MODEL_TYPES, TRAIN_BACKBONES
from utils.options.checks import check_options
from utils.options.presets import PRESETS, expand
from utils.paths import ROOT
from utils.process import PRECISIONS


def get_args_parser() -> argparse.ArgumentParser:
    """All flags with their defaults: the published recipe on whatever body and device is at hand.

    The rank and the number of processes are no flags: a launcher gives them in the environment.
    """
    count, positive = number(int, at_least=0), number(int, at_least=1)
    weight, share = number(float, at_least=0), number(float, at_least=0, below=1)
    parser = Parser(description="Train and evaluate SMPL-Pose.")

    run = parser.add_argument_group("run")
    run.add_argument("--exp_name", default="SMPL-Pose", help="results go to LOG_ROOT/EXP_NAME (default: %(default)s)")
    run.add_argument(
        "--log_root",
        type=Path,
        default=ROOT / "logs",
        metavar="DIR",
        help="folder of all runs (default: logs beside main.py)",
    )
    run.add_argument("--preset", choices=PRESETS, help="flags of a known recipe; other flags win over them")
    run.add_argument(
        "--config", type=Path, metavar="FILE", help="flags of an earlier run, its options.json; others win"
    )
    run.add_argument("--eval_only", action="store_true", help="evaluate --load_checkpoint and stop; writes no logs")
    run.add_argument(
        "--load_checkpoint", metavar="FILE", help="weights to start from; * in the name: the last match by name"
    )
    help_text = "1: resume from the newest intact checkpoint of --exp_name"
    run.add_argument("--auto_load", type=int, choices=(0, 1), default=0, help=help_text)
    run.add_argument("--metrics_json", type=Path, metavar="FILE", help="write the printed table as JSON, also")
    help_text = "with --eval_only: write estimates and errors of each sample"
    run.add_argument("--save_predictions", type=output_file(".npz"), metavar="FILE.npz", help=help_text)
    run.add_argument(
        "--group_by",
        type=pattern,
        metavar="PATTERN",
        help="with --eval_only: errors per group, by a regular expression with one group for the keys of the rows "
        "(default: action of Human3.6M, else sequence)",
    )
    run.add_argument(
        "--protocol",
        choices=("standard", "smpler"),
        default="standard",
        help="smpler: count joints of confidence 0 and pose labels with the neutral body (default: %(default)s)",
    )
    help_text = "average the estimates for each image and its mirror image in evaluation"
    run.add_argument("--flip_test", action="store_true", help=help_text)
    run.add_argument(
        "--fit_keypoints", action="store_true", help="fit the estimates to MoveNet's 2D keypoints in evaluation"
    )
    help_text = "estimate people who are not upright again in the image turned by quarters"
    run.add_argument("--quarter_turns", action="store_true", help=help_text)
    help_text = "evaluate the middle of each crop, enlarged by a factor of 1.09"
    run.add_argument("--tight_crop", action="store_true", help=help_text)
    run.add_argument("--seed", type=count, default=0, help="seed of all random numbers (default: %(default)s)")
    run.add_argument("--device", default="auto", help="auto (CUDA if available), cpu, cuda or cuda:N")
    run.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="number format of the network; rotations, body and losses stay in fp32; auto: the faster of both "
        "(default: %(default)s)",
    )

    data = parser.add_argument_group("data")
    data.add_argument(
        "--data_mode",
        choices=("h36m", "3dpw", "synthetic", "pose2sim", "emdb"),
        default="h36m",
        help="data set; pose2sim and emdb are for evaluation (default: %(default)s)",
    )
    for split in ("train", "val"):
        data.add_argument(
            f"--{split}_yaml",
            type=weighted_file,
            nargs="+",
            metavar="FILE[:WEIGHT]",
            help=f"your own {'training' if split == 'train' else 'evaluation'} sets instead of those of --data_mode; "
            "FILE:2: every row counts twice",
        )
    data.add_argument("--data_root", metavar="DIR", help="default: $SMPL_POSE_DATA, else datasets/ or a link inside it")
    data.add_argument(
        "--num_samples",
        type=positive,
        help="synthetic people in an epoch of training (default: 100000, or all of --feature_cache)",
    )
    data.add_argument(
        "--overfit",
        type=positive,
        metavar="N",
        help="sanity check: train and evaluate on the first N training samples, without augmentation and dropout",
    )
    data.add_argument("--no_augment", action="store_true", help="train without augmentation")
    data.add_argument(
        "--limit_val", type=positive, metavar="N", help="evaluate only the first N samples (default: all)"
    )
    data.add_argument(
        "--feature_cache", type=Path, metavar="DIR", help="train on features cached by scripts/cache_features.py"
    )
    data.add_argument(
        "--allow_outside_paths", action="store_true", help="allow data set files outside of the data root"
    )
    data.add_argument("--batch_size", type=positive, default=100, help="per process (default: %(default)s)")
    data.add_argument("--val_batch_size", type=positive, default=128, help="per process (default: %(default)s)")
    data.add_argument("--num_workers", type=count, default=8, help="loaders per process (default: %(default)s)")

    network = parser.add_argument_group("network")
    network.add_argument(
        "--model_type",
        choices=MODEL_TYPES,
        default="SMPL-Pose",
        help="backbone: the regressor alone; SMPL-Pose: with the graph transformer (default: %(default)s)",
    )
    network.add_argument(
        "--backbone",
        type=backbone_name,
        default="hrnet",
        metavar="hrnet|movenet|timm:NAME",
        help="image network; timm:NAME: a network of timm with maps of strides 4 to 32, or a plain vision transformer "
        "(default: %(default)s)",
    )
    network.add_argument(
        "--hrnet_type", choices=HRNET_TYPES, default="w32", help="width of HRNet (default: %(default)s)"
    )
    network.add_argument(
        "--backbone_weights",
        default="auto",
        metavar="auto|coco|imagenet|none|FILE",
        help="auto: official COCO weights if they are in pretrained/hrnet, else random; imagenet: those of timm, "
        "downloaded; FILE: HRNet pose weights, see docs/data.md, or with timm:NAME its state dict",
    )
    network.add_argument(
        "--train_backbone",
        choices=TRAIN_BACKBONES,
        help="auto: MoveNet is frozen, others learn; upper: a copy of MoveNet's stages above stride 8 learns too "
        "(default: that of --load_checkpoint, else auto)",
    )
    network.add_argument(
        "--freeze_backbone",
        action="store_true",
        help="the backbone does not learn, its batch norm uses the running statistics; the pyramid of a plain vision "
        "transformer learns",
    )
    network.add_argument(
        "--align_corners",
        type=int,
        choices=(0, 1),
        help="how maps are read between pixels; 1: -1 and 1 are the centres of the outer pixels, as published; 0: they "
        "are the outer edges, as in labels (default: that of --load_checkpoint, else 1 for HRNet, 0 for others)",
    )
    network.add_argument("--num_transformers", type=positive, default=3, help="graph transformer blocks")
    help_text = "dropout of the graph transformer (default: %(default)s)"
    network.add_argument("--dropout", type=share, default=0.1, help=help_text)
    help_text = "share of the joints whose tokens get no image features in training (default: %(default)s)"
    network.add_argument("--mask_joints", type=share, default=0.0, help=help_text)
    help_text = "dropout of the regressor (default: 0.1 for MoveNet, else 0.5)"
    network.add_argument("--regressor_dropout", type=share, help=help_text)
    network.add_argument(
        "--graph",
        choices=GRAPHS,
        default="adaptive",
        help="joint graph; none: the published network (default: %(default)s)",
    )
    network.add_argument(
        "--joint_prior",
        choices=JOINT_PRIORS,
        default="llm",
        help="fixed relations between joints in the graph; shuffled: the control (default: %(default)s)",
    )
    network.add_argument(
        "--graph_entries",
        choices=GRAPH_ENTRIES,
        nargs="+",
        default=list(GRAPH_ENTRIES),
        help="how the graph enters: attention bias, graph convolution, token embedding (default: all)",
    )
    network.add_argument(
        "--prior_seed", type=count, default=0, help="seed of the permutation of --joint_prior shuffled"
    )

    body = parser.add_argument_group("body")
    body.add_argument("--smpl_path", metavar="FILE", help="body in SMPL layout (default: SMPL in meta_data, else open)")
    body.add_argument("--keypoint_regressor", metavar="FILE", help=".npy of shape (17, V), Human3.6M order")
    body.add_argument("--mean_params", metavar="FILE", help="npz with pose 144, shape 10, cam 3; none: identity pose")

    train = parser.add_argument_group("training")
    train.add_argument(
        "--accumulate_steps",
        type=positive,
        default=1,
        help="number of parts in which a batch goes through the network: less memory (default: %(default)s)",
    )
    train.add_argument(
        "--compile", action="store_true", help="compile the network by torch.compile; takes minutes at the start"
    )
    train.add_argument(
        "--sync_bn",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="batch norm over the batches of all GPUs; --no-sync_bn: of each GPU alone",
    )
    train.add_argument("--num_epochs", type=positive, default=100, help="epochs in all (default: %(default)s)")
    train.add_argument(
        "--lr", type=number(float, above=0), default=2e-4, help="learning rate of Adam (default: %(default)s)"
    )
    train.add_argument(
        "--backbone_lr",
        type=number(float, above=0),
        help="learning rate of the backbone, without weight decay (default: --lr)",
    )
    train.add_argument(
        "--lr_schedule",
        choices=("constant", "cosine"),
        default="constant",
        help="learning rate over the run; cosine: down to 0",
    )
    train.add_argument(
        "--warmup_steps", type=count, default=0, help="steps in which the learning rate rises linearly to --lr"
    )
    train.add_argument(
        "--weight_decay", type=weight, default=0.0, help="weight decay of linear and convolution weights (AdamW)"
    )
    help_text = "decay of the moving average of the weights; 0: no average"
    train.add_argument("--ema", type=share, default=0.0, help=help_text)
    train.add_argument("--clip_grad", type=weight, default=0.0, help="largest norm of the gradient; 0: no limit")
    train.add_argument("--w_vert", type=weight, default=100.0, help="weight of the vertex loss")
    train.add_argument("--w_theta", type=weight, default=50.0, help="weight of the rotation loss")
    train.add_argument("--w_2dj", type=weight, default=100.0, help="weight of the 2D keypoint loss")
    train.add_argument("--w_3dj", type=weight, default=1000.0, help="weight of the 3D keypoint loss")
    train.add_argument("--w_betas", type=weight, default=0.0, help="weight of the shape loss (default: 0)")
    train.add_argument(
        "--w_orient", type=weight, default=0.0, help="weight of the angle between true and estimated root (default: 0)"
    )
    train.add_argument(
        "--w_bones", type=weight, default=0.0, help="weight of the angles between true and estimated bones (default: 0)"
    )
    train.add_argument(
        "--w_features",
        type=weight,
        default=0.0,
        help="with --train_backbone upper: weight of the distance from the frozen features",
    )
    train.add_argument("--keypoint_loss", choices=("mse", "l1"), default="mse", help="form of both keypoint losses")
    train.add_argument("--loss_vertices", type=count, default=0, help="number of vertices in the vertex loss; 0: all")
    train.add_argument(
        "--stage_weights",
        type=weight,
        nargs="+",
        metavar="W",
        help="loss weight of each stage, first estimate first (default: the last stage only)",
    )
    train.add_argument(
        "--profile", action="store_true", help="write a trace of the steps 5 to 8 to EXP_NAME/trace.json"
    )
    train.add_argument(
        "--logger",
        choices=("tensorboard", "csv", "wandb"),
        default="tensorboard",
        help="where curves and pictures go (default: %(default)s)",
    )
    train.add_argument("--summary_steps", type=positive, default=100, help="steps between TensorBoard summaries")
    train.add_argument(
        "--save_epochs", type=positive, default=1, help="epochs between checkpoints; the last epoch is always saved"
    )
    train.add_argument("--save_steps", type=count, default=0, help="steps between checkpoints inside an epoch; 0: none")
    train.add_argument(
        "--keep_last",
        type=count,
        default=3,
        help="number of newest epochs whose checkpoints are kept, beside best.pt; 0: all (default: %(default)s)",
    )
    train.add_argument(
        "--max_not_finite", type=positive, default=10, help="number of nonfinite steps in a row that ends the run"
    )
    train.add_argument("--eval_epochs", type=count, default=1, help="epochs between evaluations; 0: never")
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and check a command line, with the flags of --config and --preset."""
    parser = get_args_parser()
    args = parser.parse_args(expand(sys.argv[1:] if argv is None else argv, parser))
    check_options(args)
    return args
