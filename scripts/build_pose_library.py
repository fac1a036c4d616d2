"""Build meta_data/poses.npz and meta_data/poses_0ad_cc_by_sa.npz from openly licensed motion clips.

    bash scripts/fetch_synthetic_assets.sh --only poses,0ad
    python scripts/build_pose_library.py

Each clip is retargeted to the 24 joints of the body model and its heading is removed. Of all frames, a diverse subset
is kept.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.poses.kinematics import joint_positions
from datasets.poses.library import mirror, remove_heading, save_pose_library
from datasets.poses.self_contact import penetration
from scripts.lib.pose_library.motion_clips import Clip, read_bvh, read_deepmimic, read_pmd_rest, read_psa
from scripts.lib.pose_library.retarget import retarget
from utils.arguments import default_path, input_file, input_folder, number, output_folder, script_parser
from utils.errors import UserError, exit_on_user_error
from utils.files import make_folder
from utils.paths import ASSETS, META_DATA, OPEN_BODY
from utils.safe_load.limits import check_arrays
from utils.skeleton import SMPL_JOINTS

J = SMPL_JOINTS.index


def read_clips(assets: Path) -> dict[str, list[tuple[str, str, Clip]]]:
    """Clips below assets/poses: library file name -> (clip name, skeleton, clip), in a fixed order."""
    folder = assets / "poses"
    if not folder.is_dir():
        raise UserError(f"no folder {folder}; fetch the clips: bash scripts/fetch_synthetic_assets.sh --only poses,0ad")
    free, share_alike = [], []
    for path in sorted((folder / "bvh").glob("*.bvh")):
        clip = read_bvh(path)
        if "LHipJoint" in clip.bones:  # CMU's files start with a T-pose
            free.append((f"cmu/{path.stem}", "cmu", clip.rest_from_first_frame()))
        else:
            free.append((f"assimp/{path.stem}", "boxing", clip))
    for path in sorted((folder / "pybullet").rglob("*.txt")):
        if not path.name.startswith("laikago"):  # a dog
            free.append((f"pybullet/{path.stem.removeprefix('humanoid3d_')}", "deepmimic", read_deepmimic(path)))
    psa = folder / "0ad" / "art" / "animation" / "biped"
    if psa.is_dir():
        rest = read_pmd_rest(folder / "0ad" / "art" / "meshes" / "skeletal" / "new" / "m_naked.dae.cached.pmd")
        for path in sorted(psa.rglob("*.psa")):
            name = path.relative_to(psa).as_posix().split(".")[0]
            share_alike.append((f"0ad/{name}", "0ad", read_psa(path, rest)))
    if not free:
        raise UserError(f"no clips in {folder}; fetch them: bash scripts/fetch_synthetic_assets.sh --only poses,0ad")
    return {"poses.npz": free, "poses_0ad_cc_by_sa.npz": share_alike}


def shape_features(poses: np.ndarray, rest_joints: np.ndarray) -> np.ndarray:
    """Poses (N, 24, 3) -> features (N, 75) float32: positions of the joints and of the tip of the nose.

    They are scaled so that the Euclidean distance of two rows is the root mean square distance of the points in metres.
    """
    positions, rotations = joint_positions(poses, rest_joints)
    nose = positions[:, J("head")] + rotations[:, J("head")] @ np.array([0, 0.08, 0.12])
    points = np.concatenate((positions, nose[:, None]), 1)
    return (points.reshape(len(poses), -1) / np.sqrt(points.shape[1])).astype(np.float32)


def farthest_points(features: np.ndarray, mirrored: np.ndarray, count: int, min_distance: float) -> np.ndarray:
    """Indices of up to `count` rows by farthest point sampling, from row 0.

    Each row is the farthest from the rows before it and from their mirror images; it ends when none is farther than
    `min_distance`.
    """
    nearest, chosen = np.full(len(features), np.inf, np.float32), []
    index = 0
    while len(chosen) < count and nearest[index] > min_distance:
        chosen.append(index)
        for x in (features[index], mirrored[index]):
            nearest = np.minimum(nearest, np.sqrt(((features - x) ** 2).sum(1)))
        index = int(nearest.argmax())
    return np.sort(np.array(chosen))


LICENCES = {
    "poses.npz": (
        "free: CMU mocap (no restrictions), assimp test model (BSD-3-Clause), pybullet_data motions (zlib)",
        "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from "
        "NSF EIA-0196217 (clips 01_01 and 01_03, BVH conversion by B. Hahne, as in Debian's assimp-testmodels). "
        "Boxing_Toes.bvh: test model of the Open Asset Import Library, (c) ASSIMP Development Team, BSD-3-Clause. "
        "Humanoid motions: pybullet_data of Bullet Physics, zlib licence (Peng et al., DeepMimic, SIGGRAPH 2018). "
        "Altered: retargeted to the joints of the body model, heading removed, thinned.",
    ),
    "poses_0ad_cc_by_sa.npz": (
        "CC-BY-SA-3.0 http://creativecommons.org/licenses/by-sa/3.0/",
        "Animations of the game 0 A.D., release 0.0.26, by Wildfire Games (http://www.wildfiregames.com/), under "
        "the Creative Commons Attribution-Share Alike 3.0 licence (http://creativecommons.org/licenses/by-sa/3.0/). "
        "Altered: retargeted to the joints of the body model, heading removed, thinned. This file is under the same "
        "licence.",
    ),
}


MAX_PENETRATION = 0.035  # metres; in some game clips hands are inside hips


def build(
    clips: list[tuple[str, str, Clip]], rest_joints: np.ndarray, count: int, min_distance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Retarget clips, remove headings and frames with self-penetration, and keep a diverse subset.

    Returns poses (N, 24, 3), clip (N,): index into the names, seconds (N,) into the clip, and names of the used clips.
    """
    poses, numbers, seconds = [], [], []
    for i, (_, kind, clip) in enumerate(clips):
        clip = clip.subsample(1 / 15)
        pose = retarget(clip, kind, rest_joints)
        root = Rotation.from_rotvec(pose[:, 0]).as_matrix()
        pose[:, 0] = Rotation.from_matrix(remove_heading(root)).as_rotvec()
        poses.append(pose)
        numbers.append(np.full(len(pose), i))
        seconds.append(np.arange(len(pose)) * clip.seconds_per_frame)
    poses, numbers, seconds = (np.concatenate(parts) for parts in (poses, numbers, seconds))
    sound = penetration(*joint_positions(poses, rest_joints)) < MAX_PENETRATION
    poses, numbers, seconds = poses[sound], numbers[sound], seconds[sound]
    features, mirrored = (shape_features(p, rest_joints) for p in (poses, mirror(poses)))
    keep = farthest_points(features, mirrored, count, min_distance)
    used, index = np.unique(numbers[keep], return_inverse=True)
    return poses[keep], index, seconds[keep], [clips[i][0] for i in used]


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--assets",
        type=input_folder,
        default=ASSETS,
        metavar="DIR",
        help="folder of fetch_synthetic_assets.sh (default: assets)",
    )
    parser.add_argument(
        "--body",
        type=input_file,
        default=OPEN_BODY,
        metavar="FILE",
        help=f"body in SMPL layout ({default_path(OPEN_BODY)})",
    )
    parser.add_argument(
        "--output",
        type=output_folder,
        default=META_DATA,
        metavar="DIR",
        help="folder for the library files (default: meta_data)",
    )
    parser.add_argument(
        "--count", type=number(int, at_least=1), default=6000, help="most poses per file (default: %(default)s)"
    )
    parser.add_argument(
        "--min_distance",
        type=number(float, at_least=0),
        default=0.025,
        help="least distance of two poses, root mean square over joints in metres (default: %(default)s)",
    )
    args = parser.parse_args()
    make_folder(args.output)
    try:
        check_arrays(args.body)
        with np.load(args.body) as body:
            rest_joints = body["J_regressor"] @ body["v_template"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{args.body} is not a readable body file ({error}); restore it from the repository") from error
    rest_joints = rest_joints - rest_joints[0]
    for name, clips in read_clips(args.assets).items():
        if not clips:
            print(f"{name}: not changed, because its clips are not fetched")
            continue
        poses, clip, seconds, names = build(clips, rest_joints, args.count, args.min_distance)
        path = args.output / name
        save_pose_library(path, poses, clip, seconds, names, rest_joints, *LICENCES[name])
        print(f"wrote {path}: {len(poses)} poses of {len(names)} clips, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
