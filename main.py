"""Train and evaluate SMPL-Pose: `python main.py --help`; docs/training.md and docs/evaluation.md have the commands.

Runs as one process, or as several under torchrun or `python -m torch.distributed.launch --use_env`.
"""

import time
from argparse import Namespace
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from datasets.build import describe_data, describe_labels, make_loader
from datasets.label_checks import FirstBatches
from models.body_model import BodyModel
from models.build import build_model, config_from_args, name_keypoint_regressor, take_choices
from models.criterion import Criterion
from models.features import network_input
from models.inference import evaluate as evaluation
from models.inference.cost import describe_cost
from models.inference.pictures import crop_picture, validation_picture
from utils.checkpoint import find_checkpoint, load_checkpoint, load_weights
from utils.errors import UserError, exit_on_user_error
from utils.options import parse_args
from utils.process import autocast, choose_device, choose_precision, is_main, print_once, world_size
from utils.train.bad_row_log import BadRowLog
from utils.train.batches import loader_errors, on_device, split_batch
from utils.train.checkpoint_folder import CheckpointFolder
from utils.train.distributed import (
    SharedFlag,
    any_rank,
    data_parallel,
    from_rank_zero,
    mean_over_ranks,
    process_group,
    report_error_once,
    seed_everything,
    synchronize_batch_norm,
    unwrap,
    without_gradient_sync,
)
from utils.train.logger import Logger, progress, report_metrics
from utils.train.nonfinite import NonfiniteLog
from utils.train.optimizer import RunningAverage, build_optimizer, lr_factor, set_lr
from utils.train.profiler import StepProfiler
from utils.train.provenance import provenance
from utils.train.run_lock import RunLock
from utils.train.run_state import RunState
from utils.train.signals import Interrupt
from utils.train.speed import Speed
from utils.train.update import Update

refinements = attrgetter("fit_keypoints", "flip_test", "quarter_turns", "tight_crop")


@exit_on_user_error
@report_error_once
def main():
    args = parse_args()
    device = choose_device(args.device)
    with process_group(device):
        run(args, device)


def run(args: Namespace, device: torch.device):
    """Build the network and load its weights, then evaluate or train."""
    seed_everything(args.seed)
    args.precision = from_rank_zero(choose_precision(args.precision, device))
    checkpoints = CheckpointFolder(args.log_root / args.exp_name / "checkpoints", args.keep_last)
    newest = checkpoints.newest_intact() if any_rank(args.auto_load)[0] else None
    if newest or args.load_checkpoint:
        take_choices(args, load_checkpoint(newest or find_checkpoint(args.load_checkpoint))["config"])
    model, criterion = build_model(args)
    body = model.body_model
    print_once(f"body {_body(body)}; keypoint regressor {name_keypoint_regressor(args, body)}")
    checkpoint = load_weights(model, newest or args.load_checkpoint, config_from_args(args, body))
    model, criterion = model.to(device), criterion.to(device)
    if args.eval_only:
        return evaluate_only(args, model, criterion, checkpoint, device)
    train(prepare_training(args, model, criterion, checkpoints, newest, checkpoint, device))


def evaluate_only(args: Namespace, model: nn.Module, criterion: Criterion, checkpoint: dict | None, device):
    """Print the errors of a checkpoint on the evaluation set."""
    if checkpoint is None:
        raise UserError(
            f"nothing to evaluate: no epoch_*.pt in {args.log_root / args.exp_name}/checkpoints; check --exp_name"
        )
    if checkpoint["config"].get("model_type") != args.model_type:
        raise UserError("the checkpoint has no trained transformer: evaluate it with --model_type backbone")
    network = evaluation.inference_network(model, device, args.precision, *refinements(args))
    loader, protocol = make_loader(args, "val"), args.protocol
    with loader_errors():
        found = evaluation.predict(network, criterion, loader, device, BadRowLog(None), protocol=protocol)
    named = None if args.val_yaml else args.data_mode
    report = evaluation.report_on(found, args.save_predictions, args.group_by, named)
    report_metrics(report, describe_protocol(args, criterion), args.metrics_json)


