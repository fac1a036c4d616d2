"""How well a network trained on real people reads synthetic ones: errors of rendering and labels that eyes miss."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from utils.detect.movenet_decoder import decode_argmax, to_crop_frame
from utils.skeleton import COCO17, J24, J24_FLIP, J24_LIMBS

LIMBS = list(J24_LIMBS)
TO_COCO = [COCO17.index(J24[j].replace("L_", "left_").replace("R_", "right_").lower()) for j in LIMBS]
MIRRORED = [J24_FLIP[j] for j in LIMBS]
INPUT_SIZE = 256
NEAR, APART = 0.1, 0.06  # of the box around all keypoints


def read_people(movenet, images: Tensor) -> np.ndarray:
    """ImageNet-normalised crops (B, 3, 224, 224) -> limb keypoints (B, 12, 2) in the crop frame, by MoveNet."""
    size = (INPUT_SIZE, INPUT_SIZE)
    with torch.inference_mode():
        larger = torch.nn.functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
        keypoints = to_crop_frame(decode_argmax(movenet(larger).heatmaps), size)
    return keypoints[:, TO_COCO, :2].numpy()


@dataclass
class Reading:
    """How well N people were read; distances in units of the longer side of the box around all 24 keypoints.

    error (N, 12) of the limb keypoints, NaN where they are not visible; judged (N,): enough keypoints tell left from
    right; mirrored (N,): judged, and read with left and right exchanged.
    """

    error: np.ndarray
    judged: np.ndarray
    mirrored: np.ndarray

    def __getitem__(self, chosen) -> "Reading":
        return Reading(self.error[chosen], self.judged[chosen], self.mirrored[chosen])

    def pck(self, threshold: float) -> float:
        """Share of visible keypoints found within the threshold."""
        return float((self.error[~np.isnan(self.error)] < threshold).mean())

    def summary(self) -> dict:
        """Numbers to print and keep; `_pm` is half a 95 % interval, people being independent draws."""
        seen = ~np.isnan(self.error)
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
                J24[j]: float((self.error[seen[:, j], j] < 0.1).mean()) for j in LIMBS if seen[:, j].any()
            },
        }

    def _spread(self, threshold: float) -> float:
        """Keypoints of a person go wrong together: the interval of a ratio of sums over people."""
        seen = (~np.isnan(self.error)).sum(1)
        residual = (self.error < threshold).sum(1) - self.pck(threshold) * seen
        return 1.96 * float(np.sqrt((residual**2).sum()) / seen.sum())


def compare(predicted: np.ndarray, labels: np.ndarray) -> Reading:
    """predicted (N, 12, 2) against labels (N, 24, 3), crop frame; only visible keypoints (confidence 1) count.

    A person is mirrored when most keypoints are found where their mirror image is, counting those that are visible on
    both sides and well apart; people with fewer than 4 of them are not judged.
    """
    xy, visible = labels[:, LIMBS, :2], labels[:, LIMBS, 2] == 1
    size = np.ptp(labels[..., :2], axis=1).max(-1)[:, None]
    error = np.linalg.norm(predicted - xy, axis=-1) / size
    exchanged = np.linalg.norm(predicted - xy[:, MIRRORED], axis=-1) / size
    usable = visible & visible[:, MIRRORED] & (np.linalg.norm(xy - xy[:, MIRRORED], axis=-1) / size > APART)
    judged = usable.sum(1) >= 4
    taken = usable & (exchanged < error) & (exchanged < NEAR)
    return Reading(np.where(visible, error, np.nan), judged, judged & (taken.sum(1) > 0.5 * usable.sum(1)))
