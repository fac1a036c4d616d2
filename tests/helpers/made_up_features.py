"""Cached features of made-up people."""

import torch

from datasets.feature_cache import shard_path, write_shard


def write_people(folder, count: int, seed: int = 0, flags: bool = True, covered: bool = False):
    """Made-up people; without flags they have 2D keypoints alone, as annotated photographs do."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(count, *shape, generator=generator)

    features = {"map16": random(200, 14, 14), "map32": random(344, 7, 7), "pooled": random(1331)}
    features |= {"points": random(17, 344), "keypoints": random(17, 3).clamp(-1, 1)}
    features |= {"points_corners": random(17, 344), "trunk8": random(56, 28, 28)}
    labels = {"keypoints_2d": random(24, 3), "keypoints_3d": random(24, 4), "pose": 0.3 * random(72)}
    labels |= {"betas": random(10)}
    labels["keypoints_2d"][..., 2] = labels["keypoints_3d"][..., 3] = 1
    if covered:  # as in scripts.lib.occlusion.sweep.OccludedPeople, a wrist and an elbow of every second row
        labels["keypoints_2d"][1::2, 6:8, 2] = 0.25
    if not flags:
        labels |= {f"has_{name}": torch.zeros(count).bool() for name in ("smpl", "keypoints_3d")}
        labels["keypoints_2d"][:, ::2, 2] = 0
    folder.mkdir(exist_ok=True)
    write_shard(shard_path(folder, 0), features, labels, {})
