"""One run of the ablation: train a variant of the graph on a share of the people with one seed, and evaluate it."""

import time
from argparse import Namespace
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from datasets.build import build_loader
from datasets.sampler import Shard
from main import add_gradient
from models.build import build_model, config_from_args
from models.criterion import Criterion
from models.features import network_input
from utils.camera import MARGIN
from utils.checkpoint import load_model_weights
from utils.errors import UserError
from utils.metrics import mpjpe, mpvpe, pa_mpjpe, pck, summarize
from utils.options import parse_args
from utils.process import choose_device
from utils.train.batches import to_device
from utils.train.distributed import seed_everything
from utils.train.optimizer import RunningAverage, build_optimizer, lr_factor, set_lr
from utils.train.update import Update

VARIANTS = {
    "none": ["--graph=none"],
    "kinematic": ["--graph=static", "--joint_prior=kinematic"],
    "learned": ["--graph=static", "--joint_prior=none"],
    "llm": ["--graph=static", "--joint_prior=llm"],
    "full": ["--graph=adaptive", "--joint_prior=llm"],
    "shuffled": ["--graph=adaptive", "--joint_prior=shuffled"],
}
# the recipe of the default model, shorter
RECIPE = [
    *("--data_mode=synthetic", "--backbone=movenet", "--batch_size=32", "--precision=bf16"),
    *("--lr_schedule=cosine", "--warmup_steps=60", "--clip_grad=50", "--ema=0.99", "--weight_decay=0.01"),
    *("--stage_weights", "0.2", "0.3", "0.5", "1", "--loss_vertices=1000"),
    *("--keypoint_loss=l1", "--w_2dj=100", "--w_3dj=100"),
]
NUM_LIMBS = 12  # limb joints, the first ones of J14


class Run(NamedTuple):
    """One run of the ablation."""

    variant: str
    share: float  # of the people
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant}_{self.share:g}_seed{self.seed}"


def build(options: Namespace, checkpoint: str | None) -> tuple[nn.Module, Criterion]:
    """The network of a variant. The parts that all variants have start from equal weights or from the checkpoint."""
    seed_everything(options.seed)
    model, criterion = build_model(options)
    if checkpoint:
        load_model_weights(model, checkpoint, config_from_args(options, model.body_model))
    elif options.graph != "none":
        seed_everything(options.seed)
        plain, _ = build_model(Namespace(**vars(options) | {"graph": "none", "joint_prior": "none"}))
        model.load_state_dict(model.state_dict() | plain.state_dict())
    return model, criterion


def endless(loader: DataLoader, seed: int) -> Iterator[dict]:
    """Batches of one epoch after another; each epoch has its own random numbers."""
    epoch = 0
    while True:
        seed_everything(seed, epoch)
        loader.sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def train(
    model: nn.Module, criterion: Criterion, loader: DataLoader, num_steps: int, options: Namespace, name: str
) -> nn.Module:
    """Train for a number of steps, as main.py does -> the network with averaged weights."""
    device = next(model.parameters()).device
    optimizer = build_optimizer(model, options.lr, options.weight_decay)
    update = Update(model, optimizer, RunningAverage(model, options.ema), options.clip_grad)
    model.train(), criterion.train()
    batches = endless(loader, options.seed)
    for step in tqdm(range(num_steps), name, mininterval=5, dynamic_ncols=True):
        batch = to_device(next(batches), device)
        set_lr(optimizer, options.lr * lr_factor(step, num_steps, options.warmup_steps, options.lr_schedule))
        add_gradient(model, criterion, batch, update, device, options)
        update.step()
    return update.average.module


@torch.inference_mode()
def evaluate(model: nn.Module, criterion: Criterion, dataset: Dataset, limbs_only: bool = False) -> dict:
    """Errors in mm (utils.metrics.summarize); with limbs_only the PCK of the projected limb joints (utils.metrics.pck),
    whose distances are in longer sides of the person's box."""
    model.eval(), criterion.eval()
    device = next(model.parameters()).device
    rows, distances = [], []
    for batch in build_loader(dataset, batch_size=100, num_workers=0, train=False):
        batch = to_device(batch, device)
        with torch.autocast(device.type, torch.bfloat16):
            outputs = model(network_input(batch))
        targets = criterion.targets(batch)
        xy, labelled = targets["keypoints_2d"][:, :NUM_LIMBS].split((2, 1), dim=-1)
        # A crop is 2 units wide, and MARGIN times the longer side of the box.
        distance = (outputs["pred_keypoints_2d"][:, :NUM_LIMBS] - xy).norm(dim=-1) * MARGIN / 2
        distances += distance[labelled[..., 0] > 0].tolist()
        keypoints, confidence = targets["keypoints_3d"].split((3, 1), dim=-1)
        compared = outputs["pred_keypoints_3d"], keypoints, confidence[..., 0] > 0
        vertex_error = mpvpe(criterion.minus_pelvis(outputs["pred_vertices"]), targets["vertices"])
        vertex_error[~targets["has_smpl"]] = torch.nan
        rows.append(torch.stack((batch["index"].double(), mpjpe(*compared), pa_mpjpe(*compared), vertex_error), dim=1))
    return pck(distances) if limbs_only else summarize(torch.cat(rows))


def execute(run: Run, people: Dataset, tests: dict[str, Dataset], settings: dict) -> dict:
    """Train and evaluate -> the content of the file of the run."""
    started = time.perf_counter()
    flags = [*RECIPE, *VARIANTS[run.variant], f"--lr={settings['lr']}", f"--seed={run.seed}"]
    flags.append(f"--align_corners={int(settings.get('align_corners', False))}")
    options = parse_args([*flags, f"--prior_seed={run.seed}"])
    num_people = round(run.share * len(people))
    if num_people < options.batch_size:
        raise UserError(f"{run.name}: {num_people} people are less than a batch of {options.batch_size}: cache more")
    # Each seed chooses other people; a larger share contains the people of a smaller share.
    chosen = np.random.default_rng(run.seed).permutation(len(people))[:num_people]
    loader = build_loader(
        Subset(people, chosen.tolist()),
        batch_size=options.batch_size,
        num_workers=0,
        train=True,
        shard=Shard(run.seed),
    )
    model, criterion = build(options, settings["load_checkpoint"])
    device = choose_device(settings["device"])
    model, criterion = model.to(device), criterion.to(device)
    network = train(model, criterion, loader, settings["num_samples"] // options.batch_size, options, run.name)
    return {
        **run._asdict(),
        "people": num_people,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "gates": gate_sizes(network),
        "tests": {name: evaluate(network, criterion, dataset, name == "photos") for name, dataset in tests.items()},
        "settings": settings,
        "seconds": round(time.perf_counter() - started, 1),
    }


def gate_sizes(model: nn.Module) -> dict[str, float]:
    """Mean absolute values of the gates of all graphs. A graph with gates of 0 has no effect."""
    found = {}
    for kind in ("bias_gate", "conv_gate"):
        gates = [gate for name, gate in model.named_parameters() if name.endswith(kind)]
        if gates:
            found[kind] = float(torch.cat(gates).abs().mean())
    return found
