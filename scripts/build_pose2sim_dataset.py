"""Build an evaluation set of real images without registration: demo videos of Pose2Sim, seen by four cameras.

    python scripts/build_pose2sim_dataset.py --output datasets/DATA     # writes DATA/pose2sim/test.yaml and its files
    python main.py --eval_only --data_mode pose2sim --data_root datasets/DATA --load_checkpoint ...

The PyPI wheel `pose2sim` (BSD-3-Clause) contains 4 x 100 frames of a man who balances on a beam, with a Qualisys
calibration. MoveNet detects 17 keypoints in each view. The 12 limb keypoints are triangulated robustly and smoothed.
These labels are pseudo ground truth of one man in one scene. Their uncertainty is printed and written to
uncertainty.json; check.jpg shows the keypoints.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.human_mesh import HumanMeshDataset, format_label
from datasets.tsv import TSVWriter
from models.movenet import MoveNet, load_movenet
from scripts.lib.keypoint_sheets import draw_keypoints, sheet, write_jpeg
from scripts.lib.pose2sim.multiview import Camera, correct_aim, low_pass, read_qualisys, triangulate
from scripts.lib.pose2sim.uncertainty import measure
from utils.arguments import default_path, input_file, output_folder, script_parser
from utils.detect.person_finder import find_people
from utils.errors import UserError, exit_on_user_error
from utils.files import make_folder, write_text
from utils.paths import MOVENET
from utils.skeleton import COCO17, J24, J24_LIMBS

PACKAGE = "pose2sim==0.10.49"
DEMO = "Pose2Sim/Demo_SinglePerson"
CUTOFF = 6.0  # Hz: the motion is slow, detections are noisy
IMAGE_SCALE = 0.5  # of the stored frames; the man is still twice as high as a crop
CROP_MARGIN = 1.2

# J24 row -> COCO row
LIMBS = {j: COCO17.index(J24[j].replace("L_", "left_").replace("R_", "right_").lower()) for j in J24_LIMBS}


def fetch_wheel(folder: Path) -> Path:
    """Download the wheel by pip -> its path."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder, PACKAGE]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"cannot download {PACKAGE} by pip ({reason}); download it by other means and give it as --wheel"
        )
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> Path:
    """Extract videos and calibration from the wheel -> their folder."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.startswith((f"{DEMO}/videos/", f"{DEMO}/calibration/Calib"))]
            archive.extractall(folder, names)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{wheel} is not a readable wheel ({error}); download {PACKAGE} again") from error
    if not names:
        raise UserError(f"{wheel} does not contain {DEMO}; give the wheel of {PACKAGE}")
    return folder / DEMO


@dataclass
class View:
    """The video of one camera with T frames.

    keypoints (T, 17, 3): x, y in pixels of the video and confidence of the most prominent person; confidence 0 in
    frames without a person; frames: T JPEGs, scaled by IMAGE_SCALE; size: (height, width) of the video; rate: Hz.
    """

    keypoints: np.ndarray
    frames: list[bytes]
    size: tuple[int, int]
    rate: float


def detect(path: Path, network: MoveNet) -> View:
    """Detect the person in every frame of a video."""
    capture = cv2.VideoCapture(str(path))
    keypoints, frames, shape = [], [], None
    while (read := capture.read())[0]:
        shape = read[1].shape[:2]
        people = find_people(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), network)
        keypoints.append(people[0].keypoints if people else np.zeros((17, 3)))
        small = cv2.resize(read[1], None, fx=IMAGE_SCALE, fy=IMAGE_SCALE, interpolation=cv2.INTER_AREA)
        frames.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    if not frames:
        raise UserError(f"{path} has no readable frames; download {PACKAGE} again")
    keypoints = np.stack(keypoints)
    found = (keypoints[..., 2].max(-1) > 0).sum()
    print(f"{path.stem}: {len(frames)} frames, a person found in {found}", flush=True)
    return View(keypoints, frames, shape, capture.get(cv2.CAP_PROP_FPS))


def fit_to_video(camera: Camera, height: int, width: int) -> Camera:
    """The camera of a video that was scaled to `width` and padded with black above and below to `height`.

    Two of the four videos are 1080 pixels wide; the calibration is for 1088 pixels.
    """
    zoom = width / camera.size[0]
    pad = (height - zoom * camera.size[1]) / 2
    to_video = np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2 + pad], [0, 0, 1]])
    return Camera(
        camera.name,
        np.array((width, height)),
        to_video @ camera.matrix,
        camera.distortion,
        camera.rotation,
        camera.position,
    )


def labels(camera: Camera, points: np.ndarray) -> dict:
    """METRO label of one view of one frame, in pixels of the stored image; points (12, 3): world, metres."""
    keypoints_2d, keypoints_3d = np.zeros((24, 3)), np.zeros((24, 4))
    shoulders, hips = (
        points[[list(LIMBS).index(J24.index(f"{side}_{part}")) for side in "LR"]].mean(0)
        for part in ("Shoulder", "Hip")
    )
    crown = shoulders + 0.6 * (shoulders - hips)  # used only for the crop
    pixels = (camera.project(np.concatenate((points, crown[None]))) + 0.5) * IMAGE_SCALE - 0.5
    low, high = pixels.min(0), pixels.max(0)
    keypoints_2d[list(LIMBS), :2], keypoints_2d[list(LIMBS), 2] = pixels[:-1], 1
    # The middle of the hips replaces the pelvis, which is not detected.
    keypoints_3d[list(LIMBS), :3] = camera.to_camera(points) - camera.to_camera(hips)
    keypoints_3d[list(LIMBS), 3] = 1
    return format_label((low + high) / 2, CROP_MARGIN * (high - low).max() / 200, keypoints_2d, keypoints_3d)


def draw_check(yaml_file: Path, count: int) -> np.ndarray:
    """Sheet of five frames per camera, read from the set, with the projected keypoints: (H, W, 3) uint8 BGR.

    count: frames per camera.
    """
    dataset = HumanMeshDataset(yaml_file, with_image_uint8=True)
    frames = [start + t for start in range(0, len(dataset), count) for t in np.linspace(0, count - 1, 5).astype(int)]
    rows = [dataset[int(i)] for i in frames]
    tiles = [draw_keypoints(row["image_uint8"].permute(1, 2, 0).numpy(), row["keypoints_2d"].numpy()) for row in rows]
    return sheet(tiles, columns=5)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--output",
        type=output_folder,
        required=True,
        metavar="DIR",
        help="data root; the set is written to DIR/pose2sim",
    )
    parser.add_argument(
        "--wheel", type=input_file, metavar="FILE", help=f"wheel of {PACKAGE} (default: download it by pip)"
    )
    parser.add_argument("--movenet", type=input_file, default=MOVENET, metavar="FILE", help=default_path(MOVENET))
    args = parser.parse_args()
    make_folder(args.output)
    network = load_movenet(args.movenet)
    with tempfile.TemporaryDirectory() as scratch:
        demo = unpack(args.wheel or fetch_wheel(Path(scratch)), Path(scratch) / "unpacked")
        calibration = read_qualisys(demo / "calibration" / "Calib.qca.txt")
        views = [detect(demo / "videos" / f"{camera.name}.mp4", network) for camera in calibration]
    count = min(len(view.frames) for view in views)
    cameras = [fit_to_video(camera, *view.size) for camera, view in zip(calibration, views, strict=True)]
    detected = np.stack([view.keypoints[:count, list(LIMBS.values())] for view in views])
    pixels, confidence = detected[..., :2], detected[..., 2]
    calibrated, cameras = cameras, correct_aim(pixels, confidence, cameras)
    for before, camera in zip(calibrated, cameras, strict=True):
        x, y = camera.matrix[:2, 2] - before.matrix[:2, 2]
        print(f"{camera.name}: aim corrected by {x:.1f}, {y:.1f} px")
    rate = views[0].rate
    points = low_pass(triangulate(pixels, confidence, cameras)[0], rate, CUTOFF)
    uncertainty = measure(points, pixels, confidence, cameras, rate, CUTOFF)
    print("\n".join(uncertainty.lines()))

    folder = args.output / "pose2sim"
    with TSVWriter(folder / "test.yaml", note=uncertainty.label()) as writer:
        for camera, view in zip(cameras, views, strict=True):
            for t, jpeg in enumerate(view.frames[:count]):
                height, width = (round(IMAGE_SCALE * side) for side in view.size)
                # a key that names the sequence and the frame
                writer.add(f"{camera.name}/{t:03d}.jpg", jpeg, labels(camera, points[t]), height, width)
    write_text(folder / "uncertainty.json", json.dumps(uncertainty.numbers(), indent=2) + "\n")
    write_jpeg(folder / "check.jpg", draw_check(folder / "test.yaml", count))
    print(
        f"wrote {folder / 'test.yaml'}: {len(cameras) * count} samples of {len(LIMBS)} keypoints; check.jpg shows some"
    )


if __name__ == "__main__":
    main()
