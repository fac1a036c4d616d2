"""The bodies that a builder poses. They come from outside, as this package does not import models."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Body(Protocol):
    """One body in SMPL layout. pose (B, 72) axis-angle, betas (B, 10); results in metres."""

    name: str
    faces: np.ndarray  # (F, 3)
    confidence: np.ndarray  # (24,) 1 for each J24 keypoint that the body can give, else 0

    def keypoints(self, pose: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """J24 keypoints (B, 24, 3) and SMPL joints (B, 24, 3)."""

    def vertices(self, pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Mesh (B, V, 3)."""

    def root(self, betas: np.ndarray) -> np.ndarray:
        """The root joint in rest pose (B, 3), about which a global rotation turns."""


@dataclass(frozen=True)
class Bodies:
    """The neutral body, and those of male and female if there are such files."""

    neutral: Body
    male: Body | None = None
    female: Body | None = None
    missing: tuple[str, ...] = ()  # genders whose bodies were looked for and are not there

    def of(self, gender: str) -> Body:
        """The body of a gender, else the neutral one."""
        return getattr(self, gender, None) or self.neutral

    def describe(self) -> str:
        """One line for the report."""
        line = f"body {self.neutral.name}"
        if self.missing:
            line += f", also for {' and '.join(self.missing)}, whose files are not beside it"
        count = int(self.neutral.confidence.sum())
        return line if count == 24 else f"{line}; {count} of 24 keypoints, give --keypoint_regressor for more"
