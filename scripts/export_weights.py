"""Export the weights of a training checkpoint to a small safetensors file, in half precision or in 8 bits.

    python scripts/export_weights.py --input logs/small/checkpoints/epoch_012.pt --output pretrained/NAME.safetensors

A MoveNet backbone that training has not changed is left out, because pretrained/movenet_thunder.safetensors has it.
--start averages the weights with those that fine-tuning started from, which generalises better to other data (WiSE-FT,
Wortsman et al., CVPR 2022).
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.build import build_network
from models.movenet import load_movenet
from utils.arguments import check_not_input, number, output_file, script_parser
from utils.checkpoint import (
    find_checkpoint,
    load_checkpoint,
    load_model_weights,
    not_finite,
    to_eight_bits,
    write_checkpoint,
)
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder
from utils.network_config import complete_config
from utils.paths import MOVENET, OPEN_BODY


def leave_out_known_backbone(state: dict, config: dict) -> tuple[dict, dict]:
    """Drop the tensors of the backbone if they equal those of the MoveNet file; `left_out` in the config records it."""
    if complete_config(config, "checkpoint").backbone != "movenet":
        return state, config
    known = {f"backbone.movenet.{key}": value for key, value in load_movenet(MOVENET).state_dict().items()}
    if any(key not in state or not torch.equal(state[key], value) for key, value in known.items()):
        return state, config
    return {key: value for key, value in state.items() if key not in known}, {**config, "left_out": "backbone"}


def average_with_start(state: dict, config: dict, start: str, share: float) -> dict:
    """Weights between those of the checkpoint `start` (share 0) and `state` (share 1)."""
    config = complete_config(config, "checkpoint")
    body = OPEN_BODY if config.body == OPEN_BODY.stem else None
    network = build_network(config, smpl_path=body, mean_params="none", backbone_weights="none")
    load_model_weights(network, find_checkpoint(start), config)
    first = network.state_dict()
    return {
        key: torch.lerp(first[key], value.float(), share) if value.is_floating_point() else value
        for key, value in state.items()
    }


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="checkpoint of main.py; with * the last match by name"
    )
    parser.add_argument(
        "--output", type=output_file(".safetensors"), required=True, metavar="FILE", help="file to write"
    )
    parser.add_argument(
        "--eight_bits",
        action="store_true",
        help="store matrices as 8-bit numbers with one scale per row: half the size",
    )
    parser.add_argument("--start", metavar="FILE", help="checkpoint that training started from, to average with")
    parser.add_argument(
        "--share",
        type=number(float, at_least=0),
        default=0.7,
        help="weight of --input in the average with --start, 0 to 1 (default: %(default)s)",
    )
    args = parser.parse_args()
    if args.share > 1:
        raise UserError(f"--share {args.share:g} is above 1: give a share from 0 to 1")
    source = find_checkpoint(args.input)
    check_not_input(args.output, source, args.start and find_checkpoint(args.start))
    checkpoint = load_checkpoint(source)
    state = checkpoint.get("ema", checkpoint["model"])
    if damaged := not_finite(state):
        raise UserError(f"{source}: values of {damaged[0]} are not finite; use another checkpoint")
    make_folder(args.output.parent)
    if args.start:
        state = average_with_start(state, checkpoint["config"], args.start, args.share)
    state, config = leave_out_known_backbone(state, checkpoint["config"])
    packed = to_eight_bits(state) if args.eight_bits else state
    # Scales stay float32: there are few, and their errors would add to those of the 8-bit numbers.
    state = {key: v.half() if v.is_floating_point() and key in state else v for key, v in packed.items()}
    write_checkpoint(args.output, {"model": state, "config": config})
    print(f"wrote {printable(args.output)}: {len(state)} tensors, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
