"""Convolutions of a trained network, fused with their batch norm, a sum and an activation."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ACTIVATIONS = {"none": lambda x: x, "relu": F.relu_, "relu6": F.relu6}
ONEDNN_NAMES = {"none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0])}


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold, in place, every batch norm into the convolution registered right before it -> the model, in eval mode.

    The function is the same up to rounding, with the present running statistics. A batch norm that follows no
    convolution stays.
    """
    model.eval()
    for module in list(model.modules()):
        children = list(module.named_children())
        for (name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return model


class FusedConv(nn.Module):
    """activation(conv(x) + add), with weights in `dtype`; with `add` the activation is none or relu.

    packed: by the fused oneDNN kernels for CPUs, with weights reordered once for each size of pictures. torch.compile
    chooses the same kernels, but compiles for a minute. Not packed: plain operations. outer: padding at left, right,
    top and bottom, in addition to that of `conv`.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        activation: str = "none",
        dtype: torch.dtype = torch.float32,
        packed: bool = False,
        outer: tuple[int, int, int, int] | None = None,
    ):
        super().__init__()
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.activation, self.packed, self.outer, self.dtype = activation, packed, outer, dtype
        weight = conv.weight.detach().to(dtype, memory_format=torch.channels_last)
        bias = torch.zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        self.register_buffer("bias", bias.to(weight.device, dtype))
        if packed:
            self.weight = weight  # no buffer: oneDNN's own layout, from the first call on, cannot be copied or saved
            self.packed_for = None  # height and width
        else:
            self.register_buffer("weight", weight)

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) and add (B, D, H', W'), which may be overwritten, channels_last -> (B, D, H', W')."""
        x = x.to(self.dtype)
        if self.outer is not None:
            x = F.pad(x, self.outer)
        if not self.packed:
            padding, stride, dilation, groups = self.geometry
            y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
            return ACTIVATIONS[self.activation](y if add is None else y.add_(add))
        if self.packed_for != x.shape[2:]:
            self._pack(x.shape)
        name, scalars = ONEDNN_NAMES[self.activation]
        ops, operands = torch.ops.mkldnn, (x, self.weight, self.bias, *self.geometry)
        if add is None:
            return ops._convolution_pointwise(*operands, name, scalars, "")
        name = None if name == "none" else name
        return ops._convolution_pointwise_.binary(add, *operands, "add", 1.0, name, scalars, "")

    def _pack(self, shape: torch.Size):
        """Bring the weights into the layout that oneDNN prefers for an input of this shape.

        In the layout of another size, they would be reordered at every call, which can take 30 times as long as a
        1 x 1 convolution.
        """
        weight = self.weight  # which another thread may replace meanwhile
        plain = weight.to_dense() if weight.is_mkldnn else weight
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(plain, *self.geometry, list(shape))
        self.packed_for = shape[2:]
