import os
import struct
import subprocess

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from datasets.poses import (
    JOINT_LIMITS,
    PoseSampler,
    joint_positions,
    load_pose_library,
    mirror,
    nearest_distances,
    within_limits,
)
from datasets.poses.library import LIBRARY_FILES, remove_heading, save_pose_library
from datasets.poses.sampler import blend
from datasets.poses.self_contact import penetration, segment_distances
from scripts.build_pose_library import farthest_points
from scripts.lib.pose_library.motion_clips import forward_kinematics, read_bvh, read_deepmimic, read_pmd_rest, read_psa
from scripts.lib.pose_library.retarget import BONE_MAPS, retarget
from utils.errors import UserError
from utils.paths import META_DATA, ROOT
from utils.skeleton import SMPL_FLIP, SMPL_JOINTS, SMPL_PARENTS

J = SMPL_JOINTS.index


@pytest.fixture(scope="module")
def library():
    return load_pose_library()


@pytest.fixture(scope="module")
def samples(library):
    sampler = PoseSampler(library)
    return np.array([sampler(np.random.default_rng([5, i])) for i in range(150)])


def angle(a, b):
    """Degrees between vectors (..., 3)."""
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


# ---- mirror, heading, limits -----------------------------------------------------------------------------------------


def test_mirror_twice_is_the_identity(library):
    assert np.array_equal(mirror(mirror(library.poses)), library.poses)


def test_mirrored_pose_is_the_mirrored_body(library):
    rest = (library.rest_joints + library.rest_joints[list(SMPL_FLIP)] * (-1, 1, 1)) / 2
    positions, rotations = joint_positions(library.poses[:200], rest)
    mirrored, mirrored_rotations = joint_positions(mirror(library.poses[:200]), rest)
    np.testing.assert_allclose(mirrored, positions[:, SMPL_FLIP] * (-1, 1, 1), atol=1e-6)
    reflect = np.diag((-1.0, 1, 1))
    np.testing.assert_allclose(mirrored_rotations, reflect @ rotations[:, SMPL_FLIP] @ reflect, atol=1e-6)


def test_joint_positions_agree_with_a_plain_loop(library):
    pose = library.poses[7].astype(float)
    local = Rotation.from_rotvec(pose).as_matrix()
    offsets = library.rest_joints - library.rest_joints[[max(p, 0) for p in SMPL_PARENTS]]
    rotations, positions = forward_kinematics(SMPL_PARENTS, offsets, local[None], np.zeros((1, 3)))
    found = joint_positions(pose, library.rest_joints)
    np.testing.assert_allclose(found[0], positions[0], atol=1e-9)
    np.testing.assert_allclose(found[1], rotations[0], atol=1e-9)


def test_remove_heading_removes_rotations_about_y_alone():
    rng = np.random.default_rng(0)
    roots = Rotation.from_rotvec(rng.normal(0, 1, (50, 3)))
    turned = Rotation.from_euler("y", rng.uniform(-3, 3, (50, 1))) * roots
    plain = remove_heading(roots.as_matrix())
    np.testing.assert_allclose(remove_heading(turned.as_matrix()), plain, atol=1e-9)
    np.testing.assert_allclose(plain[:, 1], roots.as_matrix()[:, 1], atol=1e-9)  # a vertical axis stays vertical
    np.testing.assert_allclose(Rotation.from_matrix(plain).as_quat()[:, 1], 0, atol=1e-9)


def test_joint_limits_are_mirror_images():
    low, high = JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1]
    assert (low < high).all()
    np.testing.assert_allclose(mirror(low)[..., 0], low[..., 0])
    np.testing.assert_allclose(mirror(high)[..., 1:], low[..., 1:])
    assert JOINT_LIMITS[J("L_knee"), 0, 0] > -0.2 and JOINT_LIMITS[J("L_elbow"), 1, 1] < 0.2  # neither bends backwards


# ---- readers and retargeting -----------------------------------------------------------------------------------------

T_POSE_BONES = {  # bone of the "boxing" skeleton -> the SMPL joint at the same place
    name.replace("*", side): joint.replace("?", letter)
    for joint, name in BONE_MAPS["boxing"].items() if isinstance(name, str)
    for letter, side in (("L", "Left"), ("R", "Right"))
}  # fmt: skip


