"""Statistics of the synthetic people: diversity, and keypoint errors of a network trained on real photographs.

    python scripts/synthetic_statistics.py --num_samples 2000 --output outputs/synthetic

Prints histograms of poses, viewpoints and shapes, and the keypoint errors of MoveNet as a measure of realism. Writes

    contact_sheet.jpg          64 people with their keypoints: left green, right red, hidden black
    synthetic_statistics.png   all distributions in one figure
    worst.jpg, mirrored.jpg    people with the largest errors of MoveNet (crosses), or with left and right swapped
    statistics.json
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.poses import PoseSampler, joint_positions, nearest_distances
from datasets.poses.library import PoseLibrary, load_pose_library
from datasets.synthetic import SPLITS, SyntheticDataset
from datasets.synthetic.person.body import rotvec_to_rotmat
from models.movenet import MoveNet, load_movenet
from scripts.lib.keypoint_sheets import draw_keypoints, sheet, write_jpeg
from scripts.lib.synthetic_statistics.figure import write_figure
from scripts.lib.synthetic_statistics.realism import compare, estimate_limbs
from utils.arguments import add_assets_flag, default_path, input_file, number, output_folder, script_parser
from utils.errors import exit_on_user_error
from utils.files import make_folder, write_text
from utils.paths import MOVENET, OPEN_BODY

SHEET = 64  # people on a sheet
TRAINING_POSES = 5000  # compared with the test poses
FRONT, BACK = 60, 120  # limits of the angle between chest and viewer, degrees


@dataclass
class People:
    """N people: labels (N, 24, 3) in the crop frame, poses (N, 24, 3), betas (N, 10), and the limb keypoints of
    MoveNet, predicted (N, 12, 2) in the crop frame."""

    labels: np.ndarray
    poses: np.ndarray
    betas: np.ndarray
    predicted: np.ndarray


def draw_people(dataset: SyntheticDataset, movenet: MoveNet) -> People:
    """All people of a dataset, with the estimates of MoveNet."""
    labels, poses, betas, predicted = [], [], [], []
    for i in tqdm(range(len(dataset)), desc="people", disable=None):
        row = dataset[i]
        labels.append(row["keypoints_2d"].numpy())
        poses.append(row["pose"].reshape(24, 3).numpy())
        betas.append(row["betas"].numpy())
        predicted.append(estimate_limbs(movenet, row["image"][None])[0])
    return People(*map(np.array, (labels, poses, betas, predicted)))


def viewer_directions(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """poses (N, 24, 3) in the label frame -> direction of the viewer in the pelvis frame, degrees.

    Returns the azimuth to the person's left of straight ahead (N,), the elevation (N,), and the angle between chest and
    viewer (N,).
    """
    x, y, z = -rotvec_to_rotmat(poses[:, 0])[:, 2].T  # the z axis of the label frame points away from the viewer
    return np.degrees(np.arctan2(x, z)), np.degrees(np.arcsin(y)), np.degrees(np.arccos(np.clip(z, -1, 1)))


def nearest_poses(poses: np.ndarray, library: PoseLibrary) -> dict[str, np.ndarray]:
    """poses (N, 24, 3) -> distances (N,) in mm to the nearest other pose and to the nearest of TRAINING_POSES new
    training poses, by name. The rotation of the pelvis does not count."""
    upright = poses * (np.arange(24) > 0)[:, None]
    sampler = PoseSampler(split="train")
    training = np.array([sampler(np.random.default_rng((2, k))) for k in range(TRAINING_POSES)])
    training[:, 0] = 0
    first, second = upright[::2], upright[1::2]
    others = [nearest_distances(a, b, library.rest_joints) for a, b in ((first, second), (second, first))]
    return {
        f"to {len(second)} other poses": 1000 * np.concatenate(others),
        f"to {TRAINING_POSES} training poses": 1000 * nearest_distances(upright, training, library.rest_joints),
    }


def histogram(values: np.ndarray, edges: np.ndarray, unit: str) -> str:
    """Text with one line per bin."""
    counts, _ = np.histogram(values, edges)
    return "\n".join(
        f"  {low:7.2f} to {high:7.2f} {unit:5s} {s:6.1%} {'#' * int(60 * s)}"
        for low, high, s in zip(edges[:-1], edges[1:], counts / max(counts.sum(), 1), strict=True)
    )


def print_comparison(summaries: dict[str, dict]):
    """One line per viewpoint: PCK and the share of people with swapped sides."""
    for name, values in summaries.items():
        pck = "  ".join(
            f"{key.upper()} {values[key]:.3f} +- {values[key + '_pm']:.3f}" for key in ("pck@0.05", "pck@0.1")
        )
        swapped = f"{values['swapped']:.1%} +- {values['swapped_pm']:.1%} of {values['judged']}"
        print(f"  {name:6s}{values['people']:5d} people: {pck}  swapped {swapped}")
    print("  per joint PCK@0.1: " + " ".join(f"{k} {v:.2f}" for k, v in summaries["all"]["per_joint_pck@0.1"].items()))


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--num_samples", type=number(int, at_least=SHEET), default=500, help="people to draw (default: %(default)s)"
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="default: %(default)s")
    parser.add_argument("--seed", type=number(int, at_least=0), default=0, help="of the people (default: %(default)s)")
    parser.add_argument(
        "--output", type=output_folder, default=Path("outputs/synthetic"), metavar="DIR", help="default: %(default)s"
    )
    add_assets_flag(parser)
    parser.add_argument("--body", type=input_file, default=OPEN_BODY, metavar="FILE", help=default_path(OPEN_BODY))
    parser.add_argument("--movenet", type=input_file, default=MOVENET, metavar="FILE", help=default_path(MOVENET))
    args = parser.parse_args()
    make_folder(args.output)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    movenet = load_movenet(args.movenet)
    dataset = SyntheticDataset(
        args.body, args.split, args.seed, num_samples=args.num_samples, augment=False, assets=args.assets,
        with_image_uint8=True,
    )  # fmt: skip
    people = draw_people(dataset, movenet)

    azimuth, elevation, angle = viewer_directions(people.poses)
    comparison = compare(people.predicted, people.labels)
    views = {"front": angle < FRONT, "side": (angle >= FRONT) & (angle <= BACK), "back": angle > BACK}
    by_view = {name: comparison[chosen] for name, chosen in views.items() if comparison[chosen].judged.any()}
    summaries = {name: part.summary() for name, part in {"all": comparison, **by_view}.items()}
    print(f"errors of MoveNet on synthetic people ({args.split}); goal: PCK 0.75 / 0.88, swapped below 4 %")
    print_comparison(summaries)
    print("angle between chest and viewer\n" + histogram(angle, np.arange(0, 181, 30), "deg"))
    print("shape coefficients\n" + histogram(people.betas.ravel(), np.arange(-3, 3.1, 1), ""))
    body = dataset.generator.body
    stature = np.array([np.ptp(body.template[:, 1] + body.shapedirs[:, 1] @ betas) for betas in people.betas])
    print("stature\n" + histogram(stature, np.arange(1.3, 2.21, 0.1), "m"))
    visible = people.labels[..., 2]
    shares = {
        "visible": np.mean(visible == 1),
        "hidden": np.mean((visible > 0) & (visible < 1)),
        "outside": np.mean(visible == 0),
    }
    print("keypoints: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    library = load_pose_library()
    nearest = nearest_poses(people.poses, library)
    for name, distances in nearest.items():
        print(f"distance of poses {name}, mm\n" + histogram(distances, np.arange(0, 301, 50), "mm"))

    joints = joint_positions(people.poses * (np.arange(24) > 0)[:, None], library.rest_joints)[0]
    write_figure(
        args.output / "synthetic_statistics.png", f"{args.num_samples} synthetic people ({args.split})", nearest,
        joints - joints[:, :1], azimuth, elevation, stature, people.betas, by_view,
    )  # fmt: skip

    def tile(i, with_prediction=True):
        image = dataset[i]["image_uint8"].permute(1, 2, 0).numpy()
        return draw_keypoints(image, people.labels[i], people.predicted[i] if with_prediction else None)

    write_jpeg(args.output / "contact_sheet.jpg", sheet([tile(i, False) for i in range(SHEET)]))
    off = np.nan_to_num(np.minimum(comparison.error, 0.3)).sum(1) / np.maximum((~np.isnan(comparison.error)).sum(1), 1)
    write_jpeg(args.output / "worst.jpg", sheet([tile(i) for i in np.argsort(-off)[:SHEET]]))
    mirrored = np.flatnonzero(comparison.mirrored)
    if len(mirrored):
        mirrored = mirrored[np.argsort(-angle[mirrored])][:SHEET]  # back views first
        write_jpeg(args.output / "mirrored.jpg", sheet([tile(i) for i in mirrored]))
    quantiles = {
        name: {str(q): float(np.percentile(values, q)) for q in (5, 25, 50, 75, 95)}
        for name, values in {**{f"nearest pose {k}, mm": v for k, v in nearest.items()}, "stature, m": stature}.items()
    }
    results = {"movenet": summaries, "percentiles": quantiles, "keypoints": {k: float(v) for k, v in shares.items()}}
    write_text(args.output / "statistics.json", json.dumps(results, indent=2) + "\n")
    print(
        f"wrote contact_sheet.jpg, synthetic_statistics.png, worst.jpg, mirrored.jpg, statistics.json to {args.output}"
    )


if __name__ == "__main__":
    main()
