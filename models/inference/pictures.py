"""Pictures of a training run: keypoints and meshes over crops."""

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from models.criterion import Criterion
from models.features import network_input
from utils.render.panels import keypoint_picture, mesh_picture
from utils.train.batches import to_device

LIMIT = 8  # samples in a picture


def crop_picture(image: torch.Tensor, outputs: dict, targets: dict, faces: np.ndarray) -> np.ndarray:
    """Crops (B, 3, H, W) with keypoints (predicted red, labelled green) above the same crops with meshes -> (2H, ., 3).

    Without the mesh row if the outputs have the vertices of a subsampled body.
    """
    rows = [keypoint_picture(image, outputs["pred_keypoints_2d"], targets["keypoints_2d"], LIMIT)]
    vertices = outputs["pred_vertices"][:LIMIT]
    if vertices.shape[1] > faces.max():
        rows.append(mesh_picture(image[:LIMIT], vertices, faces, outputs["pred_cam"][:LIMIT]))
    return np.concatenate(rows)


@torch.inference_mode()
def validation_picture(
    network: Callable, criterion: Criterion, dataset: Dataset, device: torch.device, faces: np.ndarray
) -> np.ndarray | None:
    """`crop_picture` of the first samples of a data set; None if it has no images or the first rows are damaged.

    network: prepared for inference. criterion: in evaluation mode.
    """
    rows = [dataset[i] for i in range(min(LIMIT, len(dataset)))]
    rows = [{name: value for name, value in row.items() if name != "bad_rows"} for row in rows]
    rows = [row for row in rows if "image" in row]
    if not rows:
        return None
    batch = to_device(default_collate(rows), device)
    return crop_picture(batch["image"], network(network_input(batch)), criterion.targets(batch), faces)