def write_bvh(path, rest, pose, order="ZXY"):
    """A BVH file with the bones of T_POSE_BONES, rest joints (24, 3), posed by parent-relative axis-angles (24, 3)."""
    joints = {joint: bone for bone, joint in T_POSE_BONES.items()}
    local = Rotation.from_rotvec(pose)
    lines, frame = ["HIERARCHY"], ["1.0 2.0 3.0"]

    def parent_of(j):
        parent = SMPL_PARENTS[j]
        return parent if parent < 0 or SMPL_JOINTS[parent] in joints else parent_of(parent)

    def add(j, depth):
        parent, tab = parent_of(j), "\t" * depth
        offset = rest[j] - (rest[parent] if parent >= 0 else 0)
        rotations = " ".join(f"{axis}rotation" for axis in order)
        lines.append(f"{tab}{'JOINT' if depth else 'ROOT'} {joints[SMPL_JOINTS[j]]}\n{tab}{{")
        lines.append(f"{tab}\tOFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}")
        lines.append(
            f"{tab}\tCHANNELS {3 if depth else 6} {'' if depth else 'Xposition Yposition Zposition '}{rotations}"
        )
        frame.append(" ".join(f"{a:.6f}" for a in local[j].as_euler(order, degrees=True)))
        children = [c for c in range(24) if SMPL_JOINTS[c] in joints and parent_of(c) == j]
        for child in children:
            add(child, depth + 1)
        if not children:
            lines.append(f"{tab}\tEnd Site\n{tab}\t{{\n{tab}\t\tOFFSET 0 0.1 0\n{tab}\t}}")
        lines.append(f"{tab}}}")

    add(0, 0)
    path.write_text("\n".join([*lines, "MOTION", "Frames: 1", "Frame Time: 0.01", " ".join(frame)]))


def hinged_pose(rng):
    """A pose whose elbows and knees are hinges, with the spine as the boxing skeleton bends."""
    pose = rng.normal(0, 0.3, (24, 3))
    for side, sign in (("L", 1), ("R", -1)):
        pose[J(f"{side}_knee")] = rng.uniform(0.2, 2), 0, 0
        pose[J(f"{side}_elbow")] = 0, -sign * rng.uniform(0.9, 2), 0
        pose[J(f"{side}_wrist")] = 0, *rng.normal(0, 0.3, 2)
        pose[J(f"{side}_hand")] = 0
    pose[J("spine1")] = 0
    return pose


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", ("ZXY", "ZYX"))
def test_bvh_round_trip(tmp_path, library, seed, order):
    rest = library.rest_joints
    pose = hinged_pose(np.random.default_rng(seed))
    write_bvh(tmp_path / "clip.bvh", rest, pose, order)
    clip = read_bvh(tmp_path / "clip.bvh")
    found = retarget(clip, "boxing", rest)[0]
    # Between pelvis and spine2 the file has one joint, SMPL has two: they share its rotation.
    expected = joint_positions(pose, rest)[1]
    rotations = joint_positions(found, rest)[1]
    others = [j for j in range(24) if SMPL_JOINTS[j] not in ("spine1", "L_elbow", "R_elbow")]
    apart = Rotation.from_matrix(expected[others].swapaxes(-1, -2) @ rotations[others]).magnitude()
    assert np.degrees(apart).max() < 1.5
    half = Rotation.from_rotvec(found[J("spine1")]).inv() * Rotation.from_rotvec(found[J("spine2")])
    assert np.degrees(half.magnitude()) < 0.1


def test_limbs_have_the_directions_of_the_source_limbs(tmp_path, library):
    rng = np.random.default_rng(1)
    rest = library.rest_joints
    for _ in range(5):
        source_rest = rest * (1.2, 1.4, 1) + rng.normal(0, 0.012, (24, 3))  # another person's proportions
        pose = hinged_pose(rng)
        write_bvh(tmp_path / "clip.bvh", source_rest, pose)
        clip = read_bvh(tmp_path / "clip.bvh")
        ours = joint_positions(retarget(clip, "boxing", rest)[0], rest)[0]
        where = {joint: clip.positions[0, clip.bones.index(bone)] for bone, joint in T_POSE_BONES.items()}
        for side in "LR":
            for a, b, limit in (
                ("shoulder", "elbow", 3),
                ("elbow", "wrist", 3),
                ("hip", "knee", 8),
                ("knee", "ankle", 8),
            ):
                a, b = f"{side}_{a}", f"{side}_{b}"
                assert angle(where[b] - where[a], ours[J(b)] - ours[J(a)]) < limit, (a, b)


