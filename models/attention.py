"""The one attention layer that everything in the graph transformer is made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-12


def attend(q: Tensor, seen: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q seen^T + bias) seen; q (B, Q, C), seen (B, K, C), bias broadcastable to (B, Q, K) -> (B, Q, C).

    Fused, except for training on the CPU: with so few queries the fused backward pass there takes twice the time.
    """
    if q.device.type == "cpu" and torch.is_grad_enabled():
        scores = q @ seen.mT if bias is None else q @ seen.mT + bias
        return scores.softmax(-1, dtype=torch.float32).to(seen.dtype) @ seen
    return F.scaled_dot_product_attention(q, seen, seen, attn_mask=bias, scale=1.0)


class AttentionLayer(nn.Module):
    """Multi-head attention and a two-layer MLP, each behind a LayerNorm and with a residual connection.

    The queries are normalised, a context of another kind is read as it is.

    There are few queries and many things to look at, so that no keys and values are made of these: what they would be
    multiplied by is put into the queries before and into the answers afterwards, q (W x) = (W^T q) x, which is the same
    with a third less work and memory.
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
        # adds the same to all scores of a query, of which the softmax takes no notice; kept for published weights
        self.to_k.bias.requires_grad_(False)

    def forward(self, query: Tensor, context: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """query (B, Q, C), context (B, K, C), bias for the softmax, (B or 1, H, Q, K) -> (B, Q, C).

        Without a context the queries attend to one another.
        """
        normed = self.norm(query)
        context = normed if context is None else context
        to_k, to_v = (layer.weight.unflatten(0, (self.num_heads, -1)) for layer in (self.to_k, self.to_v))  # (H, D, C)
        q = (self.to_q(normed) * to_k.shape[1] ** -0.5).unflatten(-1, (self.num_heads, -1))
        q = torch.einsum("bqhd,hdc->bhqc", q, to_k).flatten(1, 2)
        if bias is not None:
            bias = bias.flatten(1, 2).to(q.dtype)
        seen = attend(q, context.to(q.dtype), bias).unflatten(1, (self.num_heads, -1))
        attended = torch.einsum("bhqc,hdc->bqhd", seen, to_v).flatten(2) + self.to_v.bias
        query = query + self.dropout(self.out(attended))
        return query + self.mlp(query)
