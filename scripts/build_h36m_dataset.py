"""Build Human3.6M, for training and for protocol 2, from JSON files and images or from the official release.

    python scripts/build_h36m_dataset.py --images images --annotations annotations --output DATA_ROOT
    python scripts/build_h36m_dataset.py --official Human3.6M --output DATA_ROOT      # needs requirements-builders.txt

JSON: Human36M_subject1_data.json, _camera.json, _joint_3d.json and so on, and SMPL fits (_smpl_param.json or
_SMPL_NeuralAnnot.json) in the same folder or in --fits. Official: S1/MyPoseFeatures/D3_Positions_mono, D2_Positions
and S1/Videos; it has no SMPL fits. Writes human3.6m/train.yaml (subjects 1, 5, 6, 7, 8, every 5th frame) and
human3.6m/valid.protocol2.yaml (subjects 9 and 11, camera 4, every 5th frame). Fits further than 50 mm from the
joints are left out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.builders.readers.h36m_cdf import Human36MOfficial
from datasets.builders.readers.h36m_json import Human36MJson
from scripts.lib.builders.command import build_all, parser_of, prepare
from utils.arguments import input_folder, number
from utils.errors import UserError, exit_on_user_error

SETS = {"train": "human3.6m/train.yaml", "valid": "human3.6m/valid.protocol2.yaml"}
SUBJECTS = {"train": (1, 5, 6, 7, 8), "valid": (9, 11)}
CAMERAS = {"train": None, "valid": (4,)}


@exit_on_user_error
def main():
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=input_folder, metavar="DIR", help="images of the JSON release")
    parser.add_argument("--annotations", type=input_folder, metavar="DIR", help="JSON files")
    parser.add_argument("--fits", type=input_folder, metavar="DIR", help="JSON files of SMPL fits, if elsewhere")
    parser.add_argument("--official", type=input_folder, metavar="DIR", help="official release: folders S1, S5, ...")
    parser.add_argument("--splits", nargs="+", choices=tuple(SETS), default=list(SETS), help="default: all")
    parser.add_argument("--every", type=number(int, at_least=1), default=5, help="step between frames")
    args = parser.parse_args()
    if (args.official is None) == (args.images is None or args.annotations is None):
        raise UserError("give --images and --annotations, or --official")
    bodies = prepare(args)
    readers = {}
    for split in args.splits:
        options = {"every": args.every, "cameras": CAMERAS[split]}
        if args.official:
            readers[SETS[split]] = Human36MOfficial(args.official, SUBJECTS[split], **options)
            continue
        names = [f"Human36M_subject{subject}_data.json" for subject in SUBJECTS[split]]
        subjects = tuple(
            s for s, name in zip(SUBJECTS[split], names, strict=True) if (args.annotations / name).is_file()
        )
        if not subjects:
            raise UserError(f"none of {', '.join(names)} is in {args.annotations}; see docs/data.md, or use --splits")
        if absent := sorted(set(SUBJECTS[split]) - set(subjects)):
            print(f"{split}: subjects {', '.join(map(str, absent))} are not in {args.annotations}", flush=True)
        readers[SETS[split]] = Human36MJson(args.images, args.annotations, subjects, bodies, fits=args.fits, **options)
    build_all(readers, bodies, args)


if __name__ == "__main__":
    main()
