"""The transformer that corrects a body estimate joint by joint (after SMPLer, Xu et al., TPAMI 2024).

There are 26 tokens: one for each of the 24 joints, one for shape, one for the camera. All tokens attend to the image at
all scales, each joint also to a window around its projection; then the tokens attend to one another. The cost is linear
in the number of pixels. If the backbone detects 2D keypoints, their features are one more scale, and the distance from
each projected joint to its keypoint is an input.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import LAYER_NORM_EPS, AttentionLayer
from models.body_model import NUM_BETAS
from models.features import Features, bilinear_weights, pixels, to_pixel
from models.initialization import initialize_block
from utils.geometry import rot6d_to_rotmat
from utils.skeleton import COCO17_TO_SMPL, NUM_JOINTS, NUM_KEYPOINTS

NUM_TOKENS = NUM_JOINTS + 2
COCO_LIMBS, SMPL_LIMBS = zip(*COCO17_TO_SMPL.items(), strict=True)
# an error of a tenth of the crop's side is large: as an input it is one
ERROR_GAIN = 5.0


class Window:
    """The 2r x 2r feature pixels around each joint, and their positions relative to it.

    joints_2d (B, J, 2) in [-1, 1], on a square map of `size` pixels a side ->
    `index` (B, J, 4 r^2) into the row-major pixels of the map, `offset` (B, J, 4 r^2, 2) in units of r pixels.
    A pixel beyond the border is replaced by the nearest one inside.
    """

    def __init__(self, joints_2d: Tensor, size: int, radius: int, align_corners: bool = True):
        joint = to_pixel(joints_2d, size, align_corners)
        steps = torch.arange(1 - radius, radius + 1, device=joints_2d.device, dtype=joints_2d.dtype)
        steps = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).flatten(0, 1)
        # nan must not become an address outside the map: it reads the corner, and the loss reports it
        pixel = (joint.detach().floor().nan_to_num()[:, :, None] + steps).clamp(0, size - 1)
        self.index = (pixel[..., 1] * size + pixel[..., 0]).long()
        self.offset = (pixel - joint[:, :, None]) / radius

    def gather(self, pixels: Tensor) -> Tensor:
        """pixels (B, size^2, C) -> (B, J, 4 r^2, C)."""
        first = torch.arange(pixels.shape[0], device=pixels.device) * pixels.shape[1]
        # an embedding lookup copies whole rows, which is several times as fast as gather
        return F.embedding(self.index + first[:, None, None], pixels.flatten(0, 1))


class MultiScaleAttention(nn.Module):
    """All tokens attend to every scale, by one attention layer per scale; the results are averaged."""

    def __init__(self, dim: int, num_heads: int, dropout: float, num_scales: int):
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(dim, num_heads, dropout) for _ in range(num_scales))

    def forward(self, tokens: Tensor, scales: list[Tensor]) -> Tensor:
        """tokens (B, 26, C), scales: features with position encoding, each (B, N_s, C) -> (B, 26, C)."""
        return torch.stack([layer(tokens, pixels) for layer, pixels in zip(self.layers, scales, strict=True)]).mean(0)


class WindowAttention(nn.Module):
    """Each joint attends to the window of features around its projection, biased by their relative position."""

    def __init__(self, dim: int, num_heads: int, dropout: float, radius: int):
        super().__init__()
        self.layer = AttentionLayer(dim, num_heads, dropout)
        self.bias_table = nn.Parameter(torch.zeros(1, num_heads, 2 * radius + 1, 2 * radius + 1))

    def forward(self, joints: Tensor, features: Tensor, offset: Tensor) -> Tensor:
        """joints (B, J, C), features (B, J, K, C), offset (B, J, K, 2) in units of the radius -> (B, J, C)."""
        batch, num_joints, num_samples = offset.shape[:3]
        table = self.bias_table.float().expand(batch, -1, -1, -1)
        bias = F.grid_sample(table, offset.float(), mode="bilinear", align_corners=True)  # (B, H, J, K)
        bias = bias.permute(0, 2, 1, 3).reshape(batch * num_joints, -1, 1, num_samples)
        return self.layer(joints.flatten(0, 1)[:, None], features.flatten(0, 1), bias).view_as(joints)


class TransformerUnit(nn.Module):
    """Attention to the image (all scales, each joint's window), then among the tokens, with the joint graph if any."""

    def __init__(
        self, dim: int, num_heads: int, dropout: float, num_scales: int, radius: int, graph: nn.Module | None = None
    ):
        super().__init__()
        self.multi_scale = MultiScaleAttention(dim, num_heads, dropout, num_scales)
        self.window = WindowAttention(dim, num_heads, dropout, radius)
        self.exchange = AttentionLayer(dim, num_heads, dropout)
        self.graph = graph

    def forward(
        self,
        tokens: Tensor,
        scales: list[Tensor],
        window_features: Tensor,
        offset: Tensor,
        masked: Tensor | None = None,
    ) -> Tensor:
        """tokens (B, 26, C) -> tokens (B, 26, C).

        scales: the maps as (B, H W, C) each. window_features (B, 24, 4 r^2, C): the map around each projected joint;
        offset (B, 24, 4 r^2, 2): where its pixels are, relative to the joint, in units of r pixels. masked (B, 24):
        joints that get no image features.
        """
        attended = self.multi_scale(tokens, scales)
        near = self.window(tokens[:, :NUM_JOINTS], window_features, offset)
        joints = (attended[:, :NUM_JOINTS] + near) / 2
        if masked is not None:
            joints = torch.where(masked[..., None], tokens[:, :NUM_JOINTS], joints)
        tokens = torch.cat((joints, attended[:, NUM_JOINTS:]), dim=1)
        if self.graph is None:
            return self.exchange(tokens)
        bias, update = self.graph(tokens)
        tokens = self.exchange(tokens, bias=bias)
        return tokens if update is None else tokens + update


class GraphTransformerBlock(nn.Module):
    """Tokens and projected joints of one estimate -> tokens and corrections of the next estimate.

    map_channels: widths of the feature maps, the finest has map_size pixels a side. point_channels: width of the
    features at 2D keypoints, which are one more scale; 0 if the backbone detects none. make_graph: builds the joint
    graph of one unit. joint_embedding: adds the text embedding of each joint to its token. The published network has
    four maps and none of the other three.
    """

    def __init__(
        self,
        map_channels: Sequence[int],
        dim: int = 128,
        num_heads: int = 4,
        num_units: int = 2,
        dropout: float = 0.1,
        radius: int = 4,
        map_size: int = 56,
        point_channels: int = 0,
        make_graph: Callable[[], nn.Module] | None = None,
        joint_embedding: nn.Module | None = None,
        align_corners: bool = True,
    ):
        super().__init__()
        self.radius, self.align_corners = radius, align_corners
        self.project = nn.ModuleList(nn.Conv2d(c, dim, kernel_size=1) for c in map_channels)
        self.norm = nn.ModuleList(nn.LayerNorm(dim, eps=LAYER_NORM_EPS) for _ in map_channels)
        self.joint_feature = nn.Linear(dim, dim)
        self.embed = nn.Linear(dim, dim)
        self.token_position = nn.Parameter(torch.zeros(NUM_TOKENS, dim))
        self.pixel_position = nn.Parameter(torch.zeros(1, dim, map_size, map_size))
        self.dropout = nn.Dropout(dropout)
        self.points = PointFeatures(point_channels, dim) if point_channels else None
        self.feedback = KeypointFeedback(NUM_TOKENS, dim) if point_channels else None
        self.joint_embedding = joint_embedding
        num_scales = len(map_channels) + bool(point_channels)
        self.units = nn.ModuleList(
            TransformerUnit(dim, num_heads, dropout, num_scales, radius, make_graph() if make_graph else None)
            for _ in range(num_units)
        )
        self.head = nn.Linear(dim, dim)
        self.residual = nn.Linear(dim, dim)
        self.to_rot6d = nn.Linear(dim, 6)
        self.to_betas = nn.Linear(dim, NUM_BETAS)
        self.to_cam = nn.Linear(dim, 3)
        initialize_block(self)

    def forward(
        self, tokens: Tensor, features: Features, joints_2d: Tensor, masked: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """tokens (B, 26, C), features of the image, joints_2d (B, 24, 2) in [-1, 1] ->
        tokens (B, 26, C), joint rotations to apply (B, 24, 3, 3), changes of betas (B, 10) and camera (B, 3).

        masked (B, 24) bool: joints that read no maps; see models/masked_joints.py.
        """
        sizes = [feature.shape[-2:] for feature in features.maps]
        maps = [
            F.linear(pixels(feature), project.weight.flatten(1), project.bias)
            for feature, project in zip(features.maps, self.project, strict=True)
        ]
        # the norm returns float32 under autocast; pixels are many and stay in reduced precision
        maps = [norm(m).to(m.dtype) for m, norm in zip(maps, self.norm, strict=True)]
        at_joints = self.joint_feature(bilinear_weights(joints_2d, sizes[0], self.align_corners) @ maps[0])
        if masked is not None:
            at_joints = at_joints.masked_fill(masked[..., None], 0)
        tokens = tokens + torch.cat((at_joints, at_joints.mean(1, keepdim=True).expand(-1, 2, -1)), dim=1)

        window = Window(joints_2d, sizes[0][-1], self.radius, self.align_corners)
        window_features = window.gather(maps[0])
        scales = [m + self.positions(size).to(m.dtype) for m, size in zip(maps, sizes, strict=True)]
        if self.points is not None:
            scales.append(self.points(features.points, features.keypoints))
            tokens = tokens + self.feedback(features.keypoints, joints_2d)

        x = self.embed(tokens) + self.token_position
        if self.joint_embedding is not None:
            x = self.joint_embedding(x)
        x = self.dropout(x)
        for unit in self.units:
            x = unit(x, scales, window_features, window.offset, masked)
        tokens = self.head(x) + self.residual(tokens)
        rotation = rot6d_to_rotmat(self.to_rot6d(tokens[:, :NUM_JOINTS]).float())
        return tokens, rotation, self.to_betas(tokens[:, -2]).float(), self.to_cam(tokens[:, -1]).float()

    def positions(self, size: tuple[int, int]) -> Tensor:
        """Position encoding of a map of size (H, W), (1, H W, C)."""
        table = self.pixel_position
        return pixels(table if size == table.shape[-2:] else F.adaptive_avg_pool2d(table, size))


class PointFeatures(nn.Module):
    """Features at 2D keypoints, with the keypoints themselves, projected to the width of the transformer."""

    def __init__(self, channels: int, dim: int):
        super().__init__()
        self.project = nn.Linear(channels + 3, dim)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.position = nn.Parameter(torch.zeros(NUM_KEYPOINTS, dim))
        nn.init.normal_(self.position, std=0.02)

    def forward(self, points: Tensor, keypoints: Tensor) -> Tensor:
        """points (B, 17, P), keypoints (B, 17, 3): x, y, confidence -> (B, 17, C)."""
        return self.norm(self.project(torch.cat((points, keypoints), dim=-1))) + self.position


class KeypointFeedback(nn.Module):
    """Detected 2D keypoints and projected joints -> an addition to every token; zero before training.

    An estimate that is given its own error is corrected iteratively (Carreira et al., CVPR 2016; ReFit, Wang and
    Daniilidis, ICCV 2023). Here the error is the vector from each projected joint to its detected keypoint, at any
    distance, weighted by the confidence of the detection.
    """

    def __init__(self, num_tokens: int, dim: int, hidden_dim: int = 256):
        super().__init__()
        num_inputs = 3 * NUM_KEYPOINTS + 2 * NUM_JOINTS + 2 * len(SMPL_LIMBS)
        self.encode = nn.Sequential(nn.Linear(num_inputs, hidden_dim), nn.GELU())
        self.decode = nn.Linear(hidden_dim, num_tokens * dim)
        self.num_tokens = num_tokens
        self.register_buffer("coco_limbs", torch.tensor(COCO_LIMBS), persistent=False)
        self.register_buffer("smpl_limbs", torch.tensor(SMPL_LIMBS), persistent=False)
        nn.init.zeros_(self.decode.weight)
        nn.init.zeros_(self.decode.bias)

    def forward(self, keypoints: Tensor, joints_2d: Tensor) -> Tensor:
        """keypoints (B, 17, 3): x, y in [-1, 1], confidence; joints_2d (B, 24, 2) in [-1, 1] -> (B, N, C).

        No gradient flows into the projected joints: they are an observation, as in ReFit.
        """
        joints_2d = joints_2d.detach().clamp(-3, 3)  # a diverged estimate must not dominate the other inputs
        limbs = keypoints.index_select(1, self.coco_limbs)
        error = ERROR_GAIN * limbs[..., 2:] * (limbs[..., :2] - joints_2d.index_select(1, self.smpl_limbs))
        observed = torch.cat((keypoints.flatten(1), joints_2d.flatten(1), error.flatten(1)), dim=1)
        return self.decode(self.encode(observed)).unflatten(1, (self.num_tokens, -1))
