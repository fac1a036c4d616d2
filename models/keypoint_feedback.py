"""Feedback from a 2D detector: where it sees the joints, and where the estimate has put them.

An estimate that can see its own error corrects it, over and over (Carreira et al., CVPR 2016; ReFit, Wang and
Daniilidis, ICCV 2023). Here the error is the whole vector from each projected joint to the detected keypoint, however
far away, weighted by how sure the detector is.
"""

import torch
from torch import Tensor, nn

from models.body_model import NUM_JOINTS
from utils.skeleton import COCO17, COCO17_TO_SMPL

NUM_KEYPOINTS = len(COCO17)
COCO_LIMBS, SMPL_LIMBS = zip(*COCO17_TO_SMPL.items(), strict=True)
# an error of a fifth of the crop's half side is large; as an input it should be about one
ERROR_GAIN = 5.0


class KeypointFeedback(nn.Module):
    """Detected keypoints and projected joints -> an addition to every token; zero before training."""

    def __init__(self, num_tokens: int, dim: int, hidden_dim: int = 256):
        super().__init__()
        num_inputs = 3 * NUM_KEYPOINTS + 2 * NUM_JOINTS + 2 * len(SMPL_LIMBS)
        self.encode = nn.Sequential(nn.Linear(num_inputs, hidden_dim), nn.GELU())
        self.decode = nn.Linear(hidden_dim, num_tokens * dim)
        self.num_tokens = num_tokens
        self.register_buffer("coco_limbs", torch.tensor(COCO_LIMBS), persistent=False)
        self.register_buffer("smpl_limbs", torch.tensor(SMPL_LIMBS), persistent=False)
        nn.init.zeros_(self.decode.weight)
        nn.init.zeros_(self.decode.bias)

    def forward(self, keypoints: Tensor, joints_2d: Tensor) -> Tensor:
        """keypoints (B, 17, 3): x, y in [-1, 1], confidence; joints_2d (B, 24, 2) in [-1, 1] -> (B, N, C).

        No gradient flows back into the joints: the estimate is an observation here, as in ReFit.
        """
        joints_2d = joints_2d.detach().clamp(-3, 3)  # a diverged estimate must not drown the rest
        limbs = keypoints.index_select(1, self.coco_limbs)
        error = ERROR_GAIN * limbs[..., 2:] * (limbs[..., :2] - joints_2d.index_select(1, self.smpl_limbs))
        observed = torch.cat((keypoints.flatten(1), joints_2d.flatten(1), error.flatten(1)), dim=1)
        return self.decode(self.encode(observed)).unflatten(1, (self.num_tokens, -1))
