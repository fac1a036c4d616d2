"""People whom the picture's edge cuts at the waist: the visible half keeps its fit, the other one gets a rest pose.

A network trained on whole people places the hidden half inside the picture, with the body bent forward. Here the half
beyond the edge is straight, and the visible one is fitted again.
"""

import math

import numpy as np
import torch
from torch import Tensor

from models.inference.keypoint_fit import KeypointFit
from utils.camera import Crop
from utils.detect.visibility import HALVES, cut_half, to_pixels, visible_keypoints
from utils.geometry import rotvec_to_rotmat
from utils.skeleton import NUM_JOINTS, SMPL_JOINTS

HANG = 75.0  # degrees from the spread arm of the rest pose down to the hanging one
STEPS = 6  # of the fit
UPSIDE_DOWN = -0.3  # vertical part of the thighs' direction, downwards, below which the trunk is below the legs
HIPS = [SMPL_JOINTS.index(f"{s}_hip") for s in "LR"]


class CutBodies:
    """Second estimates of people of whom one half is cut off. fit: the keypoint fit of the same network."""

    def __init__(self, fit: KeypointFit):
        self.fit = fit

    def __call__(
        self, output: dict[str, Tensor], crops: list[Crop], sizes: list[tuple[int, int]]
    ) -> tuple[dict[str, Tensor], list[str | None]]:
        """Output of a network for B people, on the CPU, with detected_keypoints -> the same with other `pred_` entries
        for those cut off, and the half of HALVES of each, or None. sizes: height, width of their pictures.
        """
        visible, halves = [], []
        for row, (crop, size) in enumerate(zip(crops, sizes, strict=True)):
            keypoints = output["detected_keypoints"][row].numpy()
            visible.append(visible_keypoints(to_pixels(keypoints, crop), *size, 200 * crop.scale))
            edges = np.clip(crop.from_image(np.array(((-0.5, -0.5), (size[1] - 0.5, size[0] - 0.5)))), -1, 1)
            joints, scale = output["pred_joints_2d"][row].numpy(), float(output["pred_cam"][row, 0])
            halves.append(cut_half(visible[-1], joints, scale, edges))
        rows = [row for row, half in enumerate(halves) if half]
        if rows:
            some = {name: value[rows] for name, value in output.items()}
            fitted = self.refit(some, [halves[row] for row in rows], np.stack(visible)[rows])
            index = torch.tensor(rows)
            better = {name: output[name].index_copy(0, index, value.cpu()) for name, value in fitted.items()}
            output = output | better
        return output, halves

    def refit(self, output: dict[str, Tensor], halves: list[str], visible: np.ndarray) -> dict[str, Tensor]:
        """Set one half of each body to rest and fit the other to the visible keypoints (B, 17) bool -> the `pred_`
        entries again."""
        device = self.fit.damping.device
        pairs = zip(output["pred_rotmat"].to(device), halves, strict=True)
        rotmat = torch.stack([at_rest(rotations, half) for rotations, half in pairs])
        locked = torch.zeros(len(halves), NUM_JOINTS, dtype=torch.bool, device=device)
        for row, half in enumerate(halves):
            locked[row, joints_of(half)] = True
        confidence = output["detected_keypoints"][..., 2:] * torch.from_numpy(visible[..., None])
        keypoints = torch.cat((output["detected_keypoints"][..., :2], confidence), dim=-1).to(device)
        betas, cam = output["pred_betas"].to(device), output["pred_cam"].to(device)
        return self.fit.fit(rotmat, betas, cam, keypoints, locked, steps=STEPS)


def joints_of(half: str) -> list[int]:
    """The joints of a half of HALVES, as indices."""
    return [SMPL_JOINTS.index(name) for name in HALVES[half]]


def at_rest(rotmat: Tensor, half: str) -> Tensor:
    """Rotations (24, 3, 3) in the camera frame -> the same with one half of HALVES at rest.

    Legs are straight, in line with the pelvis. An upper body is upright in the picture, its arms hang, and the thighs
    keep their directions; it hangs down if the thighs point up.
    """
    rotmat = rotmat.clone()
    rotmat[joints_of(half)] = torch.eye(3, device=rotmat.device)
    if half == "upper body":
        for s, sign in (("L", -1), ("R", 1)):
            rotmat[SMPL_JOINTS.index(f"{s}_shoulder")] = rotvec_to_rotmat(
                rotmat.new_tensor((0, 0, sign * math.radians(HANG)))
            )
        thighs = rotmat[0] @ rotmat[HIPS]
        down = -thighs[:, 1, 1].mean()  # y points down in the camera frame, and up along a thigh
        rotmat[0] = _upright(rotmat[0], -1.0 if down < UPSIDE_DOWN else 1.0)
        rotmat[HIPS] = rotmat[0].mT @ thighs
    return rotmat


def _upright(root: Tensor, sign: float) -> Tensor:
    """The rotation (3, 3) with the same heading whose y axis points up in the picture; down for sign -1."""
    up = root.new_tensor((0.0, -sign, 0.0))
    front = root[:, 2] - (root[:, 2] @ up) * up
    if front.norm() < 0.1:  # it lies on the back or the front: the head was in the other direction
        front = -root[:, 1] * torch.sign(root[:, 2] @ up)
        front = front - (front @ up) * up
    front = front / front.norm().clamp_min(1e-6)
    return torch.stack((torch.linalg.cross(up, front), up, front), dim=1)
