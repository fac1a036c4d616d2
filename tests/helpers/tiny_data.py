"""A body of 120 vertices and sets of a few noise pictures: everything a run reads, at hardly any cost."""

from pathlib import Path

import cv2
import numpy as np

from datasets.human_mesh import format_label
from datasets.tsv import TSVWriter
from utils.skeleton import SMPL_PARENTS

NUM_VERTICES = 120


def write_body(path: Path) -> Path:
    """A cloud of points around 24 joints in SMPL layout, and a regressor: so small that it costs no time."""
    random = np.random.RandomState(0)
    joints = random.uniform(-0.6, 0.6, (24, 3))
    owner = np.arange(NUM_VERTICES) % 24
    np.savez(
        path / "tiny_body.npz",
        v_template=joints[owner] + random.uniform(-0.1, 0.1, (NUM_VERTICES, 3)),
        shapedirs=random.normal(0, 0.02, (NUM_VERTICES, 3, 10)),
        posedirs=np.zeros((NUM_VERTICES, 3, 207)),
        J_regressor=np.eye(24)[:, owner] / (NUM_VERTICES / 24),
        weights=np.eye(24)[owner],
        kintree_table=np.stack((np.array(SMPL_PARENTS) % 2**32, np.arange(24))),
        f=random.randint(0, NUM_VERTICES, (200, 3)),
    )
    np.save(path / "tiny_j17.npy", random.dirichlet(np.ones(NUM_VERTICES), 17).astype(np.float32))
    return path


def write_set(yaml_file: Path, size: int, seed: int, labels: tuple[str, ...] = ("2d", "3d", "smpl")):
    """Noise pictures with made-up labels; every third row has no SMPL, every fourth no 3D keypoints."""
    random = np.random.RandomState(seed)
    with TSVWriter(yaml_file) as writer:
        for i in range(size):
            _, jpeg = cv2.imencode(".jpg", random.randint(0, 256, (120, 100, 3), dtype=np.uint8))
            given = {}
            if "2d" in labels:
                given["keypoints_2d"] = np.c_[random.uniform(10, 90, (24, 2)), np.ones(24)]
            if "3d" in labels and i % 4 != 3:
                given["keypoints_3d"] = np.c_[random.uniform(-0.5, 0.5, (24, 3)), np.ones(24)]
            if "smpl" in labels and i % 3 != 2:
                given |= {"pose": random.normal(0, 0.3, 72), "betas": random.normal(0, 1, 10)}
            label = format_label((50, 60), 0.6, **given)
            writer.add(f"{yaml_file.stem}_{i}", jpeg.tobytes(), label, height=120, width=100)


def flags_of(place: Path) -> list[str]:
    """Flags of main.py for a run in a folder with `write_body` and sets in data/."""
    body = ["--smpl_path=tiny_body.npz", "--keypoint_regressor=tiny_j17.npy", "--mean_params=none"]
    return [*body, "--data_root=data", "--hrnet_type=w18", "--num_workers=1", "--device=cpu", "--log_root=logs"]
