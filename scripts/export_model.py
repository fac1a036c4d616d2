"""A trained network as one file for other programs: ONNX, or PyTorch's own exported program.

    pip install -r requirements-export.txt
    python scripts/export_model.py --output smpl_pose.onnx                  # the network that comes along
    python scripts/export_model.py --output smpl_pose.pt2 --checkpoint C    # torch.export.load(FILE).module()(image)

Input `image` (B, 3, 224, 224): RGB, ImageNet-normalised, any B. Outputs, in the camera frame (x right, y down, z away):

    vertices (B, V, 3) and joints (B, 24, 3), metres     rotmat (B, 24, 3, 3), to the parent joint
    betas (B, 10), shape                                  camera (B, 3), s, tx, ty: crop xy = s (XY + (tx, ty))
    keypoints (B, 14, 3), metres

The file is compared with the network before it gets its name; one that disagrees is not left behind. It contains the
body model: with a licensed body it may only be passed on as that body may. Takes a minute or two.
"""

import argparse
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.inference.prepare import prepare_for_inference
from models.mesh_recovery import MeshRecovery
from models.predictor import load_network
from utils.crop import crop_image, normalize
from utils.errors import UserError, exit_on_user_error
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
TOLERANCE = 1e-3  # metres, entries of rotations, units of shape and camera


class NamedOutputs(nn.Module):
    """image (B, 3, 224, 224) -> the tensors of OUTPUTS, in their order."""

    def __init__(self, network: MeshRecovery):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.network(image, all_stages=False)
        return tuple(found[key] for key in OUTPUTS.values())


def export(model: MeshRecovery, path: Path) -> dict[str, float]:
    """Write the network to an .onnx or .pt2 file -> the largest difference of each output from the network's own."""
    # as for a compiler: folded, but in operations that every program knows
    network = NamedOutputs(prepare_for_inference(model, "cpu", compile=True).network).eval()
    images = example_images()
    with torch.no_grad():
        program = torch.export.export(
            network, (images[:2],), dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=4096)}}
        )
        with atomic_path(path) as temporary:
            run = write_onnx(program, temporary) if path.suffix == ".onnx" else write_pt2(program, temporary)
            differences = compare(run, NamedOutputs(model.eval()), images)
            wrong = {name: value for name, value in differences.items() if not value < TOLERANCE}  # or not a number
            if wrong:
                told = ", ".join(f"{name} by {value:.2g}" for name, value in wrong.items())
                raise UserError(
                    f"{path} is not written: its outputs differ from the network's, {told}; "
                    "install the packages of requirements-export.txt in the versions that it names"
                )
    return differences


def write_onnx(program: torch.export.ExportedProgram, path: Path):
    """-> how to run the file: images -> outputs, by ONNX Runtime on the CPU."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ImportError as error:
        raise UserError(f"ONNX needs {error.name}: pip install -r requirements-export.txt") from error
    names = {"input_names": ["image"], "output_names": [*OUTPUTS]}
    torch.onnx.export(program, dynamo=True, verbose=False, **names).save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run([*OUTPUTS], {"image": images.numpy()})


def write_pt2(program: torch.export.ExportedProgram, path: Path):
    """-> how to run the file: images -> outputs, by PyTorch."""
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    return lambda images: [output.numpy() for output in loaded(images)]


def compare(run, network: nn.Module, images: Tensor) -> dict[str, float]:
    """Largest difference of every output, over batches of one and of several."""
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


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="file to write, .onnx or .pt2")
    parser.add_argument("--checkpoint", help="network to export (default: the one of the demo)")
    parser.add_argument("--smpl_path", metavar="FILE", help="body that the checkpoint was trained with")
    parser.add_argument("--keypoint_regressor", metavar="FILE", help="that body's J17 regressor, .npy")
    args = parser.parse_args()
    if args.output.suffix not in FORMATS:
        raise UserError(f"--output {args.output}: the name must end in {' or '.join(FORMATS)}")
    if not args.output.parent.is_dir():
        raise UserError(f"--output: the folder {args.output.parent} does not exist; create it first")
    return args


@exit_on_user_error
def main():
    args = parse_args()
    warnings.filterwarnings("ignore")  # of the exporters, about their own insides
    logging.disable(logging.WARNING)
    model = load_network(args.checkpoint, args.smpl_path, args.keypoint_regressor)
    differences = export(model, args.output)
    print(
        ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items()), "at most from the network's"
    )
    print(
        f"wrote {args.output}, {args.output.stat().st_size / 1e6:.0f} MB, with the body {model.body_model.name} in it"
    )
    if model.body_model.name != "open_body":
        print("this body has a licence of its own: the file may only be passed on as the body itself may")


if __name__ == "__main__":
    main()
