"""Read every row of a data set as training does, and report the rows that cannot be used and labels that look wrong.

    python scripts/check_dataset.py --data_root DIR [--data_mode h36m] [--report bad_rows.jsonl]
    python scripts/check_dataset.py human3.6m/valid.protocol2.yaml --sheet rows.jpg

The script checks the yaml file, the indices and the line lists of the set, and base64, picture and label of each row.
It also measures the labels: lengths of limbs, sizes of poses, 2D keypoints in the crop, and whether 2D keypoints, 3D
keypoints and poses agree, also in left and right. It changes nothing. Exit code 0: the set can be used; 2: over 1 % of
its rows cannot, with which training stops.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.augment import move_keypoints_2d
from datasets.human_mesh import HumanMeshDataset
from datasets.label_checks import Measures, join, measure, suspicions
from datasets.label_checks import describe as describe_measures
from datasets.locate import FILES, find_data_root
from models.body_model import BodyModel, load_body_model
from models.build import find_body
from scripts.lib.label_sheet import draw_sheet
from utils.arguments import check_not_input, input_file, number, output_file, script_parser
from utils.crop import crop_matrix
from utils.errors import RowError, UserError, exit_on_user_error, printable
from utils.files import make_folder, write_text
from utils.geometry import rotvec_to_rotmat
from utils.train.bad_row_log import LIMIT
from utils.train.signals import leave_signals_to_parent

BATCH = 32


class Checks(Dataset):
    """(error message or "", label or None) of each row of a set; 2D keypoints in [-1, 1] of the crop."""

    def __init__(self, rows: HumanMeshDataset):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[str, dict | None]:
        try:
            _, _, label = self.rows.read(index)
        except RowError as error:
            return str(error), None
        matrix = crop_matrix(label["center"], label["scale"])
        label["keypoints_2d"] = move_keypoints_2d(label["keypoints_2d"], matrix, flip=False)
        return "", label


def check_set(
    rows: HumanMeshDataset, name: str, num_workers: int, body: BodyModel | None = None
) -> tuple[list[dict], Measures]:
    """Read all rows with a progress bar -> {"set", "row", "why"} of each bad row, measures of the others.

    body: its joints are compared with the 3D keypoints.
    """
    loader = DataLoader(
        Checks(rows),
        batch_size=BATCH,
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=lambda _: leave_signals_to_parent(),
    )
    faults, measures = [], []
    with tqdm(total=len(rows), desc=printable(name), unit=" rows", dynamic_ncols=True) as bar:
        for batch in loader:
            faults += [{"set": name, "row": bar.n + i, "why": why} for i, (why, _) in enumerate(batch) if why]
            if labels := [label for _, label in batch if label]:
                labels = {key: np.stack([label[key] for label in labels]) for key in labels[0] if key != "absent"}
                measures.append(measure(labels, None if body is None else posed_joints(body, labels)))
            bar.update(len(batch))
            bar.set_postfix_str(f"{len(faults)} bad")
    return faults, join(measures)


def posed_joints(body: BodyModel, labels: dict[str, np.ndarray]) -> np.ndarray:
    """Joints (B, 24, 3) of the body with the labelled poses and shapes, metres."""
    pose, betas = (torch.from_numpy(labels[name].astype(np.float32)) for name in ("pose", "betas"))
    return body.joints(rotvec_to_rotmat(pose.view(-1, 24, 3)), betas).numpy()


def describe(faults: list[dict], num_rows: int) -> str:
    """Number of faults of each kind, with one example."""
    kinds, examples = Counter(), {}
    for fault in faults:
        kind = re.sub(r"-?\d[\d.e+]*", "N", fault["why"].split("): ", 1)[-1].split(";")[0])
        kinds[kind] += 1
        examples.setdefault(kind, fault["why"].split(";")[0])
    lines = [f"{num_rows} rows, {len(faults)} of them cannot be used ({len(faults) / num_rows:.2%})"]
    return "\n".join([*lines, *(f"  {count:6d} x {examples[kind]}" for kind, count in kinds.most_common(20))])


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "yaml_files", nargs="*", type=Path, help="yaml files of sets (default: the sets of --data_mode)"
    )
    parser.add_argument(
        "--data_root", metavar="DIR", help="folder of the sets (default: $SMPL_POSE_DATA, else datasets/)"
    )
    parser.add_argument("--data_mode", choices=tuple(FILES), help="default: all sets whose files exist")
    parser.add_argument(
        "--num_workers", type=number(int, at_least=0), default=4, help="processes that read (default: %(default)s)"
    )
    parser.add_argument(
        "--sheet", type=output_file(".jpg", ".png"), metavar="FILE", help="draw rows of the set with their keypoints"
    )
    parser.add_argument(
        "--sheet_rows", type=number(int, at_least=1), default=24, help="rows of the sheet (default: %(default)s)"
    )
    parser.add_argument("--smpl_path", type=input_file, metavar="FILE", help="body of the poses (default: as main.py)")
    parser.add_argument("--report", type=output_file(), metavar="FILE", help="write one line of JSON per bad row")
    parser.add_argument("--allow_outside_paths", action="store_true", help="accept files outside of the root")
    args = parser.parse_args()
    if args.yaml_files:
        sets = {path: ".." for path in args.yaml_files}
    else:
        modes = [args.data_mode] if args.data_mode else FILES
        root = find_data_root(args.data_root, next(iter(FILES[args.data_mode].values())) if args.data_mode else None)
        sets = {root / file: root.absolute() for mode in modes for file in FILES[mode].values()}
        sets = {path: root for path, root in sets.items() if args.data_mode or path.exists()}
    if not sets:
        raise UserError(f"no set to check in {root}; name yaml files, or see docs/data.md for the layout")

    if args.report:
        make_folder(args.report.parent)
    if args.sheet and len(sets) > 1:
        raise UserError(f"--sheet draws one set, there are {len(sets)}: name one yaml file")
    body, faults, unusable = load_body_model(find_body(args.smpl_path)), [], []
    for path, root in sets.items():
        rows = HumanMeshDataset(path, root=None if args.allow_outside_paths else root)
        for output in filter(None, (args.report, args.sheet)):
            check_not_input(output, path, *rows.rows.files())
        found, measures = check_set(rows, str(path), args.num_workers, body)
        print(f"{printable(path)}: {describe(found, len(rows))}", flush=True)
        print("".join(f"  {line}\n" for line in describe_measures(measures)), end="")
        for suspicion in suspicions(measures):
            print(f"  looks wrong: {suspicion}", flush=True)
        if args.sheet:
            draw_sheet(rows, args.sheet, args.sheet_rows)
            print(f"wrote {printable(args.sheet)}: 2D keypoints are dots, 3D keypoints lines; left green, right red")
        faults += found
        unusable += [path] if len(found) > LIMIT * len(rows) else []
    if args.report:
        write_text(args.report, "".join(json.dumps(fault) + "\n" for fault in faults))
    if unusable:
        raise UserError(f"over {LIMIT:.0%} of the rows of {unusable[0]} cannot be used; download or make it again")


if __name__ == "__main__":
    main()
