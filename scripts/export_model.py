"""Export a trained network to one file for other programs: ONNX, or an exported program of PyTorch.

    pip install -r requirements-export.txt
    python scripts/export_model.py --output smpl_pose.onnx                  # the default network
    python scripts/export_model.py --output smpl_pose.pt2 --checkpoint C    # torch.export.load(FILE).module()(image)

Input `image` (B, 3, 224, 224): RGB, ImageNet-normalised, any B (`batch` in ONNX). Outputs, in the camera frame
(x right, y down, z away):

    vertices (B, V, 3) and joints (B, 24, 3), metres     rotmat (B, 24, 3, 3), relative to the parent joint
    betas (B, 10), shape                                  camera (B, 3), s, tx, ty: crop xy = s (XY + (tx, ty))
    keypoints (B, 14, 3), metres

The outputs of the file are compared with those of the network; the file is written only if they agree. It contains the
body model: with a licensed body, the licence of the body applies to the file. This takes one or two minutes.
"""

import importlib.util
import logging
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.inference.prepare import prepare_for_inference
from models.mesh_recovery import MeshRecovery
from models.predictor import load_network
from utils.arguments import output_file, script_parser
from utils.crop import crop_image, normalize
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import atomic_path
from utils.media.images import load_image
from utils.paths import SAMPLES

PHOTO = SAMPLES / "im01.png"
OUTPUTS = {
    "vertices": "pred_vertices",
    "joints": "pred_joints",
    "rotmat": "pred_rotmat",
    "betas": "pred_betas",
    "camera": "pred_cam",
    "keypoints": "pred_keypoints_3d",
}
FORMATS = (".onnx", ".pt2")
BATCH = "batch"  # name of the free dimension of the input and the outputs
TOLERANCE = 1e-3  # in the units of the outputs


class NamedOutputs(nn.Module):
    """image (B, 3, 224, 224) -> the tensors of OUTPUTS, in their order."""

    def __init__(self, network: MeshRecovery):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.network(image, all_stages=False)
        return tuple(found[key] for key in OUTPUTS.values())


def export(model: MeshRecovery, path: Path) -> dict[str, float]:
    """Write the network to an .onnx or .pt2 file -> largest difference of each output from the network.

    UserError if a difference is above TOLERANCE; then no file is written.
    """
    # compile=True: batch norms are folded, but no operation is used that other programs lack
    network = NamedOutputs(prepare_for_inference(model, "cpu", compile=True).network).eval()
    images = example_images()
    with torch.no_grad():
        program = torch.export.export(
            network, (images[:2],), dynamic_shapes={"image": {0: torch.export.Dim(BATCH, min=1, max=4096)}}
        )
        with atomic_path(path) as temporary:
            run = write_onnx(program, temporary) if path.suffix.lower() == ".onnx" else write_pt2(program, temporary)
            differences = compare(run, NamedOutputs(model.eval()), images)
            wrong = {name: value for name, value in differences.items() if not value < TOLERANCE}  # or nan
            if wrong:
                listed = ", ".join(f"{name} by {value:.2g}" for name, value in wrong.items())
                raise UserError(
                    f"{path} is not written: its outputs differ from those of the network, {listed}; "
                    "install the exact versions: pip install -r requirements-export.txt"
                )
    return differences


def check_packages(path: Path):
    """UserError if a package for this kind of file is missing."""
    for name in ("onnx", "onnxruntime", "onnxscript") if path.suffix.lower() == ".onnx" else ():
        if importlib.util.find_spec(name) is None:
            raise UserError(f"ONNX needs the package {name}: pip install -r requirements-export.txt")


def write_onnx(program: torch.export.ExportedProgram, path: Path) -> Callable[[Tensor], list[np.ndarray]]:
    """Write an .onnx file -> a function that runs it by ONNX Runtime on the CPU: images -> outputs."""
    import onnxruntime

    names = {"input_names": ["image"], "output_names": [*OUTPUTS]}
    exported = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    exported.rename_axes({exported.model.graph.inputs[0].shape[0]: BATCH})  # PyTorch's own name is a number
    exported.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run([*OUTPUTS], {"image": images.numpy()})


def write_pt2(program: torch.export.ExportedProgram, path: Path) -> Callable[[Tensor], list[np.ndarray]]:
    """Write a .pt2 file -> a function that runs it by PyTorch: images -> outputs."""
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    return lambda images: [output.numpy() for output in loaded(images)]


def compare(run: Callable, network: nn.Module, images: Tensor) -> dict[str, float]:
    """Largest difference of each output, over a batch of one image and a batch of all images."""
    differences = dict.fromkeys(OUTPUTS, 0.0)
    for batch in (images[:1], images):
        for name, found, expected in zip(OUTPUTS, run(batch), network(batch), strict=True):
            differences[name] = float(np.maximum(differences[name], np.abs(found - expected.numpy()).max()))
    return differences


def example_images() -> Tensor:
    """Three crops of a photograph, (3, 3, 224, 224)."""
    photo = load_image(PHOTO)
    middle = np.array(photo.shape[1::-1]) / 2
    crops = (
        crop_image(photo, middle + shift, scale, antialias=True) for shift, scale in ((0, 2.5), (30, 2.0), (-40, 3.0))
    )
    return torch.stack([normalize(crop) for crop in crops])


def parse_args() -> Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--output", type=output_file(*FORMATS), required=True, metavar="FILE", help="file to write")
    parser.add_argument("--checkpoint", metavar="FILE", help="network to export (default: the network of the demo)")
    parser.add_argument("--smpl_path", metavar="FILE", help="body model of the checkpoint, if it is not the open body")
    parser.add_argument("--keypoint_regressor", metavar="FILE", help="J17 regressor of this body, .npy")
    args = parser.parse_args()
    if not args.output.parent.is_dir():
        raise UserError(f"--output: the folder {args.output.parent} does not exist; create it first")
    return args


@exit_on_user_error
def main():
    args = parse_args()
    check_packages(args.output)
    warnings.filterwarnings("ignore")  # of the exporters, about their internals
    logging.disable(logging.WARNING)
    model = load_network(args.checkpoint, args.smpl_path, args.keypoint_regressor)
    differences = export(model, args.output)
    listed = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    print(f"largest differences from the network: {listed}")
    megabytes = args.output.stat().st_size / 1e6
    print(f"wrote {printable(args.output)}: {megabytes:.0f} MB, contains the body {printable(model.body_model.name)}")
    if model.body_model.name != "open_body":
        print("the licence of this body applies to the file")


if __name__ == "__main__":
    main()
