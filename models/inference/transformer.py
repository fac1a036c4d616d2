"""The graph transformer for inference: the same function; all that does not depend on the image is precomputed.

Tokens are few and pixels are many. So the key and value projections and the affine parts of layer norms are folded into
the weights of the tokens. Pixels and matrix products have the type `dtype`; tokens, their norms and the estimates stay
float32.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import LAYER_NORM_EPS, AttentionLayer
from models.features import Features, bilinear_weights, pixels
from models.graph_transformer import GraphTransformerBlock, TransformerUnit, Window
from utils.geometry import rot6d_to_rotmat
from utils.skeleton import NUM_JOINTS


def attend(query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
    """`models.attention.attend` without gradients, in the type of the context.

    query (B, Q, C), context (B, K, C), bias (B or 1, Q, K) -> (B, Q, C).
    """
    query = query.to(context.dtype)
    bias = None if bias is None else bias.to(context.dtype)
    if query.device.type == "cuda":
        bias = None if bias is None else bias[:, None]
        query, context = query[:, None], context[:, None]  # the fused kernels need four dimensions
        return F.scaled_dot_product_attention(query, context, context, bias, scale=1.0)[:, 0]
    scores = query @ context.mT  # on a CPU in bfloat16 several times as fast as the fused kernel
    return (scores if bias is None else scores + bias).softmax(-1) @ context


def normalise(x: Tensor) -> Tensor:
    """Layer norm without its affine part, which is folded into the next layer."""
    return F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS)


class FoldedAttention(nn.Module):
    """S attention layers that read the same tokens in parallel.

    self_attention: the context is the normalised tokens themselves, whose layer norm is folded into the weights too.
    """

    def __init__(self, layers: Sequence[AttentionLayer], dtype: torch.dtype, self_attention: bool = False):
        super().__init__()
        self.dtype = dtype
        folded = [_fold(copy.deepcopy(layer).double(), self_attention) for layer in layers]
        for name in folded[0]:
            self.register_buffer(name, torch.stack([weights[name] for weights in folded]).to(dtype))

    def queries(self, tokens: Tensor) -> Tensor:
        """tokens (B, Q, C) -> queries (S, B, Q H, C), with the key projection applied."""
        normed = normalise(tokens).flatten(0, 1).expand(len(self.query), -1, -1)
        return self._multiply("query", normed).view(len(self.query), tokens.shape[0], -1, tokens.shape[-1])

    def output(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """tokens (B, Q, C), results of the attention (S, B, Q H, C) -> tokens after each layer (S, B, Q, C)."""
        attended = attended.reshape(len(self.query), tokens.shape[0] * tokens.shape[1], -1)
        x = tokens.flatten(0, 1) + self._multiply("value", attended)
        return (x + self._multiply("down", F.gelu(self._multiply("up", normalise(x))))).unflatten(1, tokens.shape[:2])

    def _multiply(self, name: str, x: Tensor) -> Tensor:
        return torch.baddbmm(getattr(self, f"{name}_bias"), x.to(self.dtype), getattr(self, name))


@torch.no_grad()
def _fold(layer: AttentionLayer, self_attention: bool) -> dict[str, Tensor]:
    """Weights of one layer, multiplied from the right: query C -> H C, value H C -> C, up C -> 2 C, down 2 C -> C."""
    norm, (mlp_norm, up, _, down, _) = layer.norm, layer.mlp
    to_k, to_v = layer.to_k.weight, layer.to_v.weight
    value_bias = layer.to_v.bias
    if self_attention:  # the bias of the keys adds the same number to all scores, which softmax cancels
        to_k, to_v, value_bias = to_k * norm.weight, to_v * norm.weight, value_bias + to_v @ norm.bias
    heads = (layer.num_heads, -1)
    to_q, query_bias = layer.to_q.weight * norm.weight, layer.to_q.bias + layer.to_q.weight @ norm.bias
    to_q, query_bias, to_k, to_v = (part.unflatten(0, heads) for part in (to_q, query_bias, to_k, to_v))  # (H, D, ...)
    out = layer.out.weight.unflatten(1, heads)  # (C, H, D)
    scale = to_q.shape[1] ** -0.5
    return {
        "query": scale * torch.einsum("hdi,hdo->iho", to_q, to_k).flatten(1),
        "query_bias": scale * torch.einsum("hd,hdo->ho", query_bias, to_k).flatten()[None],
        "value": torch.einsum("hdi,ohd->hio", to_v, out).flatten(0, 1),
        "value_bias": (layer.out.weight @ value_bias + layer.out.bias)[None],
        "up": (up.weight * mlp_norm.weight).mT,
        "up_bias": (up.bias + up.weight @ mlp_norm.bias)[None],
        "down": down.weight.mT,
        "down_bias": down.bias[None],
    }


class FastUnit(nn.Module):
    """`TransformerUnit` with folded attention layers."""

    def __init__(self, unit: TransformerUnit, dtype: torch.dtype):
        super().__init__()
        self.graph = unit.graph
        self.multi_scale = FoldedAttention(unit.multi_scale.layers, dtype)
        self.window = FoldedAttention([unit.window.layer], dtype)
        self.exchange = FoldedAttention([unit.exchange], dtype, self_attention=True)
        self.register_buffer("bias_table", unit.window.bias_table.detach().float())

    def forward(self, tokens: Tensor, scales: list[Tensor], window_features: Tensor, offset: Tensor) -> Tensor:
        queries = self.multi_scale.queries(tokens)
        attended = torch.stack([attend(query, scale) for query, scale in zip(queries, scales, strict=True)])
        from_scales = self.multi_scale.output(tokens, attended).mean(0)

        joints = tokens[:, :NUM_JOINTS]
        query = self.window.queries(joints)[0].unflatten(1, (NUM_JOINTS, -1)).flatten(0, 1)  # (B J, H, C)
        bias = F.grid_sample(self.bias_table.expand(offset.shape[0], -1, -1, -1), offset, align_corners=True)
        near = attend(query, window_features.flatten(0, 1), bias.transpose(1, 2).flatten(0, 1))
        near = self.window.output(joints, near[None])[0]
        tokens = torch.cat(((from_scales[:, :NUM_JOINTS] + near) / 2, from_scales[:, NUM_JOINTS:]), dim=1)

        bias, update = (None, None) if self.graph is None else self.graph(tokens)
        if bias is not None:  # (B or 1, H, Q, Q) -> (B or 1, Q H, Q)
            bias = bias.transpose(1, 2).flatten(1, 2)
        attended = attend(self.exchange.queries(tokens)[0], normalise(tokens), bias)
        tokens = self.exchange.output(tokens, attended[None])[0]
        return tokens if update is None else tokens + update


class FastBlock(nn.Module):
    """`GraphTransformerBlock` for feature maps of `sizes` (H, W), with pixels of type `dtype`."""

    def __init__(self, block: GraphTransformerBlock, sizes: Sequence[tuple[int, int]], dtype: torch.dtype):
        super().__init__()
        self.radius, self.dtype, self.align_corners = block.radius, dtype, block.align_corners
        self.joint_feature, self.embed = block.joint_feature, block.embed
        self.points, self.feedback = block.points, block.feedback
        self.head, self.residual = block.head, block.residual
        self.to_rot6d, self.to_betas, self.to_cam = block.to_rot6d, block.to_betas, block.to_cam
        self.units = nn.ModuleList(FastUnit(unit, dtype) for unit in block.units)
        self.project, self.norm = nn.ModuleList(), nn.ModuleList()
        self.positions = nn.ParameterList()
        with torch.no_grad():
            for conv, norm, size in zip(block.project, block.norm, sizes, strict=True):
                linear = nn.Linear(conv.in_channels, conv.out_channels)
                linear.weight.copy_(conv.weight.flatten(1)), linear.bias.copy_(conv.bias)
                self.project.append(linear.to(conv.weight.device, dtype))
                self.norm.append(norm.to(dtype))
                self.positions.append(
                    pixels(F.adaptive_avg_pool2d(block.pixel_position, size))[0].contiguous().to(dtype)
                )
            position = block.token_position[None]
            position = position if block.joint_embedding is None else block.joint_embedding(position)
        self.register_buffer("token_position", position)

    def forward(self, tokens: Tensor, features: Features, joints_2d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs and outputs are those of `GraphTransformerBlock.forward`."""
        size = features.maps[0].shape[-2:]
        maps = [
            norm(project(pixels(feature).to(self.dtype)))
            for feature, project, norm in zip(features.maps, self.project, self.norm, strict=True)
        ]
        at_joints = bilinear_weights(joints_2d, size, self.align_corners).to(self.dtype) @ maps[0]
        at_joints = self.joint_feature(at_joints.float())
        tokens = tokens + torch.cat((at_joints, at_joints.mean(1, keepdim=True).expand(-1, 2, -1)), dim=1)

        window = Window(joints_2d, size[-1], self.radius, self.align_corners)
        window_features = window.gather(maps[0])
        scales = [one + position for one, position in zip(maps, self.positions, strict=True)]
        if self.points is not None:
            scales.append(self.points(features.points, features.keypoints))
            tokens = tokens + self.feedback(features.keypoints, joints_2d)

        x = self.embed(tokens) + self.token_position
        for unit in self.units:
            x = unit(x, scales, window_features, window.offset)
        tokens = self.head(x) + self.residual(tokens)
        rotation = rot6d_to_rotmat(self.to_rot6d(tokens[:, :NUM_JOINTS]))
        return tokens, rotation, self.to_betas(tokens[:, -2]), self.to_cam(tokens[:, -1])
