"""What the networks of this folder that work on another network's estimate have in common."""

from torch import Tensor, nn

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


def without_features(output: dict) -> dict[str, Tensor]:
    """The `pred_` and `detected_` entries of the output of `MeshRecovery`."""
    return {name: value for name, value in output.items() if name.startswith(("pred_", "detected_"))}
