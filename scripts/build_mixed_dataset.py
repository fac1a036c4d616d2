"""Join what is built for mixed training: Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml over all parts that are there.

    python scripts/build_mixed_dataset.py --data_root DATA_ROOT

The parts are human3.6m/train.yaml, coco_smpl/train.yaml, muco/train.yaml, up3d/trainval.yaml and
mpii/train.yaml; --parts names others. No picture is copied.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.locate import FILES
from datasets.tsv import TSVFile, TSVSet
from datasets.tsv.writer import join_files
from utils.arguments import input_folder, script_parser
from utils.errors import UserError, exit_on_user_error

PARTS = ("human3.6m/train.yaml", "coco_smpl/train.yaml", "muco/train.yaml", "up3d/trainval.yaml", "mpii/train.yaml")


def join_sets(yaml_file: Path, parts: list[Path]) -> int:
    """Write a composite set of all rows of `parts`, in their order -> number of rows."""
    files: list[TSVFile] = []
    labels: list[TSVFile] = []
    rows = []
    for part in map(TSVSet, parts):
        rows.append(part.rows.numpy() + (len(files), 0))
        files += part.images
        labels += part.labels
    rows = np.concatenate(rows)
    sizes = [file.path.with_name(file.path.name.replace(".img.", ".hw.")) for file in files]
    join_files(yaml_file, {"img": [f.path for f in files], "label": [f.path for f in labels], "hw": sizes}, rows)
    return len(rows)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("--data_root", type=input_folder, required=True, metavar="DIR", help="folder of the sets")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), metavar="SET.yaml", help="sets below --data_root")
    parser.add_argument("--overwrite", action="store_true", help="replace a joined set that is there already")
    args = parser.parse_args()
    present = [name for name in args.parts if (args.data_root / name).is_file()]
    for name in args.parts:
        count = f"{len(TSVSet(args.data_root / name))} rows" if name in present else "missing, left out"
        print(f"  {name}: {count}")
    if not present:
        raise UserError(f"none of {', '.join(args.parts)} is in {args.data_root}; build one first, see docs/data.md")
    mixed = args.data_root / FILES["h36m"]["train"]
    if mixed.exists() and not args.overwrite:
        raise UserError(f"{mixed} is there already; --overwrite replaces it")
    total = join_sets(mixed, [args.data_root / name for name in present])
    print(f"{mixed}: {total} rows of {len(present)} sets")


if __name__ == "__main__":
    main()
