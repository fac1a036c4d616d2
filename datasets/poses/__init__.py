"""Poses of synthetic people: a library of captured poses, and a sampler that varies them."""

from datasets.poses.kinematics import joint_positions
from datasets.poses.library import PoseLibrary, load_pose_library, mirror
from datasets.poses.sampler import JOINT_LIMITS, PoseSampler, nearest_distances, within_limits

__all__ = [
    "JOINT_LIMITS", "PoseLibrary", "PoseSampler", "joint_positions", "load_pose_library", "mirror", "nearest_distances",
    "within_limits",
]  # fmt: skip
