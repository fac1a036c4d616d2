"""The adaptive graph over the 24 joints: prior structure of the body for the attention among tokens.

Each head h has a score for every pair of joints, the weight of joint j for joint i:

    G_h(i, j) = hop_h[d(i, j)]                distance in the kinematic tree, learned table
              + sum_r w_hr S_r(i, j)          joint prior: similarity of descriptions, rated relations
              + L_h(i, j)                     free, symmetric, learned
              + c_h . tanh(phi(x_i) - psi(x_j))   from this image's tokens (CTR-GC, Chen et al., ICCV 2021)

The scores act in two ways: as a bias before the softmax, and as a graph convolution beside the attention. Each has a
gate that starts at zero. The text embeddings of the joint descriptions are added to the tokens, by a projection that
starts at zero. So a network with a new graph gives the same numbers as one without.

Left and right: every term commutes with SMPL_FLIP, the exchange of left and right joints. Flipped tokens give flipped
scores, for any learned values, and the same holds for a whole unit of the transformer. The network as a whole is not
equivariant: its learned positions differ between left and right, no component of a token changes sign in a mirror, and
the filters of the backbone are not symmetric.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import LAYER_NORM_EPS
from utils.skeleton import NUM_JOINTS, SMPL_FLIP, SMPL_PARENTS

# Adam moves a gate by about the learning rate per step, for any size of the gradient. With this factor a gate opens
# within hundreds of steps, not thousands.
GATE_GAIN = 10.0


def tree_distances(parents: tuple[int, ...] = SMPL_PARENTS) -> Tensor:
    """Number of bones between any two joints, (J, J) int64."""
    distance = torch.full((len(parents),) * 2, len(parents))
    distance.fill_diagonal_(0)
    for child, parent in enumerate(parents):
        if parent >= 0:  # parents come first: the distances of the parent are final
            distance[child, :child] = distance[parent, :child] + 1
            distance[:child, child] = distance[child, :child]
    return distance


class JointGraph(nn.Module):
    """Scores between joints, and the two ways in which they act on the 26 tokens (joints, shape, camera).

    relations: (R, 24, 24) of the joint prior, symmetric, invariant under the flip, unit scale; or None. adaptive: with
    the term of this image. entries: "bias" of the attention, graph "conv", or both; an absent one has no parameters.
    Shape and camera tokens are no nodes of the graph.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        relations: Tensor | None,
        adaptive: bool,
        entries: Collection[str] = ("bias", "conv"),
        adaptive_dim: int = 8,
    ):
        super().__init__()
        self.num_heads = num_heads
        distance = tree_distances()
        self.register_buffer("distance", distance, persistent=False)
        self.register_buffer("flip", torch.tensor(SMPL_FLIP), persistent=False)
        # at the start nearer joints score higher; unit scale, like the relations of the prior
        table = -torch.arange(distance.max() + 1).float()
        spread = table[distance]
        self.hop = nn.Parameter(((table - spread.mean()) / spread.std()).repeat(num_heads, 1))
        self.learned = nn.Parameter(torch.zeros(num_heads, NUM_JOINTS, NUM_JOINTS))
        self.register_buffer("relations", relations, persistent=False)
        if relations is not None:
            num_relations = len(relations)
            self.relation_weight = nn.Parameter(torch.full((num_heads, num_relations), num_relations**-0.5))
        self.adaptive = adaptive
        if adaptive:
            self.phi = nn.Linear(dim, num_heads * adaptive_dim)
            self.psi = nn.Linear(dim, num_heads * adaptive_dim)
            self.adaptive_weight = nn.Parameter(torch.zeros(num_heads, adaptive_dim))
        has_conv = "conv" in entries
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS) if adaptive or has_conv else None
        self.value = nn.Linear(dim, dim) if has_conv else None
        self.bias_gate = nn.Parameter(torch.zeros(num_heads)) if "bias" in entries else None
        self.conv_gate = nn.Parameter(torch.zeros(dim)) if has_conv else None

    def learned_graph(self) -> Tensor:
        """L (H, 24, 24) float32, symmetric and the same for left and right."""
        symmetric = (self.learned + self.learned.mT).float() / 2
        return (symmetric + symmetric[:, self.flip][:, :, self.flip]) / 2

    def terms(self, joints: Tensor) -> dict[str, Tensor]:
        """Normalised joint tokens (B, 24, C) -> the terms of G, each (B or 1, H, 24, 24) float32, by name."""
        terms = {"tree": self.hop.float()[:, self.distance][None]}
        if self.relations is not None:
            terms["prior"] = torch.einsum("hr,rij->hij", self.relation_weight.float(), self.relations)[None]
        terms["learned"] = self.learned_graph()[None]
        if self.adaptive:
            sender, receiver = (
                layer(joints).float().unflatten(-1, (self.num_heads, -1)) for layer in (self.psi, self.phi)
            )
            difference = torch.tanh(receiver[:, :, None] - sender[:, None])  # (B, 24, 24, H, D)
            terms["adaptive"] = torch.einsum("bijhd,hd->bhij", difference, self.adaptive_weight.float())
        return terms

    def scores(self, joints: Tensor) -> Tensor:
        """Normalised joint tokens (B, 24, C) -> G (B or 1, H, 24, 24) float32, higher for a stronger connection."""
        return sum(self.terms(joints).values())

    def bias_strength(self) -> Tensor:
        """Factor of each head's scores in the attention bias, (H,) float32."""
        return GATE_GAIN * self.bias_gate.float()

    def normalised(self, tokens: Tensor) -> Tensor:
        """tokens (B, 26, C) -> joint tokens (B, 24, C) after the norm, the input of `terms`."""
        joints = tokens[:, :NUM_JOINTS]
        return joints if self.norm is None else self.norm(joints)

    def forward(self, tokens: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """tokens (B, 26, C) -> bias of their attention (B or 1, H, 26, 26), update to add to them (B, 26, C).

        Either is None if it is not among the entries.
        """
        rest = tokens.shape[1] - NUM_JOINTS
        joints = self.normalised(tokens)
        scores = self.scores(joints)
        bias, update = None, None
        if self.bias_gate is not None:
            bias = F.pad(self.bias_strength()[:, None, None] * scores, (0, rest, 0, rest))
        if self.conv_gate is not None:
            value = self.value(joints).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            gathered = (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)
            update = F.pad(GATE_GAIN * self.conv_gate * gathered, (0, 0, 0, rest))
        return bias, update


class JointEmbedding(nn.Module):
    """Text embeddings of the joint descriptions, projected and added to the joint tokens; zero before training."""

    def __init__(self, embedding: Tensor, dim: int):
        """embedding: (24, D) text vectors of the joint prior."""
        super().__init__()
        self.register_buffer("embedding", embedding, persistent=False)
        self.project = nn.Linear(embedding.shape[1], dim, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, 26, C) -> (B, 26, C)."""
        return tokens + F.pad(self.project(self.embedding), (0, 0, 0, tokens.shape[1] - NUM_JOINTS))
