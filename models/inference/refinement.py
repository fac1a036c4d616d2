"""What the networks of this folder that work on another network's estimate have in common."""

from torch import nn

from models.body_model import BodyModel
from models.mesh_recovery import BodyNetwork


class Refinement(nn.Module):
    """A network that corrects the estimate of another one, with the same body."""

    def __init__(self, network: BodyNetwork):
        super().__init__()
        self.network, self.estimate = network, network.estimate

    @property
    def body_model(self) -> BodyModel:
        return self.network.body_model
