"""Draw what a trained network's graph has learned, and what it makes of two pictures.

    python scripts/draw_joint_graph.py --checkpoint C.pt --output samples/results/joint_graph.png
    python scripts/draw_joint_graph.py --checkpoint C.pt --images standing.jpg bent.jpg --block 0 --output graph.png

First row: the matrices of the joint prior, in standard deviations. Second row: the terms that are the same for every
picture, and their sum. Third row: the adaptive term of each picture, as lines over the person it belongs to, and the
difference. A row of a matrix listens to its columns. The terms are as they enter the attention, gated and averaged over
its heads: +1 makes a joint listen 2.7 times as much. Blue: less, red: more. Joints are ordered by limb.
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.joint_graph import JointGraph
from models.joint_prior import load_joint_prior
from models.predictor import load_predictor
from scripts.draw_joint_prior import draw_matrix
from utils.checkpoint import load_checkpoint
from utils.errors import UserError, exit_on_user_error
from utils.files import atomic_path
from utils.media.images import load_image
from utils.paths import SAMPLES
from utils.skeleton import SMPL_PARENTS

STANDING, BENT = SAMPLES / "im03.png", SAMPLES / "im02.png"
NUM_EDGES = 16  # strongest ones over a picture
TERMS = {"tree": "by distance in the tree", "prior": "the prior, weighted", "learned": "free"}


def find_graph(model: torch.nn.Module, block: int, path: str) -> JointGraph:
    """The graph of a block's last unit. UserError where there is none."""
    if not 0 <= block < len(model.blocks):
        raise UserError(f"--block {block}: {path} has blocks 0 to {len(model.blocks) - 1}")
    graph = model.blocks[block].units[-1].graph
    if graph is None:
        raise UserError(f"{path} has no joint graph: take one trained with --graph adaptive or static")
    return graph


@torch.inference_mode()
def see(predictor, graph: JointGraph, path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A picture's person -> picture around it (H, W, 3) uint8, its joints (24, 2) there, terms by name (24, 24)."""
    seen = []
    handle = graph.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = load_image(path)
    person = predictor(image)[0]
    handle.remove()
    strength = torch.ones(graph.num_heads) if graph.bias_gate is None else graph.bias_strength().cpu()
    terms = {
        name: (strength[:, None, None] * term[-1].cpu()).mean(0).numpy()
        for name, term in graph.terms(graph.normalised(seen[-1])).items()
    }
    corners = person.crop.to_image(np.array(((-1, -1), (1, 1)))).clip(0, np.array(image.shape[1::-1])).astype(int)
    (left, top), (right, bottom) = corners
    return image[top:bottom, left:right], person.joints_2d - (left, top), terms


def prior_matrices(graph: JointGraph, kind: str) -> dict[str, np.ndarray]:
    """The prior that the graph was built with, by name."""
    if graph.relations is None:
        return {}
    names = ("text similarity", *load_joint_prior(kind).relation_names)
    matrices = graph.relations.cpu().numpy()
    return {name.replace("_", " "): matrix for name, matrix in zip(names, matrices, strict=True)}


def draw_person(axis, picture: np.ndarray, joints: np.ndarray, scores: np.ndarray | None):
    """The picture with the estimated skeleton and the strongest of the scores, both directions taken together."""
    axis.imshow(picture)
    for child, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            axis.plot(*joints[[child, parent]].T, color="white", linewidth=1, alpha=0.8)
    axis.scatter(*joints.T, s=9, color="white", zorder=3)
    if scores is not None:
        pairs = np.triu_indices(24, 1)
        strength = ((scores + scores.T) / 2)[pairs]
        largest = np.abs(strength).max() or 1
        for k in np.argsort(-np.abs(strength))[:NUM_EDGES]:
            color = "#d6301f" if strength[k] > 0 else "#2166ac"
            ends = joints[[pairs[0][k], pairs[1][k]]]
            axis.plot(*ends.T, color=color, linewidth=3.5 * abs(strength[k]) / largest, alpha=0.75, zorder=2)
    height, width = picture.shape[:2]
    axis.set(xlim=(0, width), ylim=(height, 0))  # an estimate may lie outside
    axis.axis("off")


def centred(scores: np.ndarray) -> np.ndarray:
    """(24, 24) minus the mean of each row: what is added to a whole row changes nothing in a softmax."""
    return scores - scores.mean(1, keepdims=True)


def draw(prior: dict[str, np.ndarray], people: list[tuple], path: Path, title: str):
    """prior: title -> matrix; people: what `see` says of two pictures. Writes a PNG."""
    figure = plt.figure(figsize=(26, 16), layout="constrained")
    rows = figure.subfigures(3, 1)
    for row, text in zip(
        rows, ("the prior, frozen", "learned, the same for every picture", "adaptive, from the picture"), strict=True
    ):
        row.suptitle(text, x=0.005, ha="left", fontsize=15, fontweight="bold")
    terms_a, terms_b = (terms for *_, terms in people)

    def matrices(row, named: dict[str, np.ndarray], axes, limit: float, label: str):
        for axis, (name, matrix) in zip(axes, named.items(), strict=False):
            image = draw_matrix(axis, matrix, name, limit)
        row.colorbar(image, ax=axes, shrink=0.8, label=label)

    if prior:
        matrices(rows[0], prior, rows[0].subplots(1, len(prior)), 3.0, "standard deviations")
    static = {TERMS[name]: centred(term) for name, term in terms_a.items() if name in TERMS}
    static["their sum"] = sum(static.values())
    matrices(rows[1], static, rows[1].subplots(1, len(static)), limit_of(static.values()), "added to the attention")
    axes = rows[2].subplots(1, 5, width_ratios=(0.8, 1, 0.8, 1, 1))
    adaptive = [centred(terms["adaptive"]) if "adaptive" in terms else None for terms in (terms_a, terms_b)]
    for axis, (picture, joints, _), scores in zip(axes[[0, 2]], people, adaptive, strict=True):
        draw_person(axis, picture, joints, scores)
    if adaptive[0] is None:
        for axis in axes[[1, 3, 4]]:
            axis.axis("off")
    else:
        named = {
            "first picture": adaptive[0],
            "second picture": adaptive[1],
            "second - first": adaptive[1] - adaptive[0],
        }
        matrices(rows[2], named, axes[[1, 3, 4]], limit_of(named.values()), "added to the attention")
    figure.suptitle(title, fontsize=17)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80)
    plt.close(figure)


def limit_of(matrices) -> float:
    """A symmetric end of the colours that a few large entries do not decide."""
    return float(np.percentile(np.abs(np.stack(list(matrices))), 99)) or 1.0


@exit_on_user_error
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="network with a graph")
    parser.add_argument(
        "--images", type=Path, nargs=2, default=[STANDING, BENT], help="default: samples of this project"
    )
    parser.add_argument("--block", type=int, help="which block's graph, first one 0 (default: the last)")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    if args.output.suffix != ".png":
        raise UserError(f"--output {args.output} is not a .png; give a name that ends in .png")
    predictor = load_predictor(args.checkpoint)
    num_blocks = len(predictor.model.blocks)
    block = num_blocks - 1 if args.block is None else args.block
    graph = find_graph(predictor.model, block, args.checkpoint)
    kind = load_checkpoint(args.checkpoint)["config"]["joint_prior"]
    people = [see(predictor, graph, path) for path in args.images]
    title = f"joint graph of block {block + 1} of {num_blocks}, prior: {kind}"
    args.output.parent.mkdir(parents=True, exist_ok=True)
    draw(prior_matrices(graph, kind), people, args.output, title)
    print(args.output)


if __name__ == "__main__":
    main()
