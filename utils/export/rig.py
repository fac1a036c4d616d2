"""Bodies in motion as files that Blender, Unity and Unreal play: a rigged, animated .glb and a .bvh.

Both have y up, metres, by default z towards the viewer and the camera at the origin, and the skeleton of 24 joints,
whose rest pose is the body's own with its arms spread. What skinning cannot say, SMPL's pose-dependent corrections, is
left out; the open body has none.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from utils.export.gltf import Gltf
from utils.files import write_text
from utils.placement.frame import CAMERA, Frame
from utils.skeleton import SMPL_JOINTS, SMPL_PARENTS

INFLUENCES = 8  # joints that move a vertex: two of glTF's sets of four
TIP = 0.3  # of a leaf bone, in lengths of the bone before it
CHILDREN = [[c for c, p in enumerate(SMPL_PARENTS) if p == j] for j in range(len(SMPL_PARENTS))]


class RestBody(NamedTuple):
    """One person's body in the rest pose, canonical frame (y up, faces +z)."""

    vertices: np.ndarray  # (V, 3) metres
    joints: np.ndarray  # (24, 3) metres
    weights: np.ndarray  # (V, 24), rows sum to 1
    faces: np.ndarray  # (F, 3)


class Motion(NamedTuple):
    """Frames of one person, camera frame (y down, z away)."""

    rotmat: np.ndarray  # (T, 24, 3, 3) parent-relative, joint 0 global
    translation: np.ndarray  # (T, 3) metres: body model's output + translation = where the body is
    times: np.ndarray  # (T,) seconds, increasing


class Channel(NamedTuple):
    """Values of one property of a node over time."""

    node: int
    property: str  # translation, rotation or scale
    times: np.ndarray  # (T,) seconds
    values: np.ndarray  # (T, 3), or (T, 4) of a rotation
    interpolation: str = "LINEAR"  # or STEP


def save_rigged_glb(
    path: str | Path, body: RestBody, motion: Motion, colors: np.ndarray | None = None, frame: Frame = CAMERA
):
    """Write a skinned mesh, its skeleton and its animation, atomically. colors (V, 3) uint8 sRGB; frame: the file's."""
    gltf = Gltf()
    joints, mesh = add_rig(gltf, body, colors)
    for node in (joints[0], mesh):
        gltf.add_to_scene(node)
    add_animation(gltf, motion_channels(joints, body, motion, frame))
    gltf.save(path)


