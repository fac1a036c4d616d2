"""Terms and entries of a trained joint graph, set to zero at test time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from utils.errors import UserError

# name -> ends of the names of the parameters that are set to zero
TERMS = {
    "tree": ("graph.hop",),
    "prior": ("graph.relation_weight",),
    "learned": ("graph.learned",),
    "adaptive": ("graph.adaptive_weight",),
    "bias": ("graph.bias_gate",),
    "conv": ("graph.conv_gate",),
    "embedding": ("joint_embedding.project.weight",),
    "graph": ("graph.bias_gate", "graph.conv_gate", "joint_embedding.project.weight"),
}


def terms_of(model: nn.Module) -> list[str]:
    """The names in TERMS that a network has."""
    names = [name for name, _ in model.named_parameters()]
    return [term for term, ends in TERMS.items() if any(name.endswith(ends) for name in names)]


@contextmanager
def removed(model: nn.Module, term: str) -> Iterator[None]:
    """Inside the block, a term of all joint graphs of the network is zero. UserError if the network has none."""
    chosen = [parameter for name, parameter in model.named_parameters() if name.endswith(TERMS[term])]
    if not chosen:
        raise UserError(f"the network has no {term} of a joint graph: choose a checkpoint with --graph adaptive")
    saved = [parameter.detach().clone() for parameter in chosen]
    with torch.no_grad():
        torch._foreach_zero_(chosen)
        try:
            yield
        finally:
            torch._foreach_copy_(chosen, saved)
