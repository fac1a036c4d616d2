"""Draw the matrices of a joint prior with the names of the joints.

    python scripts/draw_joint_prior.py --output outputs/joint_prior.png
    python scripts/draw_joint_prior.py --joint_prior shuffled --output outputs/joint_prior_shuffled.png

Joints are ordered by limb, so that a block is a limb. Blue: less than the average pair, red: more.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.joint_graph import tree_distances
from models.joint_prior import load_joint_prior, standardise_matrix
from utils.errors import UserError, exit_on_user_error
from utils.files import atomic_path
from utils.network_config import JOINT_PRIORS
from utils.skeleton import SMPL_JOINTS

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
ARM = ("collar", "shoulder", "elbow", "wrist", "hand")
LEG = ("hip", "knee", "ankle", "foot")
LIMBS = [TRUNK, *([f"{side}_{name}" for name in limb] for limb in (ARM, LEG) for side in "LR")]
LIMIT = 3.0  # standard deviations; beyond it colours saturate


def draw_matrix(axis, matrix: np.ndarray, title: str, limit: float):
    """matrix (24, 24) in the order of SMPL_JOINTS, drawn by limb with names and borders -> its image on the axis."""
    order = [SMPL_JOINTS.index(name) for limb in LIMBS for name in limb]
    names = [SMPL_JOINTS[i] for i in order]
    image = axis.imshow(matrix[np.ix_(order, order)], cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set_title(title)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    for border in np.cumsum([len(limb) for limb in LIMBS])[:-1] - 0.5:
        axis.axhline(border, color="black", linewidth=0.5)
        axis.axvline(border, color="black", linewidth=0.5)
    return image


def draw(matrices: dict[str, np.ndarray], title: str, path: Path):
    """matrices: title -> (24, 24), unit scale. Writes a PNG."""
    columns = 3
    rows = -(-len(matrices) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.4 * columns, 5.2 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat[len(matrices) :]:
        axis.axis("off")
    for axis, (name, matrix) in zip(axes.flat, matrices.items(), strict=False):
        image = draw_matrix(axis, matrix, name, LIMIT)
    figure.colorbar(image, ax=axes, shrink=0.6, label="standard deviations from the average pair")
    figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    plt.close(figure)


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joint_prior", choices=JOINT_PRIORS[:-1], default="llm")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffled prior")
    parser.add_argument("--file", type=Path, help="a joint prior other than the one in meta_data")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    if args.output.suffix != ".png":
        raise UserError(f"--output {args.output} is not a .png; give a name that ends in .png")
    prior = load_joint_prior(args.joint_prior, args.file, args.seed)
    matrices = {"text similarity": prior.text}
    matrices |= {
        name.replace("_", " "): matrix for name, matrix in zip(prior.relation_names, prior.relations, strict=True)
    }
    matrices["for comparison: nearness in the kinematic tree"] = standardise_matrix(
        -tree_distances().numpy().astype(float)
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    draw(matrices, f"joint prior: {args.joint_prior}", args.output)
    print(args.output)


if __name__ == "__main__":
    main()
