"""A trained network, made ready to be asked many times."""

import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.features import Features
from models.inference.cuda_graph import RecordedCalls
from models.inference.flip_average import FlipTest
from models.inference.fused_conv import FusedConv
from models.inference.hrnet import FastHRNet
from models.inference.keypoint_fit import KeypointFit
from models.inference.transformer import FastBlock
from models.mesh_recovery import MeshRecovery
from models.movenet import Conv, MoveNet
from models.movenet_backbone import MoveNetBackbone
from utils.process import DTYPES

IMAGE_SIZE = 224


def prepare_for_inference(
    model: MeshRecovery, device: torch.device | str, precision: str = "fp32", compile: bool = False
) -> "InferenceNetwork":
    """A copy of the network that gives the last stage alone, as fast as this device can; the network stays as it is.

    precision: fp32, bf16 or fp16, of HRNet and the graph transformer; rotations, body model and MoveNet stay float32.
    compile: leave the choice of kernels to torch.compile, which takes a minute or more at the first call. The body
    model is shared with the network where it is on the device already.
    """
    device, dtype = torch.device(device), DTYPES[precision]
    shared = (*model.body_model.buffers(), model.keypoint_regressor)
    model = copy.deepcopy(model, {id(tensor): tensor for tensor in shared}).to(device).eval().requires_grad_(False)
    model.subsampled_body = None
    if isinstance(model.backbone, MoveNetBackbone):
        model.backbone.movenet = fast_movenet(model.backbone.movenet, device, compile)
    else:
        model.backbone = FastHRNet(model.backbone, _fuse(device, compile, dtype))
    with torch.inference_mode():
        features = model.features(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, device=device))
    sizes = [feature.shape[-2:] for feature in features.maps]
    model.blocks = nn.ModuleList(FastBlock(block, sizes, dtype) for block in model.blocks)
    return InferenceNetwork(model, compile)


def fast_movenet(movenet: MoveNet, device: torch.device | str, compile: bool = False) -> MoveNet:
    """A copy of MoveNet on the device, its convolutions fused with what follows them; in float32."""
    movenet = copy.deepcopy(movenet).to(device).eval()
    fuse = _fuse(torch.device(device), compile, torch.float32)
    for module in list(movenet.modules()):
        for name, conv in list(module.named_children()):
            if isinstance(conv, Conv):  # what it adds may be overwritten: a shortcut's start is nobody else's
                setattr(module, name, fuse(conv, conv.activation, outer=conv.outer))
    return movenet


def _fuse(device: torch.device, compile: bool, dtype: torch.dtype) -> Callable[..., FusedConv]:
    # oneDNN's kernels are for CPUs, those of bfloat16 for such as have AVX-512; a compiler makes its own choice
    packed = device.type == "cpu" and torch.backends.mkldnn.is_available() and not compile
    if packed and dtype == torch.bfloat16:
        packed = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return functools.partial(FusedConv, dtype=dtype, packed=packed)


class InferenceNetwork(nn.Module):
    """image (B, 3, 224, 224) as `MeshRecovery` takes it, on any device -> its last stage, without gradients."""

    def __init__(self, network: MeshRecovery, compile: bool = False):
        super().__init__()
        self.network, self.body_model, self.estimate = network, network.body_model, network.estimate
        self.device = network.keypoint_regressor.device
        self.run = functools.partial(network, all_stages=False)
        if compile:
            self.run = torch.compile(self.run)
        elif self.device.type == "cuda":
            self.run = RecordedCalls(self.run)

    @torch.inference_mode()
    def forward(self, image: Tensor | Features) -> dict:
        if isinstance(image, Features):
            return self.network(image, all_stages=False)
        return self.run(image.to(self.device).contiguous(memory_format=torch.channels_last))


def refine(network: nn.Module, fit_keypoints: bool, flip_test: bool) -> nn.Module:
    """The network with what makes its estimates better for more time: see `KeypointFit` and `FlipTest`."""
    network = KeypointFit(network) if fit_keypoints else network
    return FlipTest(network) if flip_test else network
