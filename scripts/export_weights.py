"""Turn a training checkpoint into a small file to share: weights alone, in half precision or less, as safetensors.

    python scripts/export_weights.py --input logs/small/checkpoints/epoch_012.pt --output pretrained/NAME.safetensors

A MoveNet backbone that training left as it was is left out: pretrained/movenet_thunder.safetensors has it already.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.movenet import load_movenet
from utils.checkpoint import find_checkpoint, load_checkpoint, to_eight_bits, write_checkpoint
from utils.errors import UserError, exit_on_user_error
from utils.paths import MOVENET


def leave_out_known_backbone(state: dict, config: dict) -> tuple[dict, dict]:
    """Drop the backbone's tensors where they are those of the MoveNet file, and say so in the config."""
    if config["backbone"] != "movenet":
        return state, config
    known = {f"backbone.movenet.{key}": value for key, value in load_movenet(MOVENET).state_dict().items()}
    if any(key not in state or not torch.equal(state[key], value) for key, value in known.items()):
        return state, config
    return {key: value for key, value in state.items() if key not in known}, {**config, "left_out": "backbone"}


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="checkpoint of main.py; with * the last match by name")
    parser.add_argument("--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument(
        "--eight_bits", action="store_true", help="matrices as 8-bit numbers, one scale a row: half the size"
    )
    args = parser.parse_args()
    if args.output.suffix != ".safetensors":
        raise UserError(f"--output {args.output}: the name must end in .safetensors")
    checkpoint = load_checkpoint(find_checkpoint(args.input))
    state, config = leave_out_known_backbone(checkpoint.get("ema", checkpoint["model"]), checkpoint["config"])
    packed = to_eight_bits(state) if args.eight_bits else state
    # scales stay float32: they are few, and their errors would add to those of the 8-bit numbers
    state = {key: v.half() if v.is_floating_point() and key in state else v for key, v in packed.items()}
    write_checkpoint(args.output, {"model": state, "config": config})
    print(f"{args.output}: {len(state)} tensors, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
