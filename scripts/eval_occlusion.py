"""How errors grow if a patch hides a part of the person: each limb in turn, or a square at every place of the picture.

    python scripts/eval_occlusion.py --output outputs/occlusion                          # synthetic test people
    python scripts/eval_occlusion.py --output outputs/occlusion --without_graph          # and without the joint graph
    python scripts/eval_occlusion.py --output outputs/occlusion --checkpoint A.pt B.pt --yaml DATA/test.yaml
    python scripts/eval_occlusion.py --output outputs/sliding --slide 7

Writes occlusion.png, the mean increase of the error of each joint over the picture without a patch, and
occlusion.json. The table has the joints of the hidden part alone. Limbs are hidden if their 2D keypoints are labelled
inside the crop. Takes a second per person on one core, and 5 with --slide 7.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.human_mesh import HumanMeshDataset
from datasets.sampler import SkipBadRows
from scripts.lib.graph_ablation.measure import paired
from scripts.lib.graph_ablation.report import markdown, span, star
from scripts.lib.occlusion.figure import draw_limbs, draw_maps
from scripts.lib.occlusion.patches import LIMBS, OCCLUDERS, limb_keypoints
from scripts.lib.occlusion.sweep import MEASURES, Networks, sweep
from utils.arguments import add_assets_flag, input_file, number, output_folder, script_parser
from utils.errors import UserError, exit_on_user_error, printable
from utils.evaluation.groups import sequences_of
from utils.files import make_folder, write_text
from utils.paths import OPEN_BODY
from utils.process import choose_device
from utils.skeleton import J14


def open_people(yaml_file: Path | None, assets: str, num_samples: int) -> Dataset:
    if yaml_file is not None:
        return HumanMeshDataset(yaml_file)
    from datasets.synthetic import SyntheticDataset  # imports numba, which other sets do not need

    return SyntheticDataset(OPEN_BODY, "test", num_samples=num_samples, assets=assets)


def measure(
    networks: Networks, people: Dataset, num_samples: int, **options
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """Network -> measure -> errors (N, 1 + K, 14) in mm of rows with 3D labels; the number of each row's sequence (N,).

    The rows are spread evenly over the set, because neighbours are often frames of one sequence.
    """
    readable, keys, results = SkipBadRows(people, replace=False), [], []
    chosen = np.unique(np.linspace(0, len(readable) - 1, min(num_samples, len(readable))).astype(int))
    for i in tqdm(chosen.tolist(), "people", disable=None):
        row = readable[i]
        if "image" in row:
            found = [*sweep(networks, [row], **options)]  # none if the row has no 3D labels
            results += found
            keys += [str(row.get("image_id", i))] * len(found)
    if not results or all(np.isnan(r[name][m][1:]).all() for r in results for name in r for m in MEASURES):
        raise UserError("no row of the set has 3D keypoints and a limb inside the picture: choose another set")
    errors = {name: {m: np.stack([r[name][m] for r in results]) for m in MEASURES} for name in networks.names}
    return errors, np.unique(sequences_of(keys), return_inverse=True)[1]


def increases(errors: np.ndarray) -> np.ndarray:
    """Errors (N, 1 + K, J) -> mean increase by each patch (K, J), over the people who have both."""
    return _over_people(errors[:, 1:] - errors[:, :1])


def _over_people(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the values that are not nan; nan without any."""
    count = (~np.isnan(values)).sum(0)
    return np.where(count, np.nansum(values, 0) / np.maximum(count, 1), np.nan)


