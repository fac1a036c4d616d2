"""Draw the samples of an evaluation with the largest errors, beside their labels.

    python main.py --eval_only --data_mode=3dpw ... --save_predictions=errors.npz
    python scripts/draw_worst.py errors.npz --data_mode=3dpw --output worst.jpg

Give the same data set and body as in the evaluation. One row for each sample: the crop, the estimate over it, the label
over it, and both from the side. The label is the mesh of the labelled pose and shape under the camera that fits the 2D
keypoints best. A sample without pose, or whose 2D keypoints fit no camera, has the labelled keypoints in green and
those of the estimate in red.
"""

import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.build import build_dataset
from datasets.label_checks import fit_camera
from models.body_model import load_body_model
from models.build import find_body, find_keypoint_regressor, load_keypoint_regressor
from models.criterion import Criterion
from models.gendered import load_gendered_bodies
from utils.arguments import input_file, number, output_file, script_parser
from utils.errors import UserError, exit_on_user_error, printable
from utils.evaluation.details import METRICS
from utils.evaluation.predictions import Predictions, load_predictions
from utils.files import make_folder
from utils.geometry import project, rotvec_to_rotmat
from utils.media.images import save_image
from utils.options import get_args_parser
from utils.render.panels import draw_side_view, keypoint_picture, mesh_picture, to_uint8
from utils.skeleton import J14_HIPS, J17_TO_J14, SMPL_HIPS

SIZE = 336  # pixels of a panel
BAR, GAP = 26, 4  # heights of the line above a row and of the space around panels
PANELS = ("crop", "estimate", "label", "estimate, from the side", "label, from the side")
LEAST_SCALE = 0.02  # crops per metre; a body of a labelled person is not so small
SAME = 1e-3  # metres by which joints of the same body may differ
METRIC_NAMES = {name: label for label, name in METRICS.items()}


def find_worst(predictions: Predictions, metric: str, count: int) -> np.ndarray:
    """Positions of the `count` samples with the largest error, in descending order. UserError if none has the error."""
    errors = getattr(predictions, metric)
    order = np.argsort(-errors, kind="stable")  # nan comes last
    worst = order[~np.isnan(errors[order])][:count]
    if not len(worst):
        raise UserError(f"no sample of the predictions has a {METRIC_NAMES[metric]}: choose another --metric")
    return worst


class Painter:
    """Draws samples of a data set with their estimates. criterion: in evaluation mode, see `Criterion.targets`."""

    def __init__(self, criterion: Criterion, keypoint_regressor: torch.Tensor):
        self.criterion, self.body = criterion.eval(), criterion.body_model
        self.regressor = keypoint_regressor[list(J17_TO_J14)]

    @torch.inference_mode()
    def row(self, sample: dict, found: Predictions) -> np.ndarray:
        """The panels of a sample and its estimate, one row of predictions -> (SIZE, 5 SIZE + gaps, 3) uint8 RGB."""
        pose, betas, camera = (torch.from_numpy(x).float() for x in (found.pose, found.betas, found.camera))
        vertices, joints = self.body(rotvec_to_rotmat(pose.view(1, 24, 3)), betas)
        keypoints = self.regressor @ vertices
        self._check_body(joints if found.joints.shape[1] == 24 else keypoints, found)
        batch = default_collate([{name: value for name, value in sample.items() if name != "bad_rows"}])
        targets = self.criterion.targets(batch)
        if self.criterion.gendered is not None and "gender" in batch:
            targets |= self.criterion.gendered.labels(batch, targets, self.criterion.minus_pelvis)
        image = torch.nn.functional.interpolate(batch["image"], (SIZE, SIZE), mode="bicubic", antialias=True)
        empty = np.full((SIZE, SIZE, 3), 255, np.uint8)
        panels = [to_uint8(image)[0], mesh_picture(image, vertices, self.body.faces, camera)]
        label = targets["vertices"]
        label_camera = self._fit(label, targets["keypoints_2d"]) if batch["has_smpl"][0] else None
        if label_camera is not None:
            panels.append(mesh_picture(image, label, self.body.faces, label_camera))
        else:
            panels.append(keypoint_picture(image, project(keypoints, camera), targets["keypoints_2d"]))
        for body in (vertices, label if batch["has_smpl"][0] else None):
            panels.append(empty if body is None else draw_side_view(body[0].numpy(), self.body.faces, SIZE, SIZE))
        space = np.full((SIZE, GAP, 3), 255, np.uint8)
        return np.hstack([part for panel in panels for part in (panel, space)][:-1])

    def _fit(self, vertices: torch.Tensor, keypoints_2d: torch.Tensor) -> torch.Tensor | None:
        """The camera (1, 3) that projects the J14 of a mesh onto labelled 2D keypoints best; None if none does."""
        weight = (keypoints_2d[..., 2] > 0).double().numpy()
        if weight.sum() < 3:
            return None
        points = (self.regressor @ vertices).double().numpy()
        camera = torch.from_numpy(fit_camera(points, keypoints_2d[..., :2].double().numpy(), weight)).float()
        return camera if camera[0, 0] > LEAST_SCALE else None

    def _check_body(self, joints: torch.Tensor, found: Predictions):
        """UserError if this body, posed as the estimate, has other joints than the predictions."""
        hips = list(SMPL_HIPS if joints.shape[1] == 24 else J14_HIPS)
        joints = joints[0].double().numpy()
        distance = np.abs(joints - joints[hips].mean(0) - found.joints[0]).max()
        if not distance < SAME:
            raise UserError(
                f"joints of the body {self.body.name} are {1000 * distance:.0f} mm from those of the predictions: "
                "give the body of the evaluation by --smpl_path and --keypoint_regressor"
            )


