"""The first estimate, by iterative error feedback from the global image feature (HMR, Kanazawa et al., CVPR 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.body_model import NUM_BETAS
from utils.geometry import rot6d_to_rotmat
from utils.skeleton import NUM_JOINTS


class IterativeRegressor(nn.Module):
    """Global feature (B, F) -> rotation matrices (B, 24, 3, 3), betas (B, 10), weak-perspective camera (B, 3).

    The estimate starts at the mean parameters and is corrected `num_iterations` times by one small MLP. The mean
    parameters are saved with the weights, because the MLP is trained for this start.
    """

    def __init__(
        self,
        feature_dim: int,
        init_pose6d: Tensor,
        init_betas: Tensor,
        init_cam: Tensor,
        hidden_dim: int = 1024,
        dropout: float = 0.5,
        num_iterations: int = 3,
    ):
        super().__init__()
        self.num_iterations = num_iterations
        num_pose = 6 * NUM_JOINTS
        self.fc1 = nn.Linear(feature_dim + num_pose + NUM_BETAS + 3, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.decpose = nn.Linear(hidden_dim, num_pose)
        self.decshape = nn.Linear(hidden_dim, NUM_BETAS)
        self.deccam = nn.Linear(hidden_dim, 3)
        for decoder in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(decoder.weight, gain=0.01)  # the first corrections are small
        self.register_buffer("init_pose6d", init_pose6d.float().reshape(1, num_pose).clone())
        self.register_buffer("init_betas", init_betas.float().reshape(1, NUM_BETAS).clone())
        self.register_buffer("init_cam", init_cam.float().reshape(1, 3).clone())
        self.register_load_state_dict_pre_hook(_keep_mean_params_if_absent)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """feature (B, F) -> joint rotations (B, 24, 3, 3), betas (B, 10), weak-perspective camera (B, 3): s, tx, ty."""
        batch = feature.shape[0]
        pose6d = self.init_pose6d.expand(batch, -1)
        betas = self.init_betas.expand(batch, -1)
        cam = self.init_cam.expand(batch, -1)
        for _ in range(self.num_iterations):
            x = self.dropout(F.relu(self.fc1(torch.cat((feature, pose6d, betas, cam), dim=-1))))
            x = self.dropout(F.relu(self.fc2(x)))
            pose6d = pose6d + self.decpose(x)
            betas = betas + self.decshape(x)
            cam = cam + self.deccam(x)
        return rot6d_to_rotmat(pose6d.float().unflatten(-1, (NUM_JOINTS, 6))), betas.float(), cam.float()


def _keep_mean_params_if_absent(module: IterativeRegressor, state_dict: dict, prefix: str, *_):
    """A converted checkpoint may lack the mean parameters; then the network keeps those it was built with."""
    for name in ("init_pose6d", "init_betas", "init_cam"):
        state_dict.setdefault(prefix + name, getattr(module, name))
