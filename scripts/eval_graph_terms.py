"""What a trained joint graph does at test time: errors with one of its terms set to zero, by groups of joints.

    python scripts/cache_features.py --output data/val --split val --num_samples 1000
    python scripts/eval_graph_terms.py --features data/val                          # the default network
    python scripts/eval_graph_terms.py --features data/val --checkpoint FILE --output FILE.json

Terms of the scores: tree (distance in the kinematic tree), prior, learned, adaptive. Entries: bias (of the attention),
conv (graph convolution), embedding (of the joints' descriptions). graph: all three entries, so that the graph has no
effect. A change above 0 means that the error is larger without the term. Intervals are 95 %, by bootstrap over people.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.build import build_loader
from datasets.feature_cache import FeatureCache, read_provenance
from models.criterion import Criterion
from models.features import network_input
from models.mesh_recovery import MeshRecovery
from models.predictor import load_network
from scripts.lib.graph_ablation.measure import MEASURES, joint_groups, mean_error, paired
from scripts.lib.graph_ablation.report import markdown, span, star
from scripts.lib.graph_ablation.run import evaluate
from scripts.lib.graph_ablation.terms import removed, terms_of
from scripts.lib.occlusion.sweep import PATCHES_PER_PERSON
from utils.arguments import input_folder, number, output_file, script_parser
from utils.errors import UserError, exit_on_user_error
from utils.evaluation.predictions import Predictions
from utils.files import make_folder, write_text


@torch.inference_mode()
def with_learned_stages(model: MeshRecovery, dataset: Dataset) -> list[dict]:
    """The rows of a feature cache with the features that the network's own upper stages compute."""
    rows = []
    for batch in build_loader(dataset, batch_size=50, num_workers=0, train=False):
        features = model.features(network_input(batch))
        batch["features"] = dict(zip(("map16", "map32"), features.maps, strict=True))
        batch["features"] |= {name: getattr(features, name) for name in ("pooled", "points", "keypoints")}
        parts = batch.pop("features")
        for i in range(len(batch["index"])):
            row = {name: value[i] for name, value in batch.items()}
            rows.append(row | {"features": {name: value[i] for name, value in parts.items()}})
    return rows


def compare(whole: Predictions, without: dict[str, Predictions], people: np.ndarray | None = None) -> dict:
    """Measure -> group -> error of the whole network, and per term the change with its interval, mm.

    people (N,): number of the person of each row; default: each row another one.
    """
    known = ~np.isnan(whole.label_joints).any(-1)
    groups = {name: mask & known for name, mask in joint_groups(whole).items() if (mask & known).any()}
    if not groups:
        raise UserError("these people have no 3D labels: choose a cache of synthetic people or of pose2sim")
    report = {}
    for title, measure in MEASURES.items():
        errors = {term: measure(found) for term, found in without.items()}
        own = measure(whole)
        report[title] = {}
        for group, mask in groups.items():
            changes = {term: paired({0: error}, {0: own}, mask, people) for term, error in errors.items()}
            report[title][group] = {
                "error_mm": mean_error(own, mask),
                "joints": int((mask & ~np.isnan(own)).sum()),
                "changes": {t: {"mean_mm": c.mean, "interval_mm": c.people} for t, c in changes.items() if c},
            }
    return report


def tables(report: dict) -> str:
    parts = []
    for title, groups in report.items():
        rows = [["none removed", *(f"{group['error_mm']:.1f}" for group in groups.values())]]
        terms = dict.fromkeys(term for group in groups.values() for term in group["changes"])
        for term in terms:
            cells = []
            for group in groups.values():
                change = group["changes"].get(term)
                ends = change and change["interval_mm"]
                cells.append(f"{change['mean_mm']:+.1f} ({span(ends)}){star(ends)}" if change else "")
            rows.append([term, *cells])
        parts.append(markdown([f"{title}, mm", *groups], rows))
    return "\n\n".join(parts)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    count = number(int, at_least=1)
    parser.add_argument(
        "--features", type=input_folder, required=True, metavar="DIR", help="people of scripts/cache_features.py"
    )
    parser.add_argument("--people", type=count, metavar="N", help="use only the first N of them (default: all)")
    parser.add_argument("--checkpoint", metavar="FILE", help="network (default: the network of the demo)")
    parser.add_argument("--output", type=output_file(".json"), metavar="FILE.json", help="write the numbers, also")
    parser.add_argument("--num_threads", type=count, default=1, help="threads of torch (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.num_threads)
    model = load_network(args.checkpoint).eval()
    upper = getattr(model.backbone, "upper", None) is not None
    if not hasattr(model.backbone, "relearn"):
        raise UserError("cached features are those of MoveNet: choose a checkpoint with --backbone movenet")
    if not terms_of(model):
        raise UserError("the network has no joint graph: choose a checkpoint with --graph adaptive or static")
    dataset = FeatureCache(args.features, args.people, model.blocks[0].align_corners, with_trunk8=upper)
    rows = with_learned_stages(model, dataset)
    criterion, device = Criterion(model.body_model, model.keypoint_regressor), torch.device("cpu")
    whole, without = evaluate(model, criterion, rows, device), {}
    for term in terms_of(model):
        with removed(model, term):
            without[term] = evaluate(model, criterion, rows, device)
    occluded = "occlude" in read_provenance(min(args.features.glob("people_*.safetensors")))
    report = compare(whole, without, whole.index // PATCHES_PER_PERSON if occluded else None)
    print(tables(report))
    if args.output:
        make_folder(args.output.parent)
        write_text(args.output, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
