"""Convert an SMPLer checkpoint to a checkpoint of SMPL-Pose. The network is the same, with `--graph none`.

    python scripts/convert_smpler_checkpoint.py --input SMPLer_h36m.pt --output pretrained/SMPL-Pose_h36m.pt

The tensors of the body model are left out, because they belong to the licensed SMPL files. The mean parameters are
kept if the checkpoint has them.
"""

import re
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.arguments import check_not_input, input_file, output_file, script_parser
from utils.checkpoint import read_checkpoint, unwrap_names, write_checkpoint
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder

DROPPED = re.compile(r"smpl_handler\.")
MEAN_PARAMS = {"init_pose": "init_pose6d", "init_shape": "init_betas", "init_cam": "init_cam"}

# names of SMPLer -> names of SMPL-Pose, applied from top to bottom
RENAMES = [
    (r"^SMPL_predictor\.", "regressor."),
    (r"^init_query_layer_theta\.", "initial_tokens.rotmat."),
    (r"^init_query_layer_beta\.", "initial_tokens.betas."),
    (r"^init_query_layer_cam\.", "initial_tokens.cam."),
    (r"^global_feat_projection\.", "initial_tokens.feature."),
    (r"^transformer\.(\d+)\.", r"blocks.\1."),
    (r"\.trans_block\.", "."),
    (r"\.raw_feat_projection_layer\.(\d+)\.0\.", r".project.\1."),
    (r"\.raw_feat_projection_layer\.(\d+)\.1\.", r".norm.\1."),
    (r"\.joint_feat_projection_layer\.0\.", ".joint_feature."),
    (r"\.early_embedding\.", ".embed."),
    (r"\.position_embeddings\.weight$", ".token_position"),
    (r"\.feat_position_embedding$", ".pixel_position"),
    (r"\.theta_predictor\.", ".to_rot6d."),
    (r"\.beta_predictor\.", ".to_betas."),
    (r"\.cam_predictor\.", ".to_cam."),
    (r"\.trans_units\.(\d+)\.", r".units.\1."),
    (r"\.global_unit\.trans_layer_list\.(\d+)\.transformer_layer\.", r".multi_scale.layers.\1."),
    (r"\.local_unit\.trans_layer_list\.0\.transformer_layer\.", ".window.layer."),
    (r"\.local_unit\.relative_position_encoding_table\.0$", ".window.bias_table"),
    (r"\.self_trans_layer\.self_trans_layer\.", ".exchange."),
    (r"\.LayerNorm_attn\.", ".norm."),
    (r"\.attention\.query\.", ".to_q."),
    (r"\.attention\.key\.", ".to_k."),
    (r"\.attention\.value\.", ".to_v."),
    (r"\.linear_attn\.", ".out."),
]


def convert_key(key: str) -> str:
    """Parameter name of SMPLer -> name of SMPL-Pose."""
    head, _, tail = key.rpartition(".")
    if head == "SMPL_predictor" and tail in MEAN_PARAMS:
        return f"regressor.{MEAN_PARAMS[tail]}"
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def convert_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tensors of an SMPLer checkpoint, renamed, without those of the body model."""
    state = unwrap_names(state)
    return {convert_key(key): value for key, value in state.items() if not DROPPED.match(key)}


def describe(state: dict[str, torch.Tensor], num_vertices: int, source: str | Path = "the input") -> dict:
    """Configuration of the network of a converted state. UserError if it is not an SMPLer network."""
    widths = {18: "w18", 32: "w32", 48: "w48"}
    stem = state.get("backbone.stage2.0.branches.0.0.bn1.bias")
    if stem is None or stem.numel() not in widths or "regressor.fc1.weight" not in state:
        raise UserError(f"{source} is no SMPLer checkpoint: it has no HRNet backbone with an SMPL regressor")
    blocks = {key.split(".")[1] for key in state if key.startswith("blocks.")}
    return {
        "model_type": "SMPL-Pose" if blocks else "backbone",
        "backbone": "hrnet",
        "hrnet_type": widths[stem.numel()],
        "num_transformers": len(blocks),
        "graph": "none",
        "joint_prior": "none",
        "body": "smpl",
        "num_vertices": num_vertices,
    }


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("--input", type=input_file, required=True, metavar="FILE", help="SMPLer checkpoint (.pt)")
    parser.add_argument(
        "--output",
        type=output_file(".pt", ".pth", ".safetensors"),
        required=True,
        metavar="FILE",
        help="checkpoint to write",
    )
    args = parser.parse_args()
    check_not_input(args.output, args.input)
    checkpoint = read_checkpoint(args.input)
    state = convert_state(checkpoint.get("model", checkpoint))
    config = describe(state, num_vertices=6890, source=args.input)
    make_folder(args.output.parent)
    write_checkpoint(args.output, {"model": state, "config": config})
    network = f"{config['model_type']} with HRNet-{config['hrnet_type']}"
    print(f"wrote {printable(args.output)}: {len(state)} tensors, {network}")


if __name__ == "__main__":
    main()