@dataclass
class TrainingRun:
    """Everything that a training run uses."""

    args: Namespace
    device: torch.device
    model: nn.Module  # wrapped for data-parallel training if there are several processes
    criterion: Criterion
    loader: DataLoader
    val_loader: DataLoader | None
    state: RunState
    config: dict
    checkpoints: CheckpointFolder
    logger: Logger
    nonfinite: NonfiniteLog
    bad_rows: BadRowLog
    lock: RunLock
    profiler: StepProfiler
    label_check: FirstBatches = field(default_factory=FirstBatches)
    interrupt: Interrupt = field(default_factory=Interrupt)
    stop: SharedFlag = field(default_factory=SharedFlag)  # set if any process was interrupted

    @property
    def faces(self) -> np.ndarray:
        """Triangles (F, 3) of the body's mesh."""
        return unwrap(self.model).body_model.faces

    def interrupted(self) -> bool:
        """Whether this process has received a signal to stop."""
        return self.interrupt.received is not None

    def save(self):
        """Write a checkpoint of the current state. All processes must call this."""
        self.checkpoints.save(self.state.content(self.config, vars(self.args)))


def prepare_training(args: Namespace, model, criterion, checkpoints, newest, checkpoint, device) -> TrainingRun:
    """Build what training needs, and restore the state of the checkpoint `newest` if the run is resumed."""
    torch.backends.cudnn.benchmark = True  # all batches have one size, so the search for fast convolutions pays
    val_loader = make_loader(args, "val") if args.eval_epochs else None
    loader = make_loader(args, "train")
    if args.sync_bn:
        model = synchronize_batch_norm(model, device)
    optimizer = build_optimizer(model, args.lr, args.weight_decay, args.backbone_lr)
    average = RunningAverage(model, args.ema) if args.ema else None
    update = Update(model, optimizer, average, args.clip_grad, scaled=args.precision == "fp16")
    state = RunState(model, update, len(loader), args.batch_size)
    if newest:
        state.restore(checkpoint, newest, vars(args), device)
    config = config_from_args(args, model.body_model)
    if is_main():
        print_once(describe_cost(model))
    # The plain backbone model uses only the coarsest map, so the last fusions of the finer maps get no gradient
    model = data_parallel(model, find_unused_parameters=args.model_type == "backbone")
    if args.compile:
        model.compile()  # in place: parameter names stay, and communication still overlaps the backward pass
    folder = args.log_root / args.exp_name
    lock = RunLock(folder)
    logger = Logger(folder, vars(args) | {"run": provenance()}, fresh=newest is None, curves=args.logger)
    nonfinite, bad_rows = NonfiniteLog(folder, args.max_not_finite), BadRowLog(folder)
    checkpoints.resume_from(newest)
    logger.resume_from(state.epochs_done, state.global_step)
    if state.epoch_is_over and any_rank(logger.has(state.epoch))[0]:
        state.next_epoch()
    profiler = StepProfiler(folder / "trace.json" if args.profile and is_main() else None)
    logs = logger, nonfinite, bad_rows, lock, profiler
    return TrainingRun(args, device, model, criterion, loader, val_loader, state, config, checkpoints, *logs)


def train(run: TrainingRun):
    """Train until --num_epochs is reached or a signal arrives."""
    args, state = run.args, run.state
    if state.epoch >= args.num_epochs:
        print_once(f"all {args.num_epochs} epochs of {run.checkpoints.saved} are done: raise --num_epochs to train on")
        run.lock.release()
        return
    with run.interrupt, loader_errors():
        while state.epoch < args.num_epochs and finish_epoch(run):
            state.next_epoch()
        if state.epoch < args.num_epochs:
            run.save()
            reason = run.interrupt.received or "another process"
            print_once(f"stopped by {reason} {state.place}; --auto_load 1 resumes from there")
    run.logger.close(), run.profiler.close(), run.lock.release()
    run.checkpoints.require_saved()


def finish_epoch(run: TrainingRun) -> bool:
    """Train the rest of an epoch, save, evaluate and log -> False if it was interrupted."""
    args, state, started = run.args, run.state, time.perf_counter()
    if not train_one_epoch(run):
        return False
    last = state.epoch + 1 == args.num_epochs
    saved = last or (state.epoch + 1) % args.save_epochs == 0
    if saved:
        run.save()
        saved = run.checkpoints.failed is None
    update = state.update
    record = {"epoch": state.epoch, "lr": update.optimizer.param_groups[0]["lr"], "train": state.mean_losses()}
    record |= {"train_seconds": time.perf_counter() - started, "saved": saved}
    if run.val_loader and (last or (state.epoch + 1) % args.eval_epochs == 0):
        model = update.average.module if update.average else run.model
        network = evaluation.inference_network(model, run.device, args.precision, *refinements(args))
        logs = run.bad_rows, run.interrupted
        report = evaluation.evaluate(network, run.criterion, run.val_loader, run.device, *logs, args.protocol)
        if report is None:
            return False
        report_metrics(report, describe_protocol(args, run.criterion), args.metrics_json, required=False)
        errors = {name: value for name, value in report.items() if name.endswith("_mm")}
        run.logger.scalars("val", errors, state.epoch)
        if is_main():
            dataset = run.val_loader.dataset
            picture = validation_picture(network, run.criterion, dataset, run.device, run.faces)
            run.logger.picture("val", picture, state.epoch)
        if saved and run.logger.is_best("mpjpe_mm", report["mpjpe_mm"]):
            run.checkpoints.keep_best()
        record["val"] = report
    run.logger.epoch(record)
    return True


