"""One run of the ablation: train a variant of the graph on a share of the people with one seed, and evaluate it."""

import json
import shlex
import shutil
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import Dataset

import main as trainer
from datasets.build import build_loader
from datasets.feature_cache import FeatureCache
from models.build import build_model, config_from_args
from models.criterion import Criterion
from models.features import network_input
from models.inference.evaluate import predict, summarize_predictions
from scripts.export_weights import leave_out_known_backbone
from utils.camera import MARGIN
from utils.checkpoint import load_checkpoint, load_model_weights, save_checkpoint, write_checkpoint
from utils.errors import UserError
from utils.evaluation.details import by_visibility
from utils.evaluation.predictions import Predictions
from utils.files import write_text
from utils.metrics import pck
from utils.options import parse_args
from utils.paths import OPEN_BODY
from utils.process import choose_device
from utils.train.bad_row_log import BadRowLog
from utils.train.batches import to_device
from utils.train.distributed import seed_everything

VARIANTS = {
    "none": ["--graph=none"],
    "llm_adaptive": ["--graph=adaptive", "--joint_prior=llm"],
    "shuffled_adaptive": ["--graph=adaptive", "--joint_prior=shuffled"],
    "learned": ["--graph=static", "--joint_prior=none"],
    "kinematic": ["--graph=static", "--joint_prior=kinematic"],
    "llm_static": ["--graph=static", "--joint_prior=llm"],
}
# the recipe of the default model, with smaller batches because the runs are shorter
RECIPE = ["--preset=movenet_s", "--batch_size=32", "--warmup_steps=100", "--ema=0.99"]
STEPS_BETWEEN_CHECKPOINTS = 500
NUM_LIMBS = 12  # limb joints, the first ones of J14


class Stopped(Exception):
    """A signal has stopped the training of a run, whose checkpoint is saved."""


class Run(NamedTuple):
    """One run of the ablation."""

    variant: str
    share: float  # of the people
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant}_{self.share:g}_seed{self.seed}"


def options_of(run: Run, settings: dict, *more: str) -> Namespace:
    """Options of main.py for the training of a run. UserError if its people are fewer than a batch."""
    flags = [
        *shlex.split(settings["recipe"]),
        f"--smpl_path={OPEN_BODY}",
        "--save_steps=0",
        "--logger=csv",
        "--summary_steps=50",
    ]
    flags += [*VARIANTS[run.variant], f"--seed={run.seed}", f"--prior_seed={run.seed}", f"--lr={settings['lr']}"]
    flags += [f"--align_corners={int(settings['align_corners'])}", f"--device={settings['device']}", *more]
    options = parse_args(flags)
    # shares are nested: a smaller one has the first people of a larger one
    options.num_samples = round(run.share * settings["people"])
    if options.num_samples < options.batch_size:
        raise UserError(
            f"{run.name}: {options.num_samples} people are less than a batch of {options.batch_size}: cache more"
        )
    steps_per_epoch = options.num_samples // options.batch_size
    num_steps = settings["num_samples"] // options.batch_size
    options.num_epochs = max(1, round(num_steps / steps_per_epoch))
    options.save_epochs = max(1, round(STEPS_BETWEEN_CHECKPOINTS / steps_per_epoch))
    return options


def write_start(path: Path, options: Namespace):
    """Save the initial weights of a seed: a network without a graph, from which all variants start."""
    seed_everything(options.seed)
    options = Namespace(**vars(options) | {"graph": "none", "joint_prior": "none"})
    model, _ = build_model(options)
    save_checkpoint(path, model, config_from_args(options, model.body_model))