def zero_ad_state(position, rotation):
    """Right-handed position (3) and rotation -> the seven numbers of 0 A.D.'s left-handed file."""
    x, y, z, w = rotation.as_quat()
    return [*(position * (1, 1, -1)), -x, -y, z, w]


def test_psa_round_trip(tmp_path):
    rng = np.random.default_rng(2)
    rest_rotations = Rotation.random(46, random_state=3)
    rest_positions = rng.normal(0, 1, (46, 3))
    states = [zero_ad_state(p, r) for p, r in zip(rest_positions, rest_rotations, strict=True)]
    vertices = struct.pack("<44x8x") * 3
    body = vertices + struct.pack("<I3H", 1, 0, 1, 2) + struct.pack("<I322f", 46, *np.ravel(states))
    (tmp_path / "mesh.pmd").write_bytes(struct.pack("<4sIIII", b"PSMD", 4, len(body), 3, 1) + body)

    turns = [Rotation.random(46, random_state=10 + t) for t in range(2)]
    positions = rng.normal(0, 1, (2, 46, 3))
    frames = [
        zero_ad_state(p, turn * r)
        for t in range(2)
        for p, turn, r in zip(positions[t], turns[t], rest_rotations, strict=True)
    ]
    body = struct.pack("<I", 3) + b"abc" + struct.pack("<fII", 33.333, 46, 2) + np.array(frames, "<f4").tobytes()
    (tmp_path / "wave.psa").write_bytes(struct.pack("<4sII", b"PSSA", 1, len(body)) + body)

    clip = read_psa(tmp_path / "wave.psa", read_pmd_rest(tmp_path / "mesh.pmd"))
    assert clip.name == "wave" and clip.rotations.shape == (2, 22, 3, 3)
    for bone, place in (("hip", 0), ("hand_L", 7), ("head", 16), ("foot_R", 35)):
        b = clip.bones.index(bone)
        np.testing.assert_allclose(clip.rest[b], rest_positions[place], atol=1e-6)
        np.testing.assert_allclose(clip.positions[:, b], positions[:, place], atol=1e-6)
        np.testing.assert_allclose(clip.rotations[:, b], [t.as_matrix()[place] for t in turns], atol=1e-5)


def test_deepmimic_bends_the_named_side_the_right_way(tmp_path, library):
    identity = "1, 0, 0, 0"
    arms_and_legs = [identity, "-1.2", identity, identity, "0.9"]  # right hip, knee, ankle, shoulder, elbow
    other = [identity, "0", identity, identity, "0"]
    frame = ", ".join(["0.033", "0, 0.9, 0", *[identity] * 3, *arms_and_legs, *other])
    (tmp_path / "step.txt").write_text(f'{{"Loop": "none", "Frames": [[{frame}]]}}')
    pose = retarget(read_deepmimic(tmp_path / "step.txt"), "deepmimic", library.rest_joints)[0]
    positions, _ = joint_positions(pose, library.rest_joints)
    assert positions[J("R_ankle"), 2] < positions[J("R_knee"), 2] - 0.2  # the shin points backwards
    assert positions[J("R_wrist"), 2] > positions[J("R_elbow"), 2] + 0.1  # the forearm points forwards
    assert abs(positions[J("L_ankle"), 2] - positions[J("L_knee"), 2]) < 0.1
    assert positions[J("L_wrist"), 0] > 0 > positions[J("R_wrist"), 0]
    assert np.degrees(pose[J("R_knee"), 0]) == pytest.approx(np.degrees(1.2), abs=4)


@pytest.mark.parametrize("read", (read_bvh, read_deepmimic, read_pmd_rest, lambda path: read_psa(path, (None, None))))
def test_broken_clips_are_named(tmp_path, read):
    for name, data in (("empty.clip", b""), ("noise.clip", b"PSSA\x01\x00\x00\x00 MOTION {")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)
    with pytest.raises(UserError, match="absent"):
        read(tmp_path / "absent.clip")


def test_farthest_points_are_also_far_from_mirror_images():
    rng = np.random.default_rng(4)
    points = rng.normal(0, 1, (300, 2)).astype(np.float32)
    mirrored = points * (-1, 1)
    chosen = farthest_points(points, mirrored, 1000, 0.2)
    both = np.concatenate((points[chosen], mirrored[chosen]))
    apart = np.linalg.norm(points[chosen][:, None] - both[None], axis=-1)
    n = len(chosen)
    apart[np.arange(n), np.arange(n)] = apart[np.arange(n), np.arange(n) + n] = 9
    assert 20 < n < 300 and apart.min() > 0.2
    everyone = np.linalg.norm(points[:, None] - both[None], axis=-1).min(1)
    assert everyone.max() <= 0.2


