"""Measure mean and standard deviation of every channel of MoveNet's features, by which the backbone normalises them.

python scripts/measure_movenet_features.py
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import SyntheticDataset
from models.backbones.movenet import PARTS
from models.movenet import MoveNet, load_movenet
from utils.arguments import default_path, number, output_file, script_parser
from utils.errors import exit_on_user_error, printable
from utils.files import atomic_path, make_folder
from utils.paths import MOVENET, MOVENET_STATISTICS, OPEN_BODY


@torch.inference_mode()
def measure(movenet: MoveNet, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """images (N, 3, H, W), ImageNet-normalised -> mean and standard deviation (2, C) of each part of MoveNet."""
    maps = movenet.parts(images)
    return {name: torch.stack((maps[name].mean((0, 2, 3)), maps[name].std((0, 2, 3)))) for name in PARTS}


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--output",
        type=output_file(".safetensors"),
        default=MOVENET_STATISTICS,
        metavar="FILE",
        help=default_path(MOVENET_STATISTICS),
    )
    parser.add_argument(
        "--num_samples", type=number(int, at_least=1), default=128, help="synthetic people (default: %(default)s)"
    )
    args = parser.parse_args()
    make_folder(args.output.parent)
    people = SyntheticDataset(OPEN_BODY, "train", seed=1, num_samples=args.num_samples)
    statistics = measure(load_movenet(MOVENET), torch.stack([row["image"] for row in people]))
    with atomic_path(args.output) as temporary:
        save_file({name: value.contiguous() for name, value in statistics.items()}, temporary)
    print(f"wrote {printable(args.output)}: {sum(value.shape[1] for value in statistics.values())} channels")


if __name__ == "__main__":
    main()
