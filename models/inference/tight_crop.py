"""Tight crop: leave out the border of the crop, and enlarge the rest to the size of the input.

People are then 1.09 times as large in the network's input, and details are clearer than in crops with a wide margin.
"""

import torch.nn.functional as F
from torch import Tensor

from models.inference.refinement import Refinement, without_features

BORDER = 0.04  # of the side, left out on each of the four sides; chosen on synthetic validation people
FLAT = ("pred_joints_2d", "pred_keypoints_2d", "detected_keypoints")  # entries whose x, y are in the crop frame


class TightCrop(Refinement):
    """A network whose estimate is that of the enlarged middle of the image."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image (B, 3, H, H) -> the `pred_` and `detected_` entries of `MeshRecovery` in the frame of the image.

        Features cannot be enlarged.
        """
        size = image.shape[-1]
        border = round(BORDER * size)
        middle = image[..., border : size - border, border : size - border]
        output = without_features(self.network(F.interpolate(middle, size=(size, size), mode="bilinear")))
        side = (size - 2 * border) / size  # of the middle, in sides of the image
        # x = s (X + t): a smaller scale s alone moves all points
        output["pred_cam"] = output["pred_cam"] * output["pred_cam"].new_tensor((side, 1, 1))
        for name in output.keys() & FLAT:
            rest = (1,) * (output[name].shape[-1] - 2)
            output[name] = output[name] * output[name].new_tensor((side, side, *rest))
        return output
