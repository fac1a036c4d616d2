"""Pictures of the occlusion sweep: hidden limb x joint, and maps of a sliding patch."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from scripts.lib.occlusion.patches import LIMBS, limb_keypoints
from utils.files import atomic_path
from utils.skeleton import J14

# joints from the head down, left and right side by side
ORDER = [
    J14.index(name)
    for name in ("Head", "Neck")
    + tuple(f"{side}_{part}" for part in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle") for side in "LR")
]


def draw_limbs(increase: dict[str, np.ndarray], title: str, path: Path):
    """increase: network -> (limbs, 14) mm. One panel per network, then the difference of each from the first."""
    names = [*increase]
    panels = {name: (increase[name], False) for name in names}
    panels |= {f"{name}\nminus {names[0]}": (increase[name] - increase[names[0]], True) for name in names[1:]}
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.4 * columns, 5.4 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    largest = np.nanmax([np.abs(values).max() if values.size else 0 for values in increase.values()])
    gap = max((np.nanmax(np.abs(values)) for values, signed in panels.values() if signed), default=1.0) or 1.0
    for axis, (name, (values, signed)) in zip(axes.flat, panels.items(), strict=False):
        limit = gap if signed else largest
        image = axis.imshow(values[:, ORDER], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        for i, limb in enumerate(LIMBS):
            for j, joint in enumerate(ORDER):
                value = values[i, joint]
                if np.isnan(value):
                    continue
                bold = "bold" if joint in limb_keypoints(limb) else "normal"
                color = "white" if abs(value) > 0.6 * limit else "black"
                text = f"{value:.1f}" if signed else f"{value:.0f}"
                axis.text(j, i, text, ha="center", va="center", fontsize=7, color=color, fontweight=bold)
        axis.set_xticks(range(len(ORDER)), [J14[j].replace("_", " ") for j in ORDER], rotation=90, fontsize=8)
        axis.set_yticks(range(len(LIMBS)), LIMBS, fontsize=8)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("joint")
        axis.set_ylabel("hidden part")
        figure.colorbar(image, ax=axis, shrink=0.8, label="mm")
    figure.suptitle(title)
    _save(figure, path)


def draw_maps(increase: dict[str, np.ndarray], title: str, path: Path):
    """increase: network -> (n * n, 14) mm, by place of the patch, row by row. Two rows of seven maps per network."""
    side = round(len(next(iter(increase.values()))) ** 0.5)
    limit = max(np.nanmax(np.abs(values)) for values in increase.values()) or 1.0
    figure = plt.figure(figsize=(14, 4.6 * len(increase)), layout="constrained")
    for block, (name, values) in zip(np.atleast_1d(figure.subfigures(len(increase), 1)), increase.items(), strict=True):
        axes = block.subplots(2, 7)
        for axis, joint in zip(axes.T.flat, ORDER, strict=True):
            grid = values[:, joint].reshape(side, side)
            image = axis.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axis.set_title(J14[joint].replace("_", " "), fontsize=9)
            axis.set_xticks([]), axis.set_yticks([])
        block.colorbar(image, ax=axes, shrink=0.8, label="mm")
        block.suptitle(name, fontsize=11)
    figure.suptitle(title)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)