def read_sample(dataset: Dataset, index: int, key: str) -> dict:
    """A row of a data set. UserError if the predictions are of another set."""
    remedy = "give the data set of the evaluation by --data_mode, --data_root or --val_yaml"
    if index >= len(dataset):
        raise UserError(f"the predictions have row {index}, the data set has {len(dataset)} rows: {remedy}")
    sample = dataset[index]
    if sample["image_id"] != key:
        raise UserError(f"row {index} is {key} in the predictions, {sample['image_id']} in the data set: {remedy}")
    return sample


def text_bar(text: str, width: int) -> np.ndarray:
    """A line of text on white, (BAR, width, 3) uint8; other letters than ASCII become question marks."""
    bar = np.full((BAR, width, 3), 255, np.uint8)
    text = printable(text).encode("ascii", "replace").decode()
    cv2.putText(bar, text, (GAP, BAR - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return bar


def describe(found: Predictions, position: int) -> str:
    """Key, row and errors of a sample in mm."""
    values = {label: 1000 * getattr(found, name)[position] for label, name in METRICS.items()}
    errors = [f"{label} {value:.1f}" for label, value in values.items() if not np.isnan(value)]
    return f"{found.key[position]} (row {found.index[position]}): {', '.join(errors)} mm"


def evaluation_set(args: Namespace) -> Dataset:
    """The rows that `main.py --eval_only` evaluates with the same flags."""
    options = get_args_parser().parse_args(["--eval_only"])
    for name in ("data_mode", "data_root", "val_yaml", "allow_outside_paths"):
        setattr(options, name, getattr(args, name))
    return build_dataset(options, "val")


def load_painter(args: Namespace) -> Painter:
    path = find_body(args.smpl_path, args.data_mode)
    body = load_body_model(path)
    regressor = find_keypoint_regressor(args.keypoint_regressor, args.data_mode, body)
    regressor = load_keypoint_regressor(regressor, body)
    criterion = Criterion(body, regressor)
    if args.data_mode == "3dpw":
        criterion.gendered = load_gendered_bodies(path, body, regressor)
    return Painter(criterion, regressor)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("predictions", type=input_file, metavar="FILE.npz", help="file of main.py --save_predictions")
    parser.add_argument(
        "--output", type=output_file(".jpg", ".png"), required=True, metavar="FILE", help="picture to write"
    )
    parser.add_argument("--count", type=number(int, at_least=1), default=8, help="samples (default: %(default)s)")
    parser.add_argument(
        "--metric", choices=tuple(METRIC_NAMES), default="mpjpe", help="error that orders them (default: %(default)s)"
    )
    flags = {action.dest: action for action in get_args_parser()._actions}
    for name in ("data_mode", "data_root", "val_yaml", "smpl_path", "keypoint_regressor"):
        flag = flags[name]
        options = {"choices": flag.choices, "default": flag.default, "nargs": flag.nargs, "type": flag.type}
        text = "as in the evaluation" + (" (default: %(default)s)" if flag.default else "")
        parser.add_argument(f"--{name}", **options, metavar=flag.metavar, help=text)
    parser.add_argument("--allow_outside_paths", action="store_true", help="as in the evaluation")
    args = parser.parse_args()
    found = load_predictions(args.predictions)
    worst = find_worst(found, args.metric, args.count)
    dataset, painter = evaluation_set(args), load_painter(args)
    make_folder(args.output.parent)
    rows, lines = [], []
    for position in worst:
        sample = read_sample(dataset, int(found.index[position]), str(found.key[position]))
        panels = painter.row(sample, found.select(np.array([position])))
        lines.append(describe(found, position))
        rows += [text_bar(lines[-1], panels.shape[1]), panels]
    heading = np.hstack([text_bar(name, SIZE + GAP) for name in PANELS])[:, : rows[0].shape[1]]
    save_image(args.output, np.vstack([heading, *rows]))
    print("\n".join(map(printable, lines)))
    print(f"wrote {printable(args.output)}")


if __name__ == "__main__":
    main()
