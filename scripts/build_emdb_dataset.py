"""Build EMDB for evaluation: emdb/test.yaml, the good frames of EMDB-1.

    python scripts/build_emdb_dataset.py --emdb EMDB --output DATA_ROOT
    python main.py --eval_only --data_mode=emdb --data_root=DATA_ROOT --load_checkpoint=...

--emdb has the folders P0 to P9.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.readers.emdb import Emdb
from scripts.lib.builders.command import build_all, parser_of, prepare
from utils.arguments import input_folder
from utils.errors import exit_on_user_error


@exit_on_user_error
def main():
    parser = parser_of(__doc__)
    parser.add_argument("--emdb", type=input_folder, required=True, metavar="DIR", help="folder with P0, P1, ...")
    parser.add_argument("--part", choices=("emdb1", "emdb2", "all"), default="emdb1", help="default: %(default)s")
    args = parser.parse_args()
    bodies = prepare(args, genders=True)
    name = "emdb/test.yaml" if args.part == "emdb1" else f"emdb/{args.part}.yaml"
    note = (
        "joints by the body of the person's gender" if bodies.female and bodies.male else "joints by the neutral body"
    )
    build_all({name: Emdb(args.emdb, bodies, args.part)}, bodies, args, {name: note})


if __name__ == "__main__":
    main()
