"""Train and evaluate SMPL-Pose: `python main.py --help`, or the README for the commands of every published stage.

One process, or several under torchrun or `python -m torch.distributed.launch --use_env`.
"""

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from datasets.build import FILES, build_dataset, build_loader
from models.build import build_model, config_from_args, name_keypoint_regressor
from models.features import network_input
from utils.checkpoint import epoch_path, find_checkpoint, find_newest, load_model_weights, save_checkpoint
from utils.distributed import (
    broadcast_buffers,
    choose_device,
    data_parallel,
    gather_rows,
    is_main,
    let_rank_zero_speak,
    mean_over_ranks,
    print_once,
    process_group,
    rank,
    seed_everything,
    unwrap,
    world_size,
)
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text
from utils.logger import Logger, keypoint_picture, progress, to_json
from utils.metrics import format_table, mpjpe, mpvpe, pa_mpjpe, summarize
from utils.optimizer import build_optimizer, running_average
from utils.options import parse_args
from utils.schedule import lr_factor, set_lr

LOGS = Path("logs")


@exit_on_user_error
@let_rank_zero_speak
def main():
    args = parse_args()
    device = choose_device(args.device)
    with process_group(device):
        run(args, device)


def run(args, device: torch.device):
    """The whole flow. Everything a user may get wrong is met before anything is written."""
    seed_everything(args.seed)
    model, criterion = build_model(args)
    config = config_from_args(args, model.body_model)
    protocol = describe_protocol(args, model.body_model)
    print_once(f"body {protocol['body']}; keypoint regressor {name_keypoint_regressor(args, model.body_model)}")

    def loader_of(split: str, batch_size: int):
        dataset = build_dataset(args, split)
        return build_loader(dataset, batch_size, args.num_workers, split == "train", args.seed, rank(), world_size())

    folder = LOGS / args.exp_name
    newest = find_newest(folder / "checkpoints") if args.auto_load else None
    checkpoint = load_weights(model, newest or args.load_checkpoint, config)
    if args.eval_only and checkpoint is None:
        raise UserError(f"nothing to evaluate: no epoch_*.pt in {folder / 'checkpoints'}; check --exp_name")
    if args.eval_only and checkpoint["config"].get("model_type") != args.model_type:
        raise UserError("the checkpoint holds no trained transformer: evaluate it with --model_type backbone")
    model, criterion = model.to(device), criterion.to(device)
    val_loader = loader_of("val", args.val_batch_size) if args.eval_only or args.eval_epochs else None
    if args.eval_only:
        report_metrics(evaluate(model, criterion, val_loader, device, args.precision), protocol, args.metrics_json)
        return

    train_loader = loader_of("train", args.batch_size)
    optimizer = build_optimizer(model, args.lr, args.weight_decay)
    average = running_average(model, args.ema) if args.ema else None
    start = resume(model, average, optimizer, checkpoint, newest) if newest else 0
    if start >= args.num_epochs:
        print_once(f"{newest} has all {args.num_epochs} epochs behind it: raise --num_epochs to train on")
        return
    # The plain backbone model reads the coarsest map alone, so the last fusions of the finer ones get no gradient
    model = data_parallel(model, find_unused_parameters=args.model_type == "backbone")
    logger = Logger(folder, vars(args), fresh=newest is None)
    averaged = average.module if average else None
    for epoch in range(start, args.num_epochs):
        started, last = time.perf_counter(), epoch + 1 == args.num_epochs
        seed_everything(args.seed, epoch, rank())  # of its own, so that a resumed run draws what it would have drawn
        losses = train_one_epoch(model, average, criterion, optimizer, train_loader, logger, device, epoch, args)
        lr = optimizer.param_groups[0]["lr"]
        record = {"epoch": epoch, "lr": lr, "train": losses, "train_seconds": time.perf_counter() - started}
        if is_main() and (last or (epoch + 1) % args.save_epochs == 0):
            save_checkpoint(epoch_path(folder / "checkpoints", epoch), unwrap(model), config, optimizer, epoch, average)
        if val_loader and (last or (epoch + 1) % args.eval_epochs == 0):
            record["val"] = evaluate(averaged or model, criterion, val_loader, device, args.precision)
            report_metrics(record["val"], protocol, args.metrics_json)
            logger.scalars("val", record["val"], epoch)
        logger.epoch(record)
    logger.close()


