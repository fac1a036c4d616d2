"""Draw the joint graph of a trained network, or the joint prior alone.

    python scripts/draw_joint_graph.py --checkpoint C.pt --output samples/results/joint_graph.png
    python scripts/draw_joint_graph.py --checkpoint C.pt --images standing.jpg bent.jpg --block 0 --output graph.png
    python scripts/draw_joint_graph.py --prior llm --output outputs/joint_prior.png

The picture of a graph has three rows: the matrices of the prior, in standard deviations; the terms that are the same
for every image, and their sum; the adaptive term of two images, as edges over the person and as matrices. Terms are
drawn as they enter the attention: multiplied by their gates, averaged over the heads. A matrix row is the joint whose
token is updated, a column the joint that it attends to. +1 multiplies the attention weight by 2.7. Red is more, blue
is less. Joints are grouped by limb.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.joint_graph import JointGraph, tree_distances
from models.joint_prior import JointPrior, load_joint_prior, standardise_matrix
from models.predictor import Predictor, load_predictor
from scripts.lib.joint_graph_figure import GraphOfPerson, draw_graph, draw_prior
from utils.arguments import check_not_input, input_file, number, output_file, script_parser
from utils.checkpoint import find_checkpoint, load_checkpoint
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder
from utils.media.images import load_image
from utils.network_config import JOINT_PRIORS, complete_config
from utils.paths import SAMPLES

STANDING, BENT = SAMPLES / "im03.png", SAMPLES / "im02.png"


def find_graph(model: torch.nn.Module, block: int, path: str) -> JointGraph:
    """The graph of the last unit of a block. UserError if the network has no such block or no graph."""
    if not 0 <= block < len(model.blocks):
        raise UserError(f"--block {block}: {path} has blocks 0 to {len(model.blocks) - 1}")
    graph = model.blocks[block].units[-1].graph
    if graph is None:
        raise UserError(f"{path} has no joint graph: give a network trained with --graph adaptive or static")
    return graph


@torch.inference_mode()
def graph_of_person(predictor: Predictor, graph: JointGraph, path: Path) -> GraphOfPerson:
    """Run the network on the most prominent person of an image and read the terms of its graph."""
    tokens = []
    handle = graph.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    image = load_image(path)
    try:
        people = predictor(image)
    finally:
        handle.remove()
    if not people:
        raise UserError(f"no person found in {path}: give another image by --images")
    person = people[0]
    # The first image of the first call is the person; the flip test appends the mirror image.
    strength = torch.ones(graph.num_heads) if graph.bias_gate is None else graph.bias_strength().cpu()
    terms = {
        name: (strength[:, None, None] * term[0].cpu()).mean(0).numpy()
        for name, term in graph.terms(graph.normalised(tokens[0])).items()
    }
    corners = person.crop.to_image(np.array(((-1, -1), (1, 1)))).clip(0, np.array(image.shape[1::-1])).astype(int)
    (left, top), (right, bottom) = corners
    return GraphOfPerson(image[top:bottom, left:right], person.joints_2d - (left, top), terms)


def named_matrices(prior: JointPrior) -> dict[str, np.ndarray]:
    """Title -> matrix (24, 24), standard deviations."""
    matrices = (prior.text, *prior.relations)
    return dict(zip(matrix_names(prior), matrices, strict=True))


def matrix_names(prior: JointPrior) -> list[str]:
    return ["text similarity", *(name.replace("_", " ") for name in prior.relation_names)]


def prior_of(graph: JointGraph, kind: str) -> dict[str, np.ndarray]:
    """The prior that the graph was built with: title -> matrix (24, 24); empty without a prior."""
    if graph.relations is None:
        return {}
    return dict(zip(matrix_names(load_joint_prior(kind)), graph.relations.cpu().numpy(), strict=True))


def draw_prior_alone(kind: str, file: Path | None, seed: int, output: Path):
    matrices = named_matrices(load_joint_prior(kind, file, seed))
    nearness = standardise_matrix(-tree_distances().numpy().astype(float))
    draw_prior(matrices | {"for comparison: nearness in the tree": nearness}, f"joint prior: {kind}", output)


def draw_network(checkpoint: str, images: list[Path], block: int | None, output: Path):
    checkpoint = str(find_checkpoint(checkpoint))
    predictor = load_predictor(checkpoint)
    num_blocks = len(predictor.model.blocks)
    block = num_blocks - 1 if block is None else block
    graph = find_graph(predictor.model, block, checkpoint)
    kind = complete_config(load_checkpoint(checkpoint)["config"], checkpoint).joint_prior
    people = [graph_of_person(predictor, graph, path) for path in images]
    title = f"joint graph of block {block + 1} of {num_blocks}, prior: {kind}"
    draw_graph(prior_of(graph, kind), people, output, title)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("--output", type=output_file(".png"), required=True, metavar="FILE", help="PNG to write")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--checkpoint", metavar="FILE", help="draw the graph of this network")
    kind.add_argument(
        "--prior", nargs="?", const="llm", choices=JOINT_PRIORS[:-1], help="draw this prior alone (default kind: llm)"
    )
    graph = parser.add_argument_group("with --checkpoint")
    graph.add_argument(
        "--images", type=input_file, nargs=2, default=[STANDING, BENT], metavar="FILE", help="default: two samples"
    )
    graph.add_argument("--block", type=number(int, at_least=0), help="number of the block from 0 (default: the last)")
    prior = parser.add_argument_group("with --prior")
    prior.add_argument("--prior_file", type=input_file, metavar="FILE", help="default: meta_data/joint_prior.npz")
    prior.add_argument("--prior_seed", type=number(int, at_least=0), default=0, help="permutation of --prior shuffled")
    args = parser.parse_args()
    check_not_input(args.output, *args.images)
    make_folder(args.output.parent)
    if args.prior:
        draw_prior_alone(args.prior, args.prior_file, args.prior_seed, args.output)
    else:
        draw_network(args.checkpoint, args.images, args.block, args.output)
    print(f"wrote {printable(args.output)}")


if __name__ == "__main__":
    main()
