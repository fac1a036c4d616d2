"""Initial weights of a graph transformer block, those of the published code (SMPLer, Xu et al., TPAMI 2024).

Small weights keep the tokens small, so that Adam at 2e-4 without warm-up keeps the rotations of the first estimate.
From PyTorch's default weights, their error grows within a few steps.
"""

import torch
from torch import nn

from models.attention import AttentionLayer

STD = 0.02  # of linear layers and token positions
PIXEL_STD = 0.1  # of pixel positions
OUTPUT_STD = 0.001  # an untrained block changes the estimate little
ROTATION_BIAS = 0.1  # at the entries 0 and 3 of a 6D rotation: the identity once orthonormal


@torch.no_grad()
def initialize_block(block: nn.Module) -> None:
    """Draw the weights of a `GraphTransformerBlock`.

    Left at PyTorch's defaults, as in the published code: the projections of the maps and the layer on features at the
    joints. Left as they are, because they start as an exact no-op: the joint graph, the joint embedding and the
    keypoint feedback.
    """
    layers = [block.embed, block.head, block.residual]
    for module in block.modules():
        if isinstance(module, AttentionLayer):
            layers += [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    outputs = (block.to_rot6d, block.to_betas, block.to_cam)
    for layer in (*layers, *outputs):
        nn.init.normal_(layer.weight, std=OUTPUT_STD if layer in outputs else STD)
        nn.init.zeros_(layer.bias)
    block.to_rot6d.bias[[0, 3]] = ROTATION_BIAS
    nn.init.normal_(block.token_position, std=STD)
    nn.init.normal_(block.pixel_position, std=PIXEL_STD)
