"""Join what is built for mixed training: Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml over all parts that are there.

    python scripts/build_mixed_dataset.py --data_root DATA_ROOT

The parts are human3.6m/train.yaml, coco_smpl/train.yaml, muco/train.yaml, up3d/trainval.yaml and
mpii/train.yaml; --parts names others. No picture is copied.
"""

import os
import sys
from pathlib import Path

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.locate import FILES
from datasets.tsv import TSVFile, TSVSet
from utils.arguments import input_folder, script_parser
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text

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
    folder, linelist = yaml_file.parent, f"{yaml_file.stem}.linelist.tsv"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / linelist, "".join(f"{file}\t{row}\n" for file, row in rows.tolist()))
    sizes = [file.path.with_name(file.path.name.replace(".img.", ".hw.")) for file in files]
    spec = {
        kind: [os.path.relpath(path, folder) for path in paths]
        for kind, paths in (("img", [f.path for f in files]), ("label", [f.path for f in labels]), ("hw", sizes))
    }
    write_text(yaml_file, yaml.safe_dump({"composite": True, "linelist": linelist} | spec))
    return len(rows)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("--data_root", type=input_folder, required=True, metavar="DIR", help="folder of the sets")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), metavar="SET.yaml", help="sets below --data_root")
    args = parser.parse_args()
    present = [name for name in args.parts if (args.data_root / name).is_file()]
    for name in args.parts:
        count = f"{len(TSVSet(args.data_root / name))} rows" if name in present else "missing, left out"
        print(f"  {name}: {count}")
    if not present:
        raise UserError(f"none of {', '.join(args.parts)} is in {args.data_root}; build one first, see docs/data.md")
    mixed = args.data_root / FILES["h36m"]["train"]
    total = join_sets(mixed, [args.data_root / name for name in present])
    print(f"{mixed}: {total} rows of {len(present)} sets")


if __name__ == "__main__":
    main()