def train_one_epoch(run: TrainingRun) -> bool:
    """Train from the current step to the end of the epoch -> False if it was interrupted.

    The host queues work for the GPU and waits only for the numbers that it logs.
    """
    args, state, sampler = run.args, run.state, run.loader.sampler
    run.model.train(), run.criterion.train()
    state.prepare_random(args.seed)
    sampler.set_epoch(state.epoch, first_batch=state.step)
    speed = Speed(args.batch_size * world_size(), state.step)
    batches, stop = progress(run.loader, f"epoch {state.epoch}", done=state.step), False
    usable = run.label_check.filter(run.bad_rows.filter(batches, "the training set", len(sampler)))
    for batch in on_device(usable, run.device):
        step = state.global_step
        losses, part, outputs = add_gradient(run.model, run.criterion, batch, state.update, run.device, args)
        factor = lr_factor(step, args.num_epochs * len(run.loader), args.warmup_steps, args.lr_schedule)
        set_lr(state.update.optimizer, args.lr * factor)
        outcome = state.update.step()
        state.add_losses(losses, outcome)
        state.step += 1
        run.profiler.step()
        stop = run.stop(run.interrupted())
        run.nonfinite.add(outcome.nonfinite, step, losses, batch)
        if step % args.summary_steps == 0:
            mean = mean_over_ranks(torch.stack([*losses.values(), outcome.norm])).tolist()
            values = dict(zip([*losses, "gradient_norm"], mean, strict=True))
            values |= {"lr": args.lr * factor, "samples_per_second": speed(state.step)}
        if step % args.summary_steps == 0 and is_main():
            batches.set_postfix_str(f"loss {values['loss']:.2f}")
            run.logger.scalars("train", values, step)
            if "image" in part:
                targets = run.criterion.targets(part)
                run.logger.picture("train", crop_picture(part["image"], outputs, targets, run.faces), step)
        if stop:
            break
        if args.save_steps and (step + 1) % args.save_steps == 0 and not state.epoch_is_over:
            run.save()
    run.nonfinite.finish()
    return not stop


def add_gradient(model, criterion, batch: dict, update: Update, device: torch.device, args) -> tuple[dict, dict, dict]:
    """Forward and backward pass of a batch, in --accumulate_steps parts.

    Returns the detached losses by name, the last part of the batch, and the network's outputs for that part.
    """
    losses = {}
    parts = split_batch(batch, args.accumulate_steps)
    for number, (part, share) in enumerate(parts, 1):
        with without_gradient_sync(model, number < len(parts)):
            with autocast(device, args.precision):
                outputs = model(network_input(part), all_stages=criterion.stage_weights is not None)
            own = criterion(outputs, part, whole=batch if len(parts) > 1 else None)
            update.backward(own, share)
        losses = {name: losses.get(name, 0) + share * loss.detach() for name, loss in own.items()}
    return losses, part, outputs


def describe_protocol(args, criterion) -> dict[str, str]:
    """How the numbers of an evaluation were computed."""
    regressor = name_keypoint_regressor(args, criterion.body_model)
    protocol = {
        "data": describe_data(args),
        "body": _body(criterion.body_model),
        "joints": f"J14 of the mesh by {regressor}, against labelled 3D keypoints",
        "alignment": "MPJPE middle of the hips, PA-MPJPE similarity transform, MPVPE J17 pelvis",
    }
    protocol |= evaluation.describe_counting(args.protocol, criterion)
    return protocol | evaluation.describe_refinements(*refinements(args)) | describe_labels(args)


def _body(body_model: BodyModel) -> str:
    return f"{body_model.name}, {body_model.num_vertices} vertices"


if __name__ == "__main__":
    main()
