"""Where the data sets are on this machine."""

import os
from pathlib import Path

from utils.errors import UserError
from utils.paths import ROOT

FOLDERS = (
    "Tax-H36m-coco40k-Muco-UP-Mpii",
    "human3.6m",
    "coco_smpl",
    "muco",
    "up3d",
    "mpii",
    "3dpw",
    "pose2sim",
    "emdb",
)
FILES = {
    "h36m": {"train": "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml", "val": "human3.6m/valid.protocol2.yaml"},
    "3dpw": {"train": "3dpw/train.yaml", "val": "3dpw/test_has_gender.yaml"},
    "pose2sim": {"val": "pose2sim/test.yaml"},
    "emdb": {"val": "emdb/test.yaml"},
}
_HERE = ROOT / "datasets"
REMEDY = "download or make the data set again"  # end of the messages on damaged files


def find_data_root(data_root: str | None = None, needed: str | None = None) -> Path:
    """The folder that contains the data sets or, if given, the file `needed` ("3dpw/train.yaml").

    The search is in data_root if given, else in the environment variable SMPL_POSE_DATA if set, else in `datasets/` and
    the folders and links in it that are no code packages. UserError if there is none.
    """
    if named := data_root or os.environ.get("SMPL_POSE_DATA"):
        places = [Path(named).expanduser()]
    else:
        places = [_HERE, *sorted(path for path in _HERE.iterdir() if _may_hold_data(path))]
    for place in places:
        if any((place / name).exists() for name in ((needed,) if needed else FOLDERS)):
            return place
    raise UserError(
        f"data set not found: looked for {needed or 'any of ' + ', '.join(FOLDERS)} in {', '.join(map(str, places))}; "
        "make one (python scripts/make_synthetic_data.py --output DIR --num_samples 1000), "
        "build one from its owner's release (docs/data.md), "
        "or give the folder that has one by --data_root or the environment variable SMPL_POSE_DATA"
    )


def _may_hold_data(path: Path) -> bool:
    """Whether a path inside `datasets/` is a folder, or a link to one, without code."""
    return path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists()