def add_rig(gltf: Gltf, body: RestBody, colors: np.ndarray | None = None, name: str = "body") -> tuple[list[int], int]:
    """Add a skinned mesh and its skeleton -> nodes of the 24 joints, the root first, and the node of the mesh."""
    order = np.argsort(-body.weights, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(body.weights, order, 1)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    order = np.where(weights > 0, order, 0).astype(np.uint8)  # unused places point at joint 0, as the standard asks
    sets = {f"JOINTS_{i}": order[:, 4 * i : 4 * i + 4] for i in range(INFLUENCES // 4)}
    sets |= {f"WEIGHTS_{i}": weights[:, 4 * i : 4 * i + 4] for i in range(INFLUENCES // 4)}
    mesh = gltf.add_mesh(body.vertices, body.faces, colors, **sets)

    first = len(gltf.document.get("nodes", ()))
    joints = [gltf.add("nodes", node) for node in _joint_nodes(body.joints, first)]
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, :3, 3] = -body.joints
    skin = gltf.add("skins", {"joints": joints, "skeleton": first, "inverseBindMatrices": gltf.add_array(inverse)})
    return joints, gltf.add("nodes", {"name": name, "mesh": mesh, "skin": skin})


def motion_channels(joints: list[int], body: RestBody, motion: Motion, frame: Frame = CAMERA) -> list[Channel]:
    """The motion of a rig with these nodes."""
    rotmat, root = _in_frame(body, motion, frame)
    turns = [Channel(node, "rotation", motion.times, _quaternions(rotmat[:, j])) for j, node in enumerate(joints)]
    return [Channel(joints[0], "translation", motion.times, root), *turns]


def add_animation(gltf: Gltf, channels: list[Channel]):
    """Add one animation; channels with the same array of times share it."""
    accessors, targets, samplers = {}, [], []
    for channel in channels:
        if id(channel.times) not in accessors:
            accessors[id(channel.times)] = gltf.add_array(channel.times.astype(np.float32), bounds=True)
        output = gltf.add_array(channel.values.astype(np.float32))
        times = accessors[id(channel.times)]
        samplers.append({"input": times, "output": output, "interpolation": channel.interpolation})
        target = {"node": channel.node, "path": channel.property}
        targets.append({"sampler": len(samplers) - 1, "target": target})
    gltf.add("animations", {"name": "motion", "channels": targets, "samplers": samplers})


def save_bvh(path: str | Path, body: RestBody, motion: Motion, rate: float | None = None, frame: Frame = CAMERA):
    """Write skeleton and motion as Biovision hierarchy, in metres, atomically.

    A .bvh has evenly spaced frames that begin at time 0: the motion is resampled to `rate` frames per second (default:
    that of the median step), as players of the .glb interpolate it. Before its first time, the first pose holds.
    """
    if rate is None:
        rate = 1 / np.median(np.diff(motion.times)) if len(motion.times) > 1 else 30
    motion = resample(motion, np.arange(int(motion.times[-1] * rate + 1e-3) + 1) / rate)
    rotmat, root = _in_frame(body, motion, frame)
    lines = ["HIERARCHY", *_bvh_joint(0, body.joints, 0)]
    lines += ["MOTION", f"Frames: {len(rotmat)}", f"Frame Time: {1 / rate:.8f}"]
    angles = Rotation.from_matrix(rotmat.reshape(-1, 3, 3)).as_euler("ZXY", degrees=True)
    angles = angles.reshape(len(rotmat), -1, 3)[:, _depth_first(0)].reshape(len(rotmat), -1)
    lines += [" ".join(f"{value:.6f}" for value in row) for row in np.hstack((root, angles)).tolist()]
    write_text(path, "\n".join(lines) + "\n")


def resample(motion: Motion, times: np.ndarray) -> Motion:
    """The motion at other times: rotations on the shortest way between two frames, places on a line, the first and the
    last held outside, as glTF's LINEAR."""
    if len(motion.times) == 1:
        return Motion(motion.rotmat.repeat(len(times), 0), motion.translation.repeat(len(times), 0), times)
    inside = np.clip(times, motion.times[0], motion.times[-1])
    turns = (Slerp(motion.times, Rotation.from_matrix(joint)) for joint in motion.rotmat.swapaxes(0, 1))
    rotmat = np.stack([turn(inside).as_matrix() for turn in turns], axis=1)
    translation = np.stack([np.interp(inside, motion.times, axis) for axis in motion.translation.T], axis=1)
    return Motion(rotmat, translation, times)


def _in_frame(body: RestBody, motion: Motion, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 24, 3, 3) and places of the root joint (T, 3) in the files' frame."""
    rotmat = motion.rotmat.astype(np.float64).copy()
    rotmat[:, 0] = frame.rotation @ rotmat[:, 0]
    return rotmat, frame.apply((body.joints[0] + motion.translation).astype(np.float64))


def _joint_nodes(joints: np.ndarray, first: int) -> list[dict]:
    nodes = []
    for j, (name, parent) in enumerate(zip(SMPL_JOINTS, SMPL_PARENTS, strict=True)):
        offset = joints[j] - (joints[parent] if j else 0)
        node = {"name": name, "translation": offset.tolist(), "rotation": [0, 0, 0, 1]}
        nodes.append(node | ({"children": [first + c for c in CHILDREN[j]]} if CHILDREN[j] else {}))
    return nodes


def _quaternions(rotmat: np.ndarray) -> np.ndarray:
    """(T, 3, 3) -> (T, 4) x, y, z, w, neighbours on the same side, so that players take the short way between them."""
    quaternions = Rotation.from_matrix(rotmat).as_quat()
    turned = np.sign((quaternions[1:] * quaternions[:-1]).sum(1))
    quaternions[1:] *= np.cumprod(np.where(turned < 0, -1, 1))[:, None]
    return quaternions


def _depth_first(joint: int) -> list[int]:
    return [joint] + [j for child in CHILDREN[joint] for j in _depth_first(child)]


def _bvh_joint(joint: int, joints: np.ndarray, depth: int) -> list[str]:
    indent = "\t" * depth
    parent = SMPL_PARENTS[joint]
    offset = joints[joint] - joints[parent] if joint else np.zeros(3)
    places = "Xposition Yposition Zposition " if joint == 0 else ""
    lines = [f"{indent}{'JOINT' if joint else 'ROOT'} {SMPL_JOINTS[joint]}", f"{indent}{{"]
    lines += [f"{indent}\tOFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}"]
    lines += [f"{indent}\tCHANNELS {6 if joint == 0 else 3} {places}Zrotation Xrotation Yrotation"]
    for child in CHILDREN[joint]:
        lines += _bvh_joint(child, joints, depth + 1)
    if not CHILDREN[joint]:
        tip = TIP * offset
        lines += [f"{indent}\tEnd Site", f"{indent}\t{{"]
        lines += [f"{indent}\t\tOFFSET {tip[0]:.6f} {tip[1]:.6f} {tip[2]:.6f}", f"{indent}\t}}"]
    return [*lines, f"{indent}}}"]
