"""A trained network, prepared for fast inference."""

import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.backbones.movenet import MoveNetBackbone
from models.features import Features
from models.inference.cuda_graph import RecordedCalls
from models.inference.flip_average import FlipTest
from models.inference.fused_conv import FusedConv
from models.inference.hrnet import FastHRNet
from models.inference.keypoint_fit import KeypointFit
from models.inference.quarter_turns import QuarterTurns
from models.inference.tight_crop import TightCrop
from models.inference.transformer import FastBlock
from models.mesh_recovery import BodyNetwork, MeshRecovery
from models.movenet import Conv, MoveNet
from utils.crop import CROP_SIZE
from utils.process import DTYPES


def prepare_for_inference(
    model: MeshRecovery,
    device: torch.device | str,
    precision: str = "fp32",
    compile: bool = False,
    record: bool = True,
) -> "InferenceNetwork":
    """A fast copy of the network for one device; it computes the last estimate alone. The network does not change.

    precision: fp32, bf16 or fp16, of HRNet and the graph transformer; rotations, body model and MoveNet stay float32.
    compile: by torch.compile, whose first call takes a minute or more. record: on GPUs, record a CUDA graph for each
    small batch size. The copy shares the body model if that is on the
    device already.
    """
    device, dtype = torch.device(device), DTYPES[precision]
    shared = (*model.body_model.buffers(), model.keypoint_regressor)
    model = copy.deepcopy(model, {id(tensor): tensor for tensor in shared}).to(device).eval().requires_grad_(False)
    model.subsampled_body = None
    if isinstance(model.backbone, MoveNetBackbone):
        model.backbone.movenet = fast_movenet(model.backbone.movenet, device, compile)
        if model.backbone.upper is not None:
            _fuse_convolutions(model.backbone.upper, _fuse(device, compile, torch.float32))
    elif _is_hrnet(model.backbone):
        model.backbone = FastHRNet(model.backbone, _fuse(device, compile, dtype))
    elif dtype != torch.float32:
        model.backbone = LowPrecision(model.backbone, dtype)
    with torch.inference_mode():
        features = model.features(torch.zeros(1, 3, CROP_SIZE, CROP_SIZE, device=device))
    sizes = [feature.shape[-2:] for feature in features.maps]
    model.blocks = nn.ModuleList(FastBlock(block, sizes, dtype) for block in model.blocks)
    return InferenceNetwork(model, compile, record)


def _is_hrnet(backbone: nn.Module) -> bool:
    from timm.models.hrnet import HighResolutionNet  # takes a second, which MoveNet does not need

    return isinstance(backbone, HighResolutionNet)


def fast_movenet(movenet: MoveNet, device: torch.device | str, compile: bool = False) -> MoveNet:
    """A float32 copy of MoveNet on the device, with convolutions, additions and activations fused."""
    movenet = copy.deepcopy(movenet).to(device).eval()
    _fuse_convolutions(movenet, _fuse(torch.device(device), compile, torch.float32))
    return movenet


def _fuse_convolutions(network: nn.Module, fuse: Callable[..., FusedConv]):
    """Replace, in place, MoveNet's convolutions by fused ones."""
    for module in list(network.modules()):
        for name, conv in list(module.named_children()):
            if isinstance(conv, Conv):  # it may overwrite its second input: only the shortcut uses that tensor
                setattr(module, name, fuse(conv, conv.activation, outer=conv.outer))


def _fuse(device: torch.device, compile: bool, dtype: torch.dtype) -> Callable[..., FusedConv]:
    # oneDNN's kernels are for CPUs, in bfloat16 for CPUs with AVX-512; torch.compile chooses its own kernels
    packed = device.type == "cpu" and torch.backends.mkldnn.is_available() and not compile
    if packed and dtype == torch.bfloat16:
        packed = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return functools.partial(FusedConv, dtype=dtype, packed=packed)


class LowPrecision(nn.Module):
    """A backbone under autocast: image (B, 3, H, W) -> maps of type `dtype`."""

    def __init__(self, backbone: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.backbone, self.dtype = backbone, dtype

    def forward(self, image: Tensor) -> list[Tensor]:
        # without the cache of converted weights, which CUDA graphs cannot record
        with torch.autocast(image.device.type, self.dtype, cache_enabled=False):
            return [feature.to(self.dtype) for feature in self.backbone(image)]


class InferenceNetwork(nn.Module):
    """A prepared `MeshRecovery`: image (B, 3, 224, 224) on any device -> the last estimate, without gradients."""

    def __init__(self, network: MeshRecovery, compile: bool = False, record: bool = True):
        super().__init__()
        self.network, self.body_model, self.estimate = network, network.body_model, network.estimate
        self.device = network.keypoint_regressor.device
        self.run = functools.partial(network, all_stages=False)
        if compile:
            self.run = torch.compile(self.run)
        elif record and self.device.type == "cuda":
            self.run = RecordedCalls(self.run)

    @torch.inference_mode()
    def forward(self, image_or_features: Tensor | Features) -> dict:
        if isinstance(image_or_features, Features):
            return self.network(image_or_features, all_stages=False)
        return self.run(image_or_features.to(self.device).contiguous(memory_format=torch.channels_last))

    @property
    def detects_keypoints(self) -> bool:
        """Whether the backbone detects 2D keypoints."""
        return isinstance(self.network.backbone, MoveNetBackbone)


def refine(
    network: InferenceNetwork,
    fit_keypoints: bool,
    flip_test: bool,
    quarter_turns: bool = False,
    tight_crop: bool = False,
) -> BodyNetwork:
    """The network with keypoint fit, flip test, quarter turns and tight crop, if chosen: better estimates."""
    refined = TightCrop(network) if tight_crop else network
    refined = KeypointFit(refined) if fit_keypoints else refined
    refined = FlipTest(refined) if flip_test else refined
    return QuarterTurns(refined) if quarter_turns else refined
