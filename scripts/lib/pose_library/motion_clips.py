"""Readers of motion capture files: BVH, DeepMimic's text format and 0 A.D.'s PSA. Each returns a `Clip`.

Clips are in the frame of the body model: y up; a person in the rest pose faces +z with the left side at +x. Rotations
are global and relative to the rest pose, so that they do not depend on the bone axes of a format.
"""

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from utils.errors import UserError


@dataclass(frozen=True)
class Clip:
    """Motion of one skeleton: T frames, B bones. Lengths are in the units of the file.

    bones: B names; rest (B, 3): joint positions of the rest pose; positions (T, B, 3): joint positions;
    rotations (T, B, 3, 3): global rotation of every bone from the rest pose; seconds_per_frame: the time step.
    """

    name: str
    bones: tuple[str, ...]
    rest: np.ndarray
    positions: np.ndarray
    rotations: np.ndarray
    seconds_per_frame: float

    def subsample(self, seconds: float) -> "Clip":
        """The same clip with frames about `seconds` apart."""
        step = max(1, round(seconds / self.seconds_per_frame))
        return replace(
            self,
            positions=self.positions[::step],
            rotations=self.rotations[::step],
            seconds_per_frame=step * self.seconds_per_frame,
        )

    def rest_from_first_frame(self) -> "Clip":
        """The clip without its first frame, which becomes the rest pose: some data sets put a T pose there."""
        rotations = self.rotations[1:] @ self.rotations[0].swapaxes(-1, -2)
        return replace(self, rest=self.positions[0], positions=self.positions[1:], rotations=rotations)


