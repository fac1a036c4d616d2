"""The network as its authors published it: the baseline of the benchmark."""

import copy
import types

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import AttentionLayer
from models.build import build_model
from models.mesh_recovery import MeshRecovery
from utils.options import get_args_parser

NETWORKS = {"w32": ["--backbone_weights=none"], "movenet": ["--backbone=movenet"]}


def random_network(name: str) -> MeshRecovery:
    """A network of NETWORKS with random weights, in eval mode."""
    torch.manual_seed(0)
    model, _ = build_model(get_args_parser().parse_args(NETWORKS[name]))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # realistic statistics; without them activations overflow
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.backbone.train()(torch.randn(4, 3, 224, 224))
    return model.eval()


def published(model: MeshRecovery) -> MeshRecovery:
    """A copy whose attention computes keys and values of all features, as the published code does."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, AttentionLayer):
            module.forward = types.MethodType(attend_to_keys, module)
    return model


def attend_to_keys(
    layer: AttentionLayer, query: Tensor, context: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """`AttentionLayer.forward` with explicit keys and values."""
    normed = layer.norm(query)
    context = normed if context is None else context
    q, k, v = (
        linear(x).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
        for linear, x in ((layer.to_q, normed), (layer.to_k, context), (layer.to_v, context))
    )
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    query = query + layer.out(attended.transpose(1, 2).flatten(2))
    return query + layer.mlp(query)
