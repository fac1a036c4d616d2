"""Keypoint errors of MoveNet, which is trained on real photographs, on synthetic people.

Large errors point to unrealistic pictures or to wrong labels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.movenet import MoveNet
from utils.detect.movenet_decoder import decode_argmax, to_crop_frame
from utils.skeleton import COCO17, J24, J24_FLIP, J24_LIMBS

LIMBS = list(J24_LIMBS)
TO_COCO = [COCO17.index(J24[j].replace("L_", "left_").replace("R_", "right_").lower()) for j in LIMBS]
MIRRORED = [J24_FLIP[j] for j in LIMBS]
INPUT_SIZE = 256
NEAR, APART = 0.1, 0.06  # sides of the box around all keypoints


def estimate_limbs(movenet: MoveNet, images: Tensor) -> np.ndarray:
    """ImageNet-normalised crops (B, 3, 224, 224) -> limb keypoints (B, 12, 2) of MoveNet in the crop frame."""
    size = (INPUT_SIZE, INPUT_SIZE)
    with torch.inference_mode():
        larger = torch.nn.functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
        keypoints = to_crop_frame(decode_argmax(movenet(larger).heatmaps), size)
    return keypoints[:, TO_COCO, :2].numpy()


@dataclass
class Comparison:
    """Errors on N people, in units of the longer side of the box around all 24 keypoints.

    error (N, 12): distances of the limb keypoints from their labels, NaN for those that are not visible; judged (N,):
    enough keypoints distinguish left from right; mirrored (N,): judged, and left and right are swapped.
    """

    error: np.ndarray
    judged: np.ndarray
    mirrored: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Comparison":
        return Comparison(self.error[chosen], self.judged[chosen], self.mirrored[chosen])

    def pck(self, threshold: float) -> float:
        """Share of the visible keypoints whose error is below the threshold."""
        return float((self.error[~np.isnan(self.error)] < threshold).mean())

    def summary(self) -> dict:
        """Numbers to print and save; `_pm` is half of a 95 % confidence interval over independent people."""
        visible = ~np.isnan(self.error)
        people, swapped = int(self.judged.sum()), float(self.mirrored[self.judged].mean())
        return {
            "people": len(self.error),
            "pck@0.05": self.pck(0.05),
            "pck@0.05_pm": self._spread(0.05),
            "pck@0.1": self.pck(0.1),
            "pck@0.1_pm": self._spread(0.1),
            "judged": people,
            "swapped": swapped,
            "swapped_pm": 1.96 * float(np.sqrt(swapped * (1 - swapped) / people)),
            "per_joint_pck@0.1": {
                J24[j]: float((self.error[visible[:, j], j] < 0.1).mean()) for j in LIMBS if visible[:, j].any()
            },
        }

    def _spread(self, threshold: float) -> float:
        """Half of the 95 % interval of a ratio of sums over people, because the errors of a person are correlated."""
        visible = (~np.isnan(self.error)).sum(1)
        residual = (self.error < threshold).sum(1) - self.pck(threshold) * visible
        return 1.96 * float(np.sqrt((residual**2).sum()) / visible.sum())


def compare(predicted: np.ndarray, labels: np.ndarray) -> Comparison:
    """Compare predicted (N, 12, 2) with labels (N, 24, 3), crop frame; only visible keypoints (confidence 1) count.

    A person is mirrored if most keypoints are near the label of the other side. Only keypoints count that are
    visible on both sides and have some distance; people with fewer than 4 of them are not judged.
    """
    xy, visible = labels[:, LIMBS, :2], labels[:, LIMBS, 2] == 1
    size = np.ptp(labels[..., :2], axis=1).max(-1)[:, None]
    error = np.linalg.norm(predicted - xy, axis=-1) / size
    exchanged = np.linalg.norm(predicted - xy[:, MIRRORED], axis=-1) / size
    usable = visible & visible[:, MIRRORED] & (np.linalg.norm(xy - xy[:, MIRRORED], axis=-1) / size > APART)
    judged = usable.sum(1) >= 4
    swapped = usable & (exchanged < error) & (exchanged < NEAR)
    return Comparison(np.where(visible, error, np.nan), judged, judged & (swapped.sum(1) > 0.5 * usable.sum(1)))
