"""Draw the synthetic people with the largest errors of the network, beside the truth.

    python scripts/draw_failures.py --output outputs/failures.jpg                       # the default network
    python scripts/draw_failures.py --output outputs/failures.jpg --checkpoint FILE --num_samples 2000

Each row shows two people: the picture, the estimate over the picture, the estimate from the side, and the truth from
the side. Only people with all limbs inside the picture count. Takes 0.1 s per person on one core.
"""

import heapq
import sys
from pathlib import Path

import numpy as np
import roma
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import SyntheticDataset
from models.predictor import Predictor, load_predictor
from scripts.lib.keypoint_sheets import sheet, write_jpeg
from utils.arguments import add_assets_flag, number, output_file, script_parser
from utils.camera import Crop
from utils.crop import CROP_SIZE
from utils.errors import UserError, exit_on_user_error
from utils.files import make_folder
from utils.metrics import pa_mpjpe
from utils.paths import OPEN_BODY
from utils.person import Detection, Person
from utils.render.panels import draw_overlay, draw_side_view
from utils.skeleton import J24_LIMBS, J24_TO_J14

SIZE = 2 * CROP_SIZE  # pixels of a drawn picture; the input of the network is half as large
CROP = Crop((SIZE / 2, SIZE / 2), SIZE / 200)
COLUMNS = 8


def reconstruct(predictor: Predictor, image: np.ndarray) -> Person:
    """The estimate of the person who fills an image (SIZE, SIZE, 3) uint8 RGB."""
    whole = Detection((0, 0, SIZE, SIZE), CROP, None)
    return predictor.reconstruct([image], [[whole]])[0][0]


def find_worst(predictor: Predictor, dataset: SyntheticDataset, count: int) -> list[tuple[float, int]]:
    """-> PA-MPJPE in mm and index of the people with the largest errors, in descending order."""
    worst = []
    for index in tqdm(range(len(dataset)), desc="people", disable=None):
        row = dataset[index]
        if not (row["keypoints_2d"][J24_LIMBS, 2] > 0).all():
            continue
        person = reconstruct(predictor, picture_of(row))
        truth = row["keypoints_3d"][J24_TO_J14, :3]
        error = 1000 * pa_mpjpe(torch.from_numpy(person.keypoints_3d)[None], truth[None]).item()
        heapq.heappush(worst, (error, index))
        if len(worst) > count:
            heapq.heappop(worst)
    return sorted(worst, reverse=True)


def picture_of(row: dict) -> np.ndarray:
    """A row of the dataset -> its picture (H, W, 3) uint8 RGB."""
    return row["image_uint8"].numpy().transpose(1, 2, 0).copy()


def draw(predictor: Predictor, row: dict) -> list[np.ndarray]:
    """The four pictures of a person, (SIZE, SIZE, 3) uint8 RGB each."""
    image = picture_of(row)
    person = reconstruct(predictor, image)
    true_rotmat = roma.rotvec_to_rotmat(row["pose"].view(24, 3)).numpy()
    true_vertices, _ = predictor.pose_body(true_rotmat, row["betas"].numpy())
    overlay = draw_overlay(image, [person.vertices], predictor.faces, [person.camera])
    sides = (draw_side_view(vertices, predictor.faces, SIZE, SIZE) for vertices in (person.vertices, true_vertices))
    return [image, overlay, *sides]


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--output", type=output_file(".jpg", ".jpeg"), required=True, metavar="FILE", help="JPEG to write"
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="network on the open body (default: the network of the demo)"
    )
    parser.add_argument(
        "--num_samples",
        type=number(int, at_least=1),
        default=500,
        help="people of the test split (default: %(default)s)",
    )
    parser.add_argument(
        "--count", type=number(int, at_least=1), default=8, help="people to show (default: %(default)s)"
    )
    add_assets_flag(parser)
    args = parser.parse_args()
    make_folder(args.output.parent)
    predictor = load_predictor(args.checkpoint)
    dataset = SyntheticDataset(
        OPEN_BODY, "test", num_samples=args.num_samples, assets=args.assets, size=SIZE,
        with_image_uint8=True,
    )  # fmt: skip
    worst = find_worst(predictor, dataset, args.count)
    if not worst:
        raise UserError(f"none of {args.num_samples} people has all limbs in the picture: raise --num_samples")
    tiles = [picture[..., ::-1] for _, index in worst for picture in draw(predictor, dataset[index])]
    write_jpeg(args.output, sheet(tiles, COLUMNS))
    print("\n".join(f"person {index}: PA-MPJPE {error:.0f} mm" for error, index in worst))


if __name__ == "__main__":
    main()