def train_one_epoch(model, average, criterion, optimizer, loader, logger, device, epoch: int, args) -> dict[str, float]:
    """One pass over the training data -> every loss, mean over steps and processes."""
    model.train(), criterion.train()
    loader.sampler.set_epoch(epoch)
    total = 0.0
    batches = progress(loader, f"epoch {epoch}")
    for step, batch in enumerate(batches, start=epoch * len(loader)):
        batch = to_device(batch, device)
        with autocast(device, args.precision):
            outputs = model(network_input(batch))
        losses = criterion(outputs, batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        set_lr(optimizer, args.lr * lr_factor(step, args.num_epochs * len(loader), args.warmup_steps, args.lr_schedule))
        if args.clip_grad:
            nn.utils.clip_grad_norm_(model.parameters(), args.clip_grad)
        optimizer.step()
        if average:
            average.update_parameters(unwrap(model))

        values = torch.stack([loss.detach() for loss in losses.values()])
        total = total + values  # stays on the device: reading it here would make the GPU wait
        if step % args.summary_steps == 0 and is_main():
            named = dict(zip(losses, values.tolist(), strict=True))
            batches.set_postfix_str(f"loss {named['loss']:.2f}")
            logger.scalars("train", named, step)
            if "image" in batch:
                labelled = criterion.targets(batch)["keypoints_2d"]
                logger.picture("train", keypoint_picture(batch["image"], outputs["pred_keypoints_2d"], labelled), step)
    return dict(zip(losses, mean_over_ranks(total / len(loader)).tolist(), strict=True))


@torch.inference_mode()
def evaluate(model, criterion, loader, device, precision: str) -> dict[str, float | int | None]:
    """Errors over the whole data set (utils.metrics.summarize), each sample counted once on any number of processes."""
    criterion.eval()
    model = unwrap(model).eval()  # shards differ in length: no communication before the end
    broadcast_buffers(model)
    rows = [torch.empty(0, 4, dtype=torch.float64, device=device)]
    for batch in progress(loader, "evaluate"):
        batch = to_device(batch, device)
        with autocast(device, precision):
            outputs = model(batch["image"])
        if not outputs["pred_vertices"].isfinite().all():
            raise UserError("the network gives no finite numbers: take an earlier checkpoint, or train with lower --lr")
        targets = criterion.targets(batch)
        keypoints, confidence = targets["keypoints_3d"].split((3, 1), dim=-1)
        compared = outputs["pred_keypoints_3d"], keypoints, confidence[..., 0] > 0
        vertex_error = mpvpe(criterion.minus_pelvis(outputs["pred_vertices"]), targets["vertices"])
        vertex_error[~targets["has_smpl"]] = torch.nan
        rows.append(torch.stack((batch["index"].double(), mpjpe(*compared), pa_mpjpe(*compared), vertex_error), dim=1))
    return summarize(gather_rows(torch.cat(rows)))


def describe_protocol(args, body_model) -> dict[str, str]:
    """What the numbers of an evaluation mean."""
    return {
        "data": f"{args.data_mode}, {FILES.get(args.data_mode, {}).get('val', 'the fixed test people')}",
        "body": f"{body_model.name}, {body_model.num_vertices} vertices",
        "joints": f"J14 of the mesh by {name_keypoint_regressor(args, body_model)}, against labelled 3D keypoints",
        "alignment": "MPJPE middle of the hips, PA-MPJPE similarity transform, MPVPE J17 pelvis",
        "gender": "neutral body for estimates and labels",
    }


def report_metrics(report: dict, protocol: dict[str, str], path: Path | None):
    """Print the table and, where asked for, write it as JSON."""
    print_once(format_table(report, protocol))
    if path and is_main():
        write_text(path, to_json({**report, "protocol": protocol}, indent=2) + "\n")


def load_weights(model: nn.Module, pattern: str | Path | None, config: dict) -> dict | None:
    """Fill the network from --load_checkpoint or a run's newest checkpoint, if any, and give that back."""
    if pattern is None:
        return None
    path = find_checkpoint(pattern)
    checkpoint = load_model_weights(model, path, config)
    new = sorted({key.split(".")[0] for key in checkpoint["new"]})
    fresh = f"; not in it and fresh: {', '.join(new)} ({len(checkpoint['new'])} tensors)" if new else ""
    print_once(f"loaded {path}{fresh}")
    return checkpoint


def resume(model, average, optimizer: torch.optim.Optimizer, checkpoint: dict, path: Path) -> int:
    """Put weights, their average and the optimiser where a checkpoint left them -> the epoch to go on with."""
    try:
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        if average:
            average.module.load_state_dict(checkpoint["ema"])
            average.n_averaged.fill_(checkpoint["num_averaged"])
        return checkpoint["epoch"] + 1
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} cannot be gone on with under these flags ({error}): start from it by --load_checkpoint instead"
        ) from error


def to_device(batch: dict, device: torch.device) -> dict:
    """All tensors of a batch on the device, those of an inner dict, too; the rest as it is."""

    def move(value):
        if isinstance(value, dict):
            return to_device(value, device)
        return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

    return {name: move(value) for name, value in batch.items()}


def autocast(device: torch.device, precision: str):
    """bfloat16 for the network where asked for; its body model and the losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


if __name__ == "__main__":
    main()
