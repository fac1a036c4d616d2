"""Train and evaluate SMPL-Pose: `python main.py --help`, or the README for the commands of every published stage.

One process, or several under torchrun or `python -m torch.distributed.launch --use_env`.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from datasets.build import build_dataset, build_loader, describe_labels
from datasets.locate import FILES
from models.build import build_model, config_from_args, name_keypoint_regressor
from models.features import network_input
from models.inference.prepare import prepare_for_inference, refine
from utils.checkpoint import find_checkpoint, load_model_weights
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text
from utils.metrics import format_table, mpjpe, mpvpe, pa_mpjpe, summarize
from utils.options import parse_args
from utils.process import choose_device, choose_precision, is_main, print_once, rank, world_size
from utils.render.panels import keypoint_picture
from utils.train.bad_row_log import RowReport
from utils.train.batches import on_device, split_batch, to_device
from utils.train.checkpoint_folder import CheckpointFolder
from utils.train.distributed import (
    SharedFlag,
    any_rank,
    broadcast_buffers,
    data_parallel,
    from_rank_zero,
    gather_rows,
    keep_gradients_here,
    let_rank_zero_speak,
    process_group,
    seed_everything,
    unwrap,
)
from utils.train.logger import Logger, progress, to_json
from utils.train.nonfinite import FiniteWatch
from utils.train.optimizer import RunningAverage, build_optimizer
from utils.train.run_state import RunState
from utils.train.schedule import lr_factor, set_lr
from utils.train.signals import Interrupt
from utils.train.update import Update

LOGS = Path("logs")


@exit_on_user_error
@let_rank_zero_speak
def main():
    args = parse_args()
    device = choose_device(args.device)
    with process_group(device):
        run(args, device)


def run(args, device: torch.device):
    """Build, load, then evaluate or train. Everything a user may get wrong is met before anything is written."""
    seed_everything(args.seed)
    args.precision = from_rank_zero(choose_precision(args.precision, device))
    model, criterion = build_model(args)
    config = config_from_args(args, model.body_model)
    protocol = describe_protocol(args, model.body_model)
    print_once(f"body {protocol['body']}; keypoint regressor {name_keypoint_regressor(args, model.body_model)}")

    def loader_of(split: str, batch_size: int):
        dataset, train = build_dataset(args, split), split == "train"
        mine = args.seed, rank(), world_size()
        return build_loader(dataset, batch_size, args.num_workers, train, *mine, skip_bad_rows=True)

    folder = LOGS / args.exp_name
    checkpoints = CheckpointFolder(folder / "checkpoints", args.keep_last)
    newest = checkpoints.newest_intact() if any_rank(args.auto_load)[0] else None
    checkpoint = load_weights(model, newest or args.load_checkpoint, config)
    if args.eval_only and checkpoint is None:
        raise UserError(f"nothing to evaluate: no epoch_*.pt in {checkpoints.folder}; check --exp_name")
    if args.eval_only and checkpoint["config"].get("model_type") != args.model_type:
        raise UserError("the checkpoint holds no trained transformer: evaluate it with --model_type backbone")
    model, criterion = model.to(device), criterion.to(device)
    rows = RowReport(None if args.eval_only else folder)
    val_loader = loader_of("val", args.val_batch_size) if args.eval_only or args.eval_epochs else None
    refined = partial(refine, fit_keypoints=args.fit_keypoints, flip_test=args.flip_test)
    if args.eval_only:
        report = evaluate(model, criterion, val_loader, device, args.precision, rows, refined=refined)
        report_metrics(report, protocol | describe_labels(args), args.metrics_json)
        return

    torch.backends.cudnn.benchmark = True  # all batches have one size: the search for the best convolutions pays
    loader = loader_of("train", args.batch_size)
    optimizer = build_optimizer(model, args.lr, args.weight_decay)
    average = RunningAverage(model, args.ema) if args.ema else None
    update = Update(optimizer, average, args.clip_grad, scaled=args.precision == "fp16")
    state = RunState(model, update, len(loader), args.batch_size)
    if newest:
        state.restore(checkpoint, newest, vars(args), device)
    # The plain backbone model reads the coarsest map alone, so the last fusions of the finer ones get no gradient
    model = data_parallel(model, find_unused_parameters=args.model_type == "backbone")
    if args.compile:
        model.compile()  # in place: names of parameters stay, and communication goes on beside the backward pass
    logger = Logger(folder, vars(args), fresh=newest is None)
    watch = FiniteWatch(folder, args.max_not_finite)
    checkpoints.go_on_from(newest)
    logger.go_on_from(state.epochs_done, state.global_step)
    if state.epoch_is_over and any_rank(logger.has(state.epoch))[0]:
        state.next_epoch()
    if state.epoch >= args.num_epochs:
        print_once(f"{newest} has all {args.num_epochs} epochs behind it: raise --num_epochs to train on")
        return

    def save():
        checkpoints.save(state.content(config, vars(args)))

    with Interrupt() as interrupt:
        stop = SharedFlag()
        while state.epoch < args.num_epochs:
            started, last = time.perf_counter(), state.epoch + 1 == args.num_epochs
            if not train_one_epoch(
                model,
                criterion,
                loader,
                state,
                save,
                logger,
                watch,
                rows,
                lambda: stop(interrupt.received),
                device,
                args,
            ):
                break
            saved = last or (state.epoch + 1) % args.save_epochs == 0
            if saved:
                save()
            record = {"epoch": state.epoch, "lr": optimizer.param_groups[0]["lr"], "train": state.mean_losses()}
            record |= {"train_seconds": time.perf_counter() - started, "saved": saved}
            if val_loader and (last or (state.epoch + 1) % args.eval_epochs == 0):
                evaluated = average.module if average else model
                report = evaluate(evaluated, criterion, val_loader, device, args.precision, rows, interrupt, refined)
                if report is None:
                    break
                report_metrics(report, protocol, args.metrics_json)
                logger.scalars("val", report, state.epoch)
                if saved and logger.is_best("mpjpe_mm", report["mpjpe_mm"]):
                    checkpoints.keep_best()
                record["val"] = report
            logger.epoch(record)
            state.next_epoch()
        if state.epoch < args.num_epochs:
            save()
            print_once(
                f"ended by {interrupt.received or 'another process'} {state.place}; --auto_load 1 goes on from there"
            )
    logger.close()
    checkpoints.require_saved()


def train_one_epoch(
    model, criterion, loader, state, save, logger, watch, rows, asked_to_end, device: torch.device, args
) -> bool:
    """From where the state stands to the end of its epoch -> whether it got there, or was asked to end before.

    The host gives the GPU its work and never waits for a number of it, except for those it writes down.
    """
    model.train(), criterion.train()
    state.prepare_random(args.seed)
    loader.sampler.set_epoch(state.epoch, first_batch=state.step)
    batches, stop = progress(loader, f"epoch {state.epoch}", done=state.step), False
    for batch in on_device(rows.take(batches, "the training set", len(loader.sampler)), device):
        step = state.global_step
        losses, part, outputs = add_gradient(model, criterion, batch, state.update, device, args)
        factor = lr_factor(step, args.num_epochs * len(loader), args.warmup_steps, args.lr_schedule)
        set_lr(state.update.optimizer, args.lr * factor)
        outcome = state.update.step(unwrap(model))
        state.add_losses(losses, outcome)
        state.step += 1
        stop = asked_to_end()
        watch.note(outcome.odd, step, losses, batch)
        if step % args.summary_steps == 0 and is_main():
            named = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
            batches.set_postfix_str(f"loss {named['loss']:.2f}")
            logger.scalars("train", named, step)
            if "image" in part:
                labelled = criterion.targets(part)["keypoints_2d"]
                logger.picture("train", keypoint_picture(part["image"], outputs["pred_keypoints_2d"], labelled), step)
        if stop:
            break
        if args.save_steps and (step + 1) % args.save_steps == 0 and not state.epoch_is_over:
            save()
    watch.finish()
    return not stop


def add_gradient(model, criterion, batch: dict, update: Update, device: torch.device, args) -> tuple[dict, dict, dict]:
    """Send a batch through the network and back, in --accumulate_steps parts -> its losses, detached, by name, the last
    part of the batch and what the network made of it."""
    losses = {}
    parts = split_batch(batch, args.accumulate_steps)
    for number, (part, share) in enumerate(parts, 1):
        with keep_gradients_here(model, number < len(parts)):
            with autocast(device, args.precision):
                outputs = model(network_input(part))
            own = criterion(outputs, part)
            update.backward(own, share)
        losses = {name: losses.get(name, 0) + share * loss.detach() for name, loss in own.items()}
    return losses, part, outputs


@torch.inference_mode()
def evaluate(
    model,
    criterion,
    loader,
    device,
    precision: str,
    bad_rows: RowReport,
    interrupt: Interrupt | None = None,
    refined: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> dict[str, float | int | None] | None:
    """Errors over the whole data set (utils.metrics.summarize), each sample counted once on any number of processes.

    None where the interrupt came.
    """
    criterion.eval()
    model = unwrap(model).eval()  # shards differ in length: no communication before the end
    broadcast_buffers(model)
    network = refined(prepare_for_inference(model, device, precision))
    rows = [torch.empty(0, 4, dtype=torch.float64, device=device)]
    for batch in bad_rows.take(progress(loader, "evaluate"), "the evaluation set", len(loader.sampler)):
        if interrupt and interrupt.received:
            break
        batch = to_device(batch, device)
        outputs = network(network_input(batch))
        if not outputs["pred_vertices"].isfinite().all():
            raise UserError("the network gives no finite numbers: take an earlier checkpoint, or train with lower --lr")
        targets = criterion.targets(batch)
        keypoints, confidence = targets["keypoints_3d"].split((3, 1), dim=-1)
        compared = outputs["pred_keypoints_3d"], keypoints, confidence[..., 0] > 0
        vertex_error = mpvpe(criterion.minus_pelvis(outputs["pred_vertices"]), targets["vertices"])
        vertex_error[~targets["has_smpl"]] = torch.nan
        rows.append(torch.stack((batch["index"].double(), mpjpe(*compared), pa_mpjpe(*compared), vertex_error), dim=1))
    if any_rank(interrupt and interrupt.received)[0]:
        return None
    return summarize(gather_rows(torch.cat(rows)))


def describe_protocol(args, body_model) -> dict[str, str]:
    """What the numbers of an evaluation mean."""
    protocol = {
        "data": f"{args.data_mode}, {FILES.get(args.data_mode, {}).get('val', 'the fixed test people')}",
        "body": f"{body_model.name}, {body_model.num_vertices} vertices",
        "joints": f"J14 of the mesh by {name_keypoint_regressor(args, body_model)}, against labelled 3D keypoints",
        "alignment": "MPJPE middle of the hips, PA-MPJPE similarity transform, MPVPE J17 pelvis",
        "gender": "neutral body for estimates and labels",
    }
    if args.fit_keypoints:
        protocol["keypoint fit"] = "estimates are turned towards the 2D keypoints that the backbone sees"
    if args.flip_test:
        protocol["flip test"] = "mean of each picture and its mirror image"
    return protocol


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


def autocast(device: torch.device, precision: str):
    """bfloat16 or float16 for the network where asked for; its body model and the losses stay float32."""
    short = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, short.get(precision), enabled=precision in short)


if __name__ == "__main__":
    main()
