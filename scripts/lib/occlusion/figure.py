"""Pictures of the occlusion sweep: hidden limb x joint, and maps of a sliding patch."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from scripts.lib.occlusion.patches import LIMBS, limb_keypoints
from utils.files import atomic_path
from utils.skeleton import J14

# joints from the head down, left and right side by side
ORDER = [
    J14.index(name)
    for name in ("Head", "Neck")
    + tuple(f"{side}_{part}" for part in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle") for side in "LR")
]


def draw_limbs(increase: dict[str, np.ndarray], errors: dict[str, np.ndarray], title: str, path: Path):
    """increase, errors: network -> (limbs, 14) mm. A panel of the increase per network, then for each network after
    the first one the difference of the errors under the patch."""
    names = [*increase]
    panels = {name: increase[name] for name in names}
    differences = {f"{name}\nminus {names[0]}, with the patch": errors[name] - errors[names[0]] for name in names[1:]}
    columns = min(len(panels) + len(differences), 3)
    rows = -(-(len(panels) + len(differences)) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.4 * columns, 5.4 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat[len(panels) + len(differences) :]:
        axis.axis("off")
    axes = iter(axes.flat)
    largest = max((np.nanmax(values) for values in panels.values()), default=1.0)
    for name, values in panels.items():
        _matrix(figure, next(axes), values, f"{name}: increase", "OrRd", 0, max(largest, 1), "{:.0f}")
    largest = max((np.nanmax(np.abs(values)) for values in differences.values()), default=1.0)
    for name, values in differences.items():
        _matrix(figure, next(axes), values, name, "RdBu_r", -largest, largest, "{:+.1f}")
    figure.suptitle(title)
    _save(figure, path)


def _matrix(
    figure: plt.Figure, axis: Axes, values: np.ndarray, title: str, colors: str, low: float, high: float, form: str
):
    """Draw values (limbs, 14) as a matrix with numbers; those of the hidden limb's own joints are bold."""
    image = axis.imshow(values[:, ORDER], cmap=colors, vmin=low, vmax=high, aspect="auto")
    for i, limb in enumerate(LIMBS):
        for j, joint in enumerate(ORDER):
            value = values[i, joint]
            if not np.isnan(value):
                weight = "bold" if joint in limb_keypoints(limb) else "normal"
                color = "white" if abs(value) > 0.6 * high else "black"
                style = {"ha": "center", "va": "center", "fontsize": 7, "color": color, "fontweight": weight}
                axis.text(j, i, form.format(value), **style)
    axis.set_xticks(range(len(ORDER)), [J14[j].replace("_", " ") for j in ORDER], rotation=90, fontsize=8)
    axis.set_yticks(range(len(LIMBS)), LIMBS, fontsize=8)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("joint")
    axis.set_ylabel("hidden part")
    figure.colorbar(image, ax=axis, shrink=0.8, label="mm")


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