# ---- library files ---------------------------------------------------------------------------------------------------


def test_library_has_plausible_poses(library):
    assert len(library.poses) > 5000 and len(library.names) == library.clip.max() + 1
    assert np.isfinite(library.poses).all() and np.abs(library.poses).max() <= np.pi + 1e-4
    np.testing.assert_allclose(library.poses[:, 0, 1], 0, atol=2e-3)  # no heading
    positions, rotations = joint_positions(library.poses, library.rest_joints)
    assert penetration(positions, rotations).max() < 0.04
    for side, sign in (("L", 1), ("R", -1)):
        assert np.percentile(library.poses[:, J(f"{side}_knee"), 0], 1) > -0.15  # knees bend back, never forward
        assert np.percentile(sign * library.poses[:, J(f"{side}_elbow"), 1], 99) < 0.1
    upright = rotations[:, 0, 1, 1] > 0.9
    # standing people: left hips are on the left, and the mean trunk is upright
    assert (positions[upright, J("L_hip"), 0] > positions[upright, J("R_hip"), 0]).all()
    trunk = positions[upright, J("neck")]
    assert abs(np.median(np.degrees(np.arctan2(trunk[:, 0], trunk[:, 1])))) < 4


def test_files_are_small_and_carry_their_licences():
    assert sum((META_DATA / name).stat().st_size for name in LIBRARY_FILES) < 2e6
    with np.load(META_DATA / "poses_0ad_cc_by_sa.npz") as file:
        assert "CC-BY-SA-3.0" in str(file["licence"]) and "Wildfire Games" in str(file["attribution"])
        assert all(str(name).startswith("0ad/") for name in file["clip_names"])
    with np.load(META_DATA / "poses.npz") as file:
        assert "mocap.cs.cmu.edu" in str(file["attribution"]) and "zlib" in str(file["licence"])
        assert not any(str(name).startswith("0ad/") for name in file["clip_names"])
    table = (META_DATA / "ASSETS.md").read_text()
    for word in ("CC-BY-SA 3.0", "EIA-0196217", "http://www.wildfiregames.com/", "BSD-3-Clause", "CC0", "zlib"):
        assert word in table


def test_library_round_trip_and_damage(tmp_path, library):
    path = tmp_path / "some.npz"
    save_pose_library(path, library.poses[:9], [0] * 9, [0.5] * 9, ["a"], library.rest_joints, "free", "someone")
    found = load_pose_library(path)
    np.testing.assert_allclose(found.poses, library.poses[:9], atol=1e-4)
    assert found.names == ("a",) and not [p for p in tmp_path.iterdir() if p != path]

    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"some\.npz"):
        load_pose_library(path)
    save_pose_library(path, library.poses[:9, :23], [0] * 9, [0] * 9, ["a"], library.rest_joints, "free", "someone")
    with pytest.raises(UserError, match=r"some\.npz.*23"):
        load_pose_library(path)
    save_pose_library(path, library.poses[:9], [3] * 9, [0] * 9, ["a"], library.rest_joints, "free", "someone")
    with pytest.raises(UserError, match=r"some\.npz"):
        load_pose_library(path)


# ---- sampler ---------------------------------------------------------------------------------------------------------


def test_same_seed_same_pose(library, samples):
    again = PoseSampler(library)(np.random.default_rng([5, 3]))
    assert again.dtype == np.float32 and np.array_equal(again, samples[3])
    assert not np.array_equal(samples[3], samples[4])


def test_samples_respect_limits_and_do_not_penetrate_themselves(library, samples):
    assert np.isfinite(samples).all()
    np.testing.assert_allclose(within_limits(samples), samples, atol=1e-6)
    depth = penetration(*joint_positions(samples, library.rest_joints))
    assert np.mean(depth > 0.021) < 0.02 and depth.max() < 0.05
    np.testing.assert_allclose(samples[:, 0, 1], 0, atol=1e-5)


def test_samples_are_diverse(library, samples):
    near = nearest_distances(samples, library.poses, library.rest_joints)
    assert np.median(near) > 0.05  # metres per joint: new poses, not copies
    positions, _ = joint_positions(samples, library.rest_joints)
    wrists = positions[:, [J("L_wrist"), J("R_wrist")], 1]
    assert (wrists > positions[:, None, J("head"), 1]).mean() > 0.03  # arms up
    knees = samples[:, J("L_knee"), 0]
    assert (knees > 1.4).mean() > 0.08 and (knees < 0.35).mean() > 0.08  # folded and straight legs
    assert (np.abs(positions[:, J("neck"), 1]) < 0.3).mean() > 0.02  # lying or bent over