def train(run: Run, folder: Path, features: Path, settings: dict) -> tuple[Namespace, dict, list[dict]]:
    """Train by main.py, from the newest checkpoint if there is one -> options, final checkpoint, log by epoch.

    Stopped if a signal ends it before its last epoch.
    """
    start = settings["load_checkpoint"] or folder / f"start_seed{run.seed}.pt"
    options = options_of(
        run, settings, f"--load_checkpoint={start}", f"--log_root={folder / 'training'}", f"--exp_name={run.name}",
        f"--feature_cache={features}", "--auto_load=1",
    )  # fmt: skip
    if not settings["load_checkpoint"] and not start.exists():
        write_start(start, options)
    logs = options.log_root / run.name
    last = logs / "checkpoints" / f"epoch_{options.num_epochs - 1:03d}.pt"
    trainer.run(options, choose_device(options.device))
    if not last.exists():
        raise Stopped
    records = [json.loads(line) for line in (logs / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return options, load_checkpoint(last), records


def build(options: Namespace, start: str | Path) -> tuple[nn.Module, Criterion]:
    """The network of a variant with the weights of a checkpoint; parts of the graph may be absent there."""
    seed_everything(options.seed)
    model, criterion = build_model(options)
    load_model_weights(model, start, config_from_args(options, model.body_model))
    return model, criterion


@torch.inference_mode()
def limb_pck(model: nn.Module, criterion: Criterion, dataset: Dataset, device: torch.device) -> dict:
    """PCK of the projected limb joints (utils.metrics.pck); distances are in longer sides of the person's box."""
    distances = []
    for batch in build_loader(dataset, batch_size=100, num_workers=0, train=False):
        batch = to_device(batch, device)
        outputs = model(network_input(batch), all_stages=False)
        xy, labelled = criterion.targets(batch)["keypoints_2d"][:, :NUM_LIMBS].split((2, 1), dim=-1)
        # a crop is 2 units wide, and MARGIN times the longer side of the box
        distance = (outputs["pred_keypoints_2d"][:, :NUM_LIMBS] - xy).norm(dim=-1) * MARGIN / 2
        distances += distance[labelled[..., 0] > 0].tolist()
    return pck(distances)


def evaluate(model: nn.Module, criterion: Criterion, dataset: Dataset, device: torch.device) -> Predictions:
    """Estimates and errors of every person, in float32."""
    model.eval()
    loader = build_loader(dataset, batch_size=100, num_workers=0, train=False)
    return predict(partial(model, all_stages=False), criterion, loader, device, BadRowLog(None))


def execute(run: Run, folder: Path, features: Path, tests: dict[str, FeatureCache], settings: dict) -> dict:
    """Train and evaluate a run -> its record, which is also written to FOLDER/NAME.json, as the last of its files.

    NAME.safetensors has the averaged weights, NAME.TEST.npz the estimates for a test. The folder of the training is
    deleted at the end.
    """
    options, checkpoint, log = train(run, folder, features, settings)
    state, config = checkpoint.get("ema", checkpoint["model"]), checkpoint["config"]
    weights = folder / f"{run.name}.safetensors"
    state, config = leave_out_known_backbone(state, config)
    write_checkpoint(weights, {"model": state, "config": config})
    device = choose_device(options.device)
    model, criterion = (module.to(device) for module in build(options, weights))
    reports = {}
    for name, dataset in tests.items():
        if name == "photos":
            model.eval(), criterion.eval()
            reports[name] = limb_pck(model, criterion, dataset, device)
        else:
            found = evaluate(model, criterion, dataset, device)
            found.save(folder / f"{run.name}.{name}.npz")
            reports[name] = summarize_predictions(found) | {"visibility": by_visibility(found)}
    record = {
        **run._asdict(),
        "people": options.num_samples,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "gates": gate_sizes(model),
        "train_loss": [epoch["train"]["loss"] for epoch in log],
        "train_seconds": round(sum(epoch["train_seconds"] for epoch in log), 1),
        "code": checkpoint["code_version"],
        "tests": reports,
        "settings": settings,
    }
    write_text(folder / f"{run.name}.json", json.dumps(record, indent=1) + "\n")
    shutil.rmtree(options.log_root / run.name, ignore_errors=True)
    return record


def gate_sizes(model: nn.Module) -> dict[str, float]:
    """Mean absolute values of the gates of all graphs. A graph with gates of 0 has no effect."""
    found = {}
    for kind in ("bias_gate", "conv_gate"):
        gates = [gate for name, gate in model.named_parameters() if name.endswith(kind)]
        if gates:
            found[kind] = float(torch.cat(gates).detach().abs().mean())
    return found
