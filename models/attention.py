"""The one attention layer that everything in the graph transformer is made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-12


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v; q (B, H, Q, D), k and v (B, H, K, D), bias broadcastable to (B, H, Q, K).

    Fused, except for training on the CPU: with so few queries the fused backward pass there takes twice the time.
    """
    if q.device.type == "cpu" and torch.is_grad_enabled():
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        scores = scores if bias is None else scores + bias
        return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class AttentionLayer(nn.Module):
    """Multi-head attention and a two-layer MLP, each behind a LayerNorm and with a residual connection.

    The queries are normalised, a context of another kind is read as it is.
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

    def forward(self, query: Tensor, context: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """query (B, Q, C), context (B, K, C), bias for the softmax, broadcastable to (B, H, Q, K) -> (B, Q, C).

        Without a context the queries attend to one another.
        """
        normed = self.norm(query)
        context = normed if context is None else context
        q = self._split_heads(self.to_q(normed))
        k = self._split_heads(self.to_k(context))
        v = self._split_heads(self.to_v(context))
        if bias is not None:
            bias = bias.to(q.dtype)
        attended = attend(q, k, v, bias)
        query = query + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return query + self.mlp(query)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
