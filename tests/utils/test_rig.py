"""Rigs as other programs play them: skinned by the glTF standard, read by pygltflib and Blender; .bvh read anew."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation

from models.body_model import load_body_model
from utils.camera import UPRIGHT
from utils.export.rig import Motion, RestBody, resample, save_bvh, save_rigged_glb
from utils.paths import OPEN_BODY
from utils.skeleton import SMPL_JOINTS, SMPL_PARENTS

FRAMES = 5


@pytest.fixture(scope="module")
def body():
    """-> rest body of some shape, its motion, and the vertices and joints (T, ., 3) that the body model gives it, in
    the files' frame."""
    model = load_body_model(OPEN_BODY)
    rng = np.random.default_rng(0)
    betas = torch.from_numpy(rng.normal(size=10)).float()
    poses = torch.from_numpy(Rotation.from_rotvec(rng.normal(size=(FRAMES * 24, 3)) * 0.7).as_matrix()).float()
    poses = poses.reshape(FRAMES, 24, 3, 3)
    rest, joints = model(torch.eye(3).expand(1, 24, 3, 3), betas[None])
    vertices, posed = model(poses, betas.expand(FRAMES, 10))
    motion = Motion(poses.numpy(), rng.normal(size=(FRAMES, 3)) + (0, 0, 4), np.arange(FRAMES) / 25)
    rest = RestBody(rest[0].numpy(), joints[0].numpy(), model.weights.numpy(), model.faces)
    placed = [(points.numpy() + motion.translation[:, None]) * UPRIGHT for points in (vertices, posed)]
    return rest, motion, *placed


def read_accessor(gltf: GLTF2, index: int) -> np.ndarray:
    accessor = gltf.accessors[index]
    view = gltf.bufferViews[accessor.bufferView]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor.type]
    kind = {5121: np.uint8, 5125: np.uint32, 5126: np.float32}[accessor.componentType]
    start = view.byteOffset + (accessor.byteOffset or 0)
    return np.frombuffer(gltf.binary_blob(), kind, accessor.count * width, start).reshape(accessor.count, width)