def covered_joints(errors: dict[str, np.ndarray], sequences: np.ndarray | None = None) -> list[dict]:
    """For each limb and for all limbs together: number of people, and for each network the error of the joints of the
    limb without the patch and with it, mm. The change with the patch from the first network, with its interval, for
    which rows of one sequence (N,) are drawn together."""
    first = next(iter(errors.values()))
    chosen = {}
    for place, limb in enumerate(LIMBS, 1):
        chosen[limb] = np.zeros(first.shape, bool)
        chosen[limb][:, place, limb_keypoints(limb)] = True
    chosen["all of these"] = np.logical_or.reduce([*chosen.values()])
    rows = []
    for limb, mask in chosen.items():
        mask &= ~np.isnan(first)
        row = {"limb": limb, "people": int(mask.any((1, 2)).sum()), "networks": {}}
        for name, own in errors.items():
            free = np.broadcast_to(own[:, :1], own.shape)
            row["networks"][name] = {"free_mm": _mean(free[mask]), "hidden_mm": _mean(own[mask])}
            if own is not first:
                a, b, flat = (values.reshape(len(first), -1) for values in (own, first, mask))
                change = paired({0: a}, {0: b}, flat, sequences)
                row["networks"][name] |= {"change_mm": change and change.mean, "interval_mm": change and change.people}
        rows.append(row)
    return rows


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def table(rows: list[dict], title: str) -> str:
    names = [*rows[0]["networks"]]
    header = [f"{title}, mm", "people", *(f"{name}: free, hidden" for name in names)]
    header += [f"{name} minus {names[0]}, hidden" for name in names[1:]]
    cells = []
    for row in rows:
        found = row["networks"]
        shown = [" / ".join("-" if v is None else f"{v:.1f}" for v in [*found[n].values()][:2]) for n in names]
        for name in names[1:]:
            change, ends = found[name]["change_mm"], found[name]["interval_mm"]
            shown.append("-" if change is None else f"{change:+.1f} ({span(ends)}){star(ends)}")
        cells.append([row["limb"], str(row["people"]), *shown])
    return markdown(header, cells)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    count, share = number(int, at_least=1), number(float, above=0, below=1)
    parser.add_argument("--output", type=output_folder, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--checkpoint", nargs="+", default=[None], metavar="FILE", help="networks (default: the network of the demo)"
    )
    parser.add_argument("--without_graph", action="store_true", help="each network also with its joint graph at zero")
    parser.add_argument("--yaml", type=input_file, metavar="FILE", help="data set (default: synthetic test people)")
    add_assets_flag(parser)
    parser.add_argument("--num_samples", type=count, default=200, help="people (default: %(default)s)")
    parser.add_argument("--occluder", choices=OCCLUDERS, default="grey", help="patch (default: %(default)s)")
    parser.add_argument("--slide", type=count, metavar="N", help="a square at N x N places instead of the limbs")
    text = "distance from the limb that is hidden, share of the crop's side (default: %(default)s)"
    parser.add_argument("--radius", type=share, default=0.06, help=text)
    text = "side of the square, share of the crop's side (default: %(default)s)"
    parser.add_argument("--square", type=share, default=0.25, help=text)
    parser.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    parser.add_argument("--num_threads", type=count, default=1, help="threads of torch (default: %(default)s)")
    args = parser.parse_args()
    device = choose_device(args.device)
    torch.set_num_threads(args.num_threads)
    people = open_people(args.yaml, args.assets, args.num_samples)
    networks = Networks(args.checkpoint, args.without_graph, device)
    make_folder(args.output)
    options = {"occluder": args.occluder, "slide": args.slide or 0, "radius": args.radius, "side": args.square}
    errors, sequences = measure(networks, people, args.num_samples, **options)
    number_of_people = len(next(iter(errors.values()))[MEASURES[0]])
    report = {"people": number_of_people, "joints": list(J14), "limbs": [] if args.slide else list(LIMBS), **options}
    grown, under = {}, {}
    for name in MEASURES:
        chosen = {network: found[name] for network, found in errors.items()}
        grown[name] = {network: increases(values) for network, values in chosen.items()}
        under[name] = {network: _over_people(values[:, 1:]) for network, values in chosen.items()}
        report[name] = {
            label: {network: [[_number(v) for v in row] for row in matrix] for network, matrix in matrices.items()}
            for label, matrices in (("increase_mm", grown[name]), ("with_patch_mm", under[name]))
        }
        if not args.slide:
            report[name]["covered"] = covered_joints(chosen, sequences)
            print(table(report[name]["covered"], name) + "\n")
    name = MEASURES[0]
    title = f"{name} under a {args.occluder} patch, {number_of_people} people"
    path = args.output / "occlusion.png"
    if args.slide:
        draw_maps(grown[name], f"increase of the {title}", path)
    else:
        draw_limbs(grown[name], under[name], title, path)
    write_text(args.output / "occlusion.json", json.dumps(report, indent=1) + "\n")
    print(f"wrote {printable(path)} and occlusion.json")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 2)


if __name__ == "__main__":
    main()