def forward_kinematics(
    parents: tuple[int, ...], offsets: np.ndarray, local: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """parents (B), offsets (B, 3) from the parent, local rotations (T, B, 3, 3), root (T, 3)
    -> global rotations (T, B, 3, 3), joint positions (T, B, 3)."""
    rotations, positions = np.empty_like(local), np.empty(local.shape[:3])
    for j, parent in enumerate(parents):
        if parent < 0:
            rotations[:, j], positions[:, j] = local[:, j], root
        else:
            rotations[:, j] = rotations[:, parent] @ local[:, j]
            positions[:, j] = positions[:, parent] + rotations[:, parent] @ offsets[j]
    return rotations, positions


def _rest_positions(parents: tuple[int, ...], offsets: np.ndarray) -> np.ndarray:
    return forward_kinematics(parents, offsets, np.tile(np.eye(3), (1, len(parents), 1, 1)), np.zeros((1, 3)))[1][0]


def read_bvh(path: str | Path) -> Clip:
    """Read a Biovision hierarchy file whose rest pose, with all channels zero, faces +z with y up.

    End sites become bones with the name of their parent and `_end`.
    """
    try:
        tokens = Path(path).read_text().split()
        motion = tokens.index("MOTION")
        bones, parents, offsets, channels, stack = [], [], [], [], []
        for i, token in enumerate(tokens[:motion]):
            if token in ("ROOT", "JOINT", "End"):
                parents.append(stack[-1] if stack else -1)
                bones.append(f"{bones[parents[-1]]}_end" if token == "End" else tokens[i + 1])
                channels.append([])
            elif token == "{":
                stack.append(len(bones) - 1)
            elif token == "}":
                stack.pop()
            elif token == "OFFSET":
                offsets.append([float(t) for t in tokens[i + 1 : i + 4]])
            elif token == "CHANNELS":
                channels[-1] = tokens[i + 2 : i + 2 + int(tokens[i + 1])]
        frames, seconds = int(tokens[motion + 2]), float(tokens[motion + 5])
        width = sum(map(len, channels))  # some files have one frame more than they declare
        values = np.array(tokens[motion + 6 :][: frames * width], dtype=float).reshape(frames, width)
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not a readable BVH file ({error}); fetch it again") from error
    if not np.isfinite(values).all():
        raise UserError(f"{path} has nonfinite numbers; fetch it again")

    local = np.tile(np.eye(3), (frames, len(bones), 1, 1))
    root, column = np.zeros((frames, 3)), 0
    for j, names in enumerate(channels):
        block = values[:, column : column + len(names)]
        column += len(names)
        order = [k for k, name in enumerate(names) if name.endswith("rotation")]
        if order:
            # upper case: intrinsic, in the order in which the channels are listed
            axes = "".join(names[k][0] for k in order)
            local[:, j] = Rotation.from_euler(axes, block[:, order], degrees=True).as_matrix()
        if parents[j] < 0:
            root = block[:, [names.index(f"{axis}position") for axis in "XYZ"]]
    offsets = np.array(offsets)
    rotations, positions = forward_kinematics(tuple(parents), offsets, local, root)
    rest = _rest_positions(tuple(parents), offsets)
    return Clip(Path(path).stem, tuple(bones), rest, positions, rotations, seconds)


# The humanoid of DeepMimic (Peng et al., SIGGRAPH 2018): it faces +x with y up, the right side at +z and hanging arms.
# Knees and elbows rotate about z. Offsets are in metres. Wrists are fixed and mark the end of the forearm.
_DEEPMIMIC = (
    ("root", "", (0, 0, 0), 4), ("chest", "root", (0, 0.236151, 0), 4), ("neck", "chest", (0, 0.223894, 0), 4),
    ("right_hip", "root", (0, 0, 0.084887), 4), ("right_knee", "right_hip", (0, -0.421546, 0), 1),
    ("right_ankle", "right_knee", (0, -0.40987, 0), 4),
    ("right_shoulder", "chest", (-0.02405, 0.2435, 0.18311), 4),
    ("right_elbow", "right_shoulder", (0, -0.274788, 0), 1),
    ("left_hip", "root", (0, 0, -0.084887), 4), ("left_knee", "left_hip", (0, -0.421546, 0), 1),
    ("left_ankle", "left_knee", (0, -0.40987, 0), 4),
    ("left_shoulder", "chest", (-0.02405, 0.2435, -0.18311), 4),
    ("left_elbow", "left_shoulder", (0, -0.274788, 0), 1),
    ("right_wrist", "right_elbow", (0, -0.258947, 0), 0), ("left_wrist", "left_elbow", (0, -0.258947, 0), 0),
)  # fmt: skip


def read_deepmimic(path: str | Path) -> Clip:
    """Read a motion of DeepMimic's humanoid: JSON with 44 numbers per frame.

    These are seconds, the root position, and for each joint a quaternion w x y z or a hinge angle in radians.
    """
    try:
        frames = np.array(json.loads(Path(path).read_text())["Frames"], dtype=float)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a readable DeepMimic motion ({error}); fetch it again") from error
    if frames.ndim != 2 or frames.shape[1] != 44 or not np.isfinite(frames).all():
        raise UserError(f"{path} has frames of shape {frames.shape}, expected (T, 44) finite numbers; fetch it again")
    names = tuple(name for name, *_ in _DEEPMIMIC)
    parents = tuple(names.index(parent) if parent else -1 for _, parent, *_ in _DEEPMIMIC)
    offsets = np.array([offset for _, _, offset, _ in _DEEPMIMIC], dtype=float)
    local = np.tile(np.eye(3), (len(frames), len(names), 1, 1))
    column = 4
    for j, (_, _, _, size) in enumerate(_DEEPMIMIC):
        block = frames[:, column : column + size]
        if size == 4:
            local[:, j] = Rotation.from_quat(block[:, [1, 2, 3, 0]]).as_matrix()
        elif size == 1:
            local[:, j] = Rotation.from_euler("z", block[:, :1]).as_matrix()
        column += size
    rotations, positions = forward_kinematics(parents, offsets, local, frames[:, 1:4])
    rest = _rest_positions(parents, offsets)
    to_body = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    return Clip(
        Path(path).stem, names, rest @ to_body.T, positions @ to_body.T, to_body @ rotations @ to_body.T,
        float(np.median(frames[:-1, 0])) if len(frames) > 1 else 1 / 30,
    )  # fmt: skip


# Bones of 0 A.D.'s biped for parts of the body: name -> index in the file. The other bones hold equipment.
_ZERO_AD = {
    "hip": 0, "spine": 1, "spine1": 2, "chest": 3, "shoulder_L": 4, "arm_L": 5, "forearm_L": 6, "hand_L": 7,
    "finger_L": 8, "neck": 15, "head": 16, "shoulder_R": 19, "arm_R": 20, "forearm_R": 21, "hand_R": 22, "finger_R": 23,
    "thigh_L": 30, "leg_L": 31, "foot_L": 32, "thigh_R": 33, "leg_R": 34, "foot_R": 35,
}  # fmt: skip
_ZERO_AD_BONES = 46


def _zero_ad_states(data: bytes, offset: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` x 46 bone states (x y z, quaternion x y z w) in 0 A.D.'s left-handed frame
    -> positions (count, 22, 3), global rotations (count, 22, 3, 3), right-handed."""
    states = np.frombuffer(data, "<f4", count * _ZERO_AD_BONES * 7, offset).reshape(count, _ZERO_AD_BONES, 7)
    states = states[:, list(_ZERO_AD.values())].astype(float)
    if not np.isfinite(states).all():
        raise ValueError("nonfinite numbers")
    # Left-handed, facing -z: negating z gives a right-handed frame that faces +z with the left side at +x.
    rotations = Rotation.from_quat((states[..., 3:] * (-1, -1, 1, 1)).reshape(-1, 4)).as_matrix()
    return states[..., :3] * (1, 1, -1), rotations.reshape(count, -1, 3, 3)


def read_pmd_rest(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Rest pose of 0 A.D.'s biped from a PMD mesh file -> positions (22, 3), global rotations (22, 3, 3)."""
    try:
        data = Path(path).read_bytes()
        magic, version, _, vertices, uv_sets = struct.unpack_from("<4sIIII", data)
        if magic != b"PSMD" or version != 4:
            raise ValueError("not a PMD file of version 4")
        offset = 20 + vertices * (44 + 8 * uv_sets)
        (faces,) = struct.unpack_from("<I", data, offset)
        offset += 4 + 6 * faces
        if struct.unpack_from("<I", data, offset) != (_ZERO_AD_BONES,):
            raise ValueError("not a mesh of the biped")
        positions, rotations = _zero_ad_states(data, offset + 4, 1)
    except (OSError, ValueError, struct.error) as error:
        raise UserError(f"{path} is not a readable PMD mesh of 0 A.D.'s biped ({error}); fetch it again") from error
    return positions[0], rotations[0]


def read_psa(path: str | Path, rest: tuple[np.ndarray, np.ndarray]) -> Clip:
    """Read an animation of 0 A.D.'s biped (PSA, 46 bones); rest: the rest pose from `read_pmd_rest`."""
    try:
        data = Path(path).read_bytes()
        magic, version, _, length = struct.unpack_from("<4sIII", data)
        if magic != b"PSSA" or version != 1:
            raise ValueError("not a PSA file of version 1")
        milliseconds, bones, frames = struct.unpack_from("<fII", data, 16 + length)
        if bones != _ZERO_AD_BONES:
            raise ValueError(f"{bones} bones, expected {_ZERO_AD_BONES}")
        positions, rotations = _zero_ad_states(data, 28 + length, frames)
    except (OSError, ValueError, struct.error) as error:
        raise UserError(f"{path} is not a readable PSA animation ({error}); fetch it again") from error
    relative = rotations @ rest[1].swapaxes(-1, -2)
    name = Path(path).name.split(".")[0]
    return Clip(name, tuple(_ZERO_AD), rest[0], positions, relative, milliseconds / 1000)