def play(gltf: GLTF2, frame: int) -> np.ndarray:
    """Vertices (V, 3) at a key frame, by the standard's formula for skins."""
    nodes = {i: (np.array(n.translation), np.array(n.rotation)) for i, n in enumerate(gltf.nodes) if n.rotation}
    animation = gltf.animations[0]
    for channel in animation.channels:
        value = read_accessor(gltf, animation.samplers[channel.sampler].output)[frame]
        place, turn = nodes[channel.target.node]
        nodes[channel.target.node] = (value, turn) if channel.target.path == "translation" else (place, value)
    skin, world = gltf.skins[0], {}

    def visit(node: int, above: np.ndarray):
        place, turn = nodes[node]
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = Rotation.from_quat(turn).as_matrix(), place
        world[node] = above @ local
        for child in gltf.nodes[node].children or ():
            visit(child, world[node])

    visit(skin.joints[0], np.eye(4))
    inverse = read_accessor(gltf, skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
    matrices = np.stack([world[joint] for joint in skin.joints]) @ inverse
    attributes = gltf.meshes[0].primitives[0].attributes
    positions = read_accessor(gltf, attributes.POSITION)
    points = np.column_stack((positions, np.ones(len(positions))))
    moved = np.zeros((len(points), 4))
    for joints, weights in ((attributes.JOINTS_0, attributes.WEIGHTS_0), (attributes.JOINTS_1, attributes.WEIGHTS_1)):
        for j, w in zip(read_accessor(gltf, joints).T, read_accessor(gltf, weights).T, strict=True):
            moved += w[:, None] * (matrices[j] @ points[..., None])[..., 0]
    return moved[:, :3]


def test_every_frame_of_the_glb_is_the_body_models(tmp_path, body):
    rest, motion, vertices, _ = body
    save_rigged_glb(tmp_path / "rig.glb", rest, motion)
    gltf = GLTF2().load(str(tmp_path / "rig.glb"))
    assert [gltf.nodes[j].name for j in gltf.skins[0].joints] == list(SMPL_JOINTS)
    times = read_accessor(gltf, gltf.animations[0].samplers[0].input)[:, 0]
    np.testing.assert_allclose(times, motion.times, atol=1e-6)
    for frame in range(FRAMES):
        np.testing.assert_allclose(play(gltf, frame), vertices[frame], atol=1e-4)  # metres


def test_neighbouring_keys_take_the_short_way(tmp_path, body):
    rest = body[0]
    turns = Rotation.from_euler("y", np.linspace(0, 720, 30)[:, None], degrees=True).as_matrix()
    rotmat = np.tile(turns[:, None], (1, 24, 1, 1))
    save_rigged_glb(tmp_path / "rig.glb", rest, Motion(rotmat, np.zeros((30, 3)), np.arange(30) / 25))
    gltf = GLTF2().load(str(tmp_path / "rig.glb"))
    for sampler in gltf.animations[0].samplers[1:]:
        keys = read_accessor(gltf, sampler.output)
        assert ((keys[1:] * keys[:-1]).sum(1) > 0).all()


def read_bvh(text: str) -> tuple[list[str], np.ndarray, float]:
    """-> names of the joints, their places (T, J, 3), seconds per frame. Rotations in the order that CHANNELS says."""
    words = iter(text.split())
    names, offsets, parents, channels, stack, ends = [], [], [], [], [], 0
    for word in words:
        if word in ("ROOT", "JOINT"):
            names.append(next(words))
            parents.append(stack[-1] if stack else -1)
        elif word == "End":
            ends += 1
            while next(words) != "}":
                pass
        elif word == "{":
            stack.append(len(names) - 1)
        elif word == "}":
            stack.pop()
        elif word == "OFFSET":
            offsets.append([float(next(words)) for _ in range(3)])
        elif word == "CHANNELS":
            channels.append([next(words) for _ in range(int(next(words)))])
        elif word == "Time:":
            step = float(next(words))
            break
    rows = np.array([float(word) for word in words]).reshape(-1, sum(map(len, channels)))
    places = np.zeros((len(rows), len(names), 3))
    turns, column = [], 0
    for j, (parent, offset, kinds) in enumerate(zip(parents, offsets, channels, strict=True)):
        values = dict(zip(kinds, rows[:, column : column + len(kinds)].T, strict=True))
        column += len(kinds)
        order = "".join(kind[0] for kind in kinds if kind.endswith("rotation"))
        angles = np.column_stack([values[f"{axis}rotation"] for axis in order])
        local = Rotation.from_euler(order, angles, degrees=True)
        if parent < 0:
            turns.append(local)
            places[:, j] = np.array(offset) + np.column_stack([values[f"{axis}position"] for axis in "XYZ"])
        else:
            turns.append(turns[parent] * local)
            places[:, j] = places[:, parent] + turns[parent].apply(offset)
    assert ends == 5  # two hands, two feet, one head
    return names, places, step


def test_every_frame_of_the_bvh_is_the_body_models(tmp_path, body):
    rest, motion, _, joints = body
    save_bvh(tmp_path / "rig.bvh", rest, motion)
    names, places, step = read_bvh((tmp_path / "rig.bvh").read_text())
    assert step == pytest.approx(1 / 25) and sorted(names) == sorted(SMPL_JOINTS)
    order = [SMPL_JOINTS.index(name) for name in names]
    np.testing.assert_allclose(places, joints[:, order], atol=1e-4)  # metres


def read_glb(path) -> Motion:
    """The animation of a .glb: rotations of the joints in order, places of the root, times."""
    gltf = GLTF2().load(str(path))
    animation = gltf.animations[0]
    times = read_accessor(gltf, animation.samplers[0].input)[:, 0]
    rotmat, root = np.zeros((len(times), 24, 3, 3)), None
    for channel in animation.channels:
        values = read_accessor(gltf, animation.samplers[channel.sampler].output)
        if channel.target.path == "translation":
            root = values
        else:
            rotmat[:, gltf.skins[0].joints.index(channel.target.node)] = Rotation.from_quat(values).as_matrix()
    return Motion(rotmat, root, times)


def test_both_files_tell_the_same_story_at_all_times(tmp_path, body):
    """A person who comes in at 2 s of a film with 200 ms frames, then 33 ms frames."""
    rest, motion, *_ = body
    motion = motion._replace(times=2 + np.array((0, 0.2, 0.4, 0.433, 0.467)))
    save_bvh(tmp_path / "rig.bvh", rest, motion, rate=25)
    save_rigged_glb(tmp_path / "rig.glb", rest, motion)
    names, places, step = read_bvh((tmp_path / "rig.bvh").read_text())
    times = step * np.arange(len(places))
    assert times[-1] == pytest.approx(2.44) and step == pytest.approx(1 / 25)
    played = resample(read_glb(tmp_path / "rig.glb"), times)  # as players interpolate
    joints = np.zeros_like(places)
    frames = [np.eye(3)] * 24
    for t in range(len(times)):
        for j, parent in enumerate(SMPL_PARENTS):
            offset = rest.joints[j] - (rest.joints[parent] if j else 0)
            frames[j] = (frames[parent] if j else np.eye(3)) @ played.rotmat[t, j]
            joints[t, j] = played.translation[t] if j == 0 else joints[t, parent] + frames[parent] @ offset
    np.testing.assert_allclose(places, joints[:, [SMPL_JOINTS.index(name) for name in names]], atol=1e-3)  # metres
    assert np.ptp(places[times <= 2], axis=0).max() < 1e-6 < np.ptp(places[times > 2], axis=0).max()


def test_resampling_agrees_with_scipy(body):
    _, motion, *_ = body
    times = np.linspace(-0.1, 0.3, 17)
    half = resample(motion, np.array([0.02]))
    first, second = (Rotation.from_matrix(rotmat) for rotmat in motion.rotmat[:2])
    middle = first * Rotation.from_rotvec((first.inv() * second).as_rotvec() / 2)
    np.testing.assert_allclose(half.rotmat[0], middle.as_matrix(), atol=1e-6)
    np.testing.assert_allclose(half.translation[0], motion.translation[:2].mean(0))
    held = resample(motion, times)
    np.testing.assert_allclose(held.rotmat[times <= 0], motion.rotmat[:1].repeat((times <= 0).sum(), 0), atol=1e-6)
    single = Motion(motion.rotmat[:1], motion.translation[:1], np.zeros(1))
    assert resample(single, times).rotmat.shape == (17, 24, 3, 3)


BLENDER = """
import json, sys
import bpy
import numpy as np
folder, frames = sys.argv[-2], int(sys.argv[-1])
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = 25
bpy.ops.import_scene.gltf(filepath=f"{folder}/rig.glb", merge_vertices=False)
mesh = next(o for o in bpy.data.objects if o.type == "MESH" and o.vertex_groups)
vertices = []
for frame in range(frames):
    bpy.context.scene.frame_set(frame)
    seen = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    vertices.append([list(seen.matrix_world @ v.co) for v in seen.data.vertices])
np.save(f"{folder}/vertices.npy", np.array(vertices))
bpy.ops.import_anim.bvh(filepath=f"{folder}/rig.bvh", axis_forward="-Z", axis_up="Y")
rig = bpy.context.object
joints = []
for frame in range(1, frames + 1):
    bpy.context.scene.frame_set(frame)
    joints.append({bone.name: list(rig.matrix_world @ bone.head) for bone in rig.pose.bones})
json.dump(joints, open(f"{folder}/joints.json", "w"))
"""


def test_blender_plays_both(tmp_path, body):
    python = os.environ.get("BLENDER_PYTHON", sys.executable)  # bpy wants another NumPy than this project
    if subprocess.run([python, "-c", "import bpy"], capture_output=True).returncode:
        pytest.skip("needs Blender: pip install bpy into a virtual environment and set BLENDER_PYTHON to its python")
    rest, motion, vertices, joints = body
    save_rigged_glb(tmp_path / "rig.glb", rest, motion)
    save_bvh(tmp_path / "rig.bvh", rest, motion)
    command = [python, "-c", BLENDER, str(tmp_path), str(FRAMES)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr

    def to_blender(points):  # z up
        return points[..., [0, 2, 1]] * (1, -1, 1)

    np.testing.assert_allclose(np.load(tmp_path / "vertices.npy"), to_blender(vertices), atol=1e-3)
    seen = json.loads((tmp_path / "joints.json").read_text())
    for frame in range(FRAMES):
        places = np.array([seen[frame][name] for name in SMPL_JOINTS])
        np.testing.assert_allclose(places, to_blender(joints[frame]), atol=1e-3)
