"""Size and compute of a network."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.mesh_recovery import MeshRecovery
from utils.crop import CROP_SIZE


@torch.no_grad()
def describe_cost(model: MeshRecovery) -> str:
    """Numbers of parameters and of multiply-adds for one image, in words. Runs the network once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(1, 3, CROP_SIZE, CROP_SIZE, device=model.keypoint_regressor.device), all_stages=False)
    model.train(training)
    share = "" if trained == total else f", {trained / 1e6:.1f} million of them trained"
    return f"{total / 1e6:.1f} million parameters{share}; {counter.get_total_flops() / 2e9:.2f} billion multiply-adds"