def test_splits_share_no_clip(library):
    parts = {split: PoseSampler(library, split).poses for split in ("train", "val", "test")}
    rows = {split: {pose.tobytes() for pose in poses} for split, poses in parts.items()}
    assert not rows["train"] & rows["val"] and not rows["train"] & rows["test"] and not rows["val"] & rows["test"]
    assert sum(map(len, parts.values())) == len(library.poses)
    assert min(len(parts["val"]), len(parts["test"])) > 0.02 * len(library.poses)


def test_blend_goes_all_the_way(library):
    a, b = library.poses[0].astype(float), library.poses[900].astype(float)
    for t, expected in ((0, a), (1, b)):
        apart = Rotation.from_rotvec(blend(a, b, t)).inv() * Rotation.from_rotvec(expected)
        assert apart.magnitude().max() < 1e-6


def test_nearest_distances(library):
    some = library.poses[::700]
    np.testing.assert_allclose(nearest_distances(some, library.poses, library.rest_joints), 0, atol=1e-5)
    np.testing.assert_allclose(nearest_distances(mirror(some), library.poses, library.rest_joints), 0, atol=2e-3)
    t_pose = np.zeros((1, 24, 3))
    offset = joint_positions(some[:1], library.rest_joints)[0] - joint_positions(t_pose, library.rest_joints)[0]
    mirrored = (
        joint_positions(mirror(some[:1]), library.rest_joints)[0] - joint_positions(t_pose, library.rest_joints)[0]
    )
    expected = min(np.sqrt((d**2).sum(-1).mean()) for d in (offset, mirrored))
    assert nearest_distances(t_pose, some[:1], library.rest_joints)[0] == pytest.approx(expected, rel=1e-6)


# ---- self-contact ----------------------------------------------------------------------------------------------------


def test_segment_distances_agree_with_dense_sampling():
    rng = np.random.default_rng(6)
    a0, a1, b0, b1 = rng.normal(0, 1, (4, 40, 3))
    t = np.linspace(0, 1, 201)[:, None, None]
    a, b = a0 + t * (a1 - a0), b0 + t * (b1 - b0)
    dense = np.linalg.norm(a[:, None] - b[None], axis=-1).min((0, 1))
    found = segment_distances(a0, a1, b0, b1)
    assert (found <= dense + 1e-9).all()
    np.testing.assert_allclose(found, dense, atol=0.02)


def test_penetration_of_a_free_pose_and_of_a_hand_in_the_belly(library):
    pose = np.zeros((24, 3))
    assert penetration(*joint_positions(pose, library.rest_joints)) < -0.03
    pose[J("L_shoulder")] = 0, 0, -1.1
    pose[J("L_elbow")] = 0, 0, -1.2  # the forearm straight through the trunk
    assert penetration(*joint_positions(pose, library.rest_joints)) > 0.04


# ---- fetching --------------------------------------------------------------------------------------------------------

FETCH = ROOT / "scripts" / "fetch_synthetic_assets.sh"


def fetch(*args, path=None):
    environment = os.environ | ({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})
    return subprocess.run(["bash", str(FETCH), *args], capture_output=True, text=True, env=environment, check=False)


def test_fetch_refuses_unknown_names(tmp_path):
    for args, word in ((("--only", "cats"), "cats"), (("--fast",), "--fast")):
        result = fetch(*args, "--output", str(tmp_path))
        assert result.returncode == 2 and word in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_broken_download_leaves_nothing_behind(tmp_path):
    tools, output = tmp_path / "bin", tmp_path / "assets"
    tools.mkdir()
    (tools / "apt-get").write_text('#!/bin/sh\necho "connection lost" >&2\nexit 100\n')
    (tools / "apt-get").chmod(0o755)
    result = fetch("--only", "0ad", "--output", str(output), path=tools)
    assert result.returncode == 2 and "0ad-data" in result.stderr and "connection lost" in result.stderr
    assert not list(output.iterdir())


def test_fetched_files_are_not_fetched_again(tmp_path):
    (tmp_path / "poses" / "0ad").mkdir(parents=True)
    result = fetch("--only", "0ad", "--output", str(tmp_path))
    assert result.returncode == 0 and "already there" in result.stdout
