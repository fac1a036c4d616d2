"""Uncertainty of triangulated keypoints: bone lengths, reprojection errors, and triangulation without each camera."""

from dataclasses import dataclass

import numpy as np

from scripts.lib.pose2sim.multiview import Camera, jackknife, low_pass, spread
from utils.skeleton import J24, J24_LIMBS

NAMES = [J24[j] for j in J24_LIMBS]
HIPS = [NAMES.index("L_Hip"), NAMES.index("R_Hip")]
BONES = (("Hip", "Knee"), ("Knee", "Ankle"), ("Shoulder", "Elbow"), ("Elbow", "Wrist"))


@dataclass
class Uncertainty:
    """Uncertainty of T frames from C cameras; lengths in mm.

    points (T, 12): standard error of each keypoint relative to the middle of the hips, where MPJPE aligns; bones: name
    -> mean and standard deviation of the length over time; pixels (C, T, 12): reprojection errors in pixels of the
    video; mm_per_pixel (C,): at the distance of the person.
    """

    points: np.ndarray
    bones: dict[str, tuple[float, float]]
    pixels: np.ndarray
    mm_per_pixel: np.ndarray
    cameras: list[str]

    def label(self) -> str:
        """One line that is printed with every evaluation on these labels."""
        return (
            f"12 limb joints, triangulated from {len(self.cameras)} cameras: each uncertain by "
            f"{np.median(self.points):.0f} mm (median), {np.percentile(self.points, 90):.0f} mm (90 %)"
        )

    def lines(self) -> list[str]:
        """All numbers as lines of text."""
        out = ["bone                     mean +- spread over time, mm     left and right differ by, mm"]
        for a, b in BONES:
            (left, left_std), (right, right_std) = (self.bones[f"{side}_{a} - {side}_{b}"] for side in "LR")
            parts = f"{a} - {b}", f"left {left:.0f} +- {left_std:.0f}, right {right:.0f} +- {right_std:.0f}"
            out.append(f"{parts[0]:24s} {parts[1]:32s} {abs(left - right):.0f}")
        for name in ("L_Hip - R_Hip", "L_Shoulder - R_Shoulder"):
            out.append(f"{name:24s} {self.bones[name][0]:.0f} +- {self.bones[name][1]:.0f}")
        for name, error, scale in zip(self.cameras, self.pixels, self.mm_per_pixel, strict=True):
            median, most = np.percentile(error, (50, 90))
            out.append(
                f"reprojection {name}: median {median:.1f} px = {median * scale:.0f} mm at the person, "
                f"90 % below {most:.1f} px = {most * scale:.0f} mm"
            )
        per_joint = ", ".join(
            f"{name} {value:.0f}" for name, value in zip(NAMES, np.median(self.points, 0), strict=True)
        )
        out.append(f"standard error about the hips (jackknife over cameras), mm: {per_joint}")
        square = np.square(self.points).mean()
        out += [
            self.label(),
            # E|m + e| for independent e: the two directions of e perpendicular to m lengthen m by e^2 / (3 m)
            f"an MPJPE of 100 mm contains {square / 300:.1f} mm of label error if this is independent of the network, "
            f"and has an error of at most {self.points.mean():.0f} mm if it is not",
        ]
        return out

    def numbers(self) -> dict:
        """All numbers for JSON."""
        return {
            "joint_mm": dict(zip(NAMES, np.median(self.points, 0).tolist(), strict=True)),
            "median_mm": float(np.median(self.points)),
            "p90_mm": float(np.percentile(self.points, 90)),
            "bones_mm": {name: {"mean": mean, "std": std} for name, (mean, std) in self.bones.items()},
            "reprojection_px": dict(zip(self.cameras, np.median(self.pixels, (1, 2)).tolist(), strict=True)),
            "mm_per_px": dict(zip(self.cameras, self.mm_per_pixel.tolist(), strict=True)),
        }


def measure(
    points: np.ndarray,
    pixels: np.ndarray,
    confidence: np.ndarray,
    cameras: list[Camera],
    rate: float,
    cutoff: float,
) -> Uncertainty:
    """Uncertainty of points (T, 12, 3), world, metres.

    They were triangulated from pixels (C, T, 12, 2) and confidence (C, T, 12), at `rate` Hz, and smoothed at `cutoff`
    Hz.
    """
    without = np.stack([low_pass(track, rate, cutoff) for track in jackknife(pixels, confidence, cameras)])
    about_hips = without - without[:, :, HIPS].mean(2, keepdims=True)
    bones = [(f"{side}_{a}", f"{side}_{b}") for side in "LR" for a, b in BONES]
    bones += [("L_Hip", "R_Hip"), ("L_Shoulder", "R_Shoulder")]
    lengths = {
        f"{a} - {b}": 1000 * np.linalg.norm(points[:, NAMES.index(a)] - points[:, NAMES.index(b)], axis=-1)
        for a, b in bones
    }
    return Uncertainty(
        points=1000 * spread(about_hips),
        bones={name: (float(length.mean()), float(length.std())) for name, length in lengths.items()},
        pixels=np.stack([np.linalg.norm(c.project(points) - p, axis=-1) for c, p in zip(cameras, pixels, strict=True)]),
        mm_per_pixel=np.array([1000 * c.to_camera(points)[..., 2].mean() / c.matrix[0, 0] for c in cameras]),
        cameras=[camera.name for camera in cameras],
    )
