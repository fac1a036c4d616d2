"""The attention layer of the graph transformer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-12


def attend(query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(query context^T + bias) context: the context is both keys and values, the scale is 1.

    query (B, Q, C), context (B, K, C), bias broadcastable to (B, Q, K) -> (B, Q, C).
    Training on the CPU does not use the fused kernel: with few queries its backward pass takes twice the time.
    """
    if query.device.type == "cpu" and torch.is_grad_enabled():
        scores = query @ context.mT if bias is None else query @ context.mT + bias
        return scores.softmax(-1, dtype=torch.float32).to(context.dtype) @ context
    return F.scaled_dot_product_attention(query, context, context, attn_mask=bias, scale=1.0)


class AttentionLayer(nn.Module):
    """Multi-head attention and a two-layer MLP, each behind a LayerNorm and with a residual connection.

    The queries are normalised; a context from the image is not.

    Queries are few and pixels are many. So the key and value projections are applied to the queries and to the result
    of the attention, not to the pixels: q (W x) = (W^T q) x. The result is the same, with a third less compute and
    memory.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.1, mlp_ratio: int = 2):
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim, eps=LAYER_NORM_EPS),
            nn.Linear(dim, mlp_ratio * dim),
            nn.GELU(),
            nn.Linear(mlp_ratio * dim, dim),
            nn.Dropout(dropout),
        )
        # it adds the same number to all scores of a query, which softmax cancels; published weights contain it
        self.to_k.bias.requires_grad_(False)

    def forward(self, query: Tensor, context: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """query (B, Q, C), context (B, K, C), bias of the scores (B or 1, H, Q, K) -> (B, Q, C).

        Without a context it is self-attention among the queries.
        """
        normed = self.norm(query)
        context = normed if context is None else context
        to_k, to_v = (layer.weight.unflatten(0, (self.num_heads, -1)) for layer in (self.to_k, self.to_v))  # (H, D, C)
        q = (self.to_q(normed) * to_k.shape[1] ** -0.5).unflatten(-1, (self.num_heads, -1))
        q = torch.einsum("bqhd,hdc->bhqc", q, to_k).flatten(1, 2)
        if bias is not None:
            bias = bias.flatten(1, 2).to(q.dtype)
        mixed = attend(q, context.to(q.dtype), bias).unflatten(1, (self.num_heads, -1))
        attended = torch.einsum("bhqc,hdc->bqhd", mixed, to_v).flatten(2) + self.to_v.bias
        query = query + self.dropout(self.out(attended))
        return query + self.mlp(query)
