"""Figures of joint-to-joint matrices: the joint prior alone, or all terms of a trained joint graph."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from utils.files import atomic_path
from utils.skeleton import SMPL_JOINTS, SMPL_PARENTS

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
ARM = ("collar", "shoulder", "elbow", "wrist", "hand")
LEG = ("hip", "knee", "ankle", "foot")
LIMBS = [TRUNK, *([f"{side}_{name}" for name in limb] for limb in (ARM, LEG) for side in "LR")]
PRIOR_LIMIT = 3.0  # standard deviations; the colours saturate there
NUM_EDGES = 16  # strongest edges drawn over a picture
TERMS = {"tree": "by distance in the kinematic tree", "prior": "the prior, weighted", "learned": "free"}
LARGER, SMALLER = "#d6301f", "#2166ac"


class GraphOfPerson(NamedTuple):
    """The graph of one person: picture (H, W, 3) uint8 RGB of the crop, its joints (24, 2) in pixels of this picture,
    terms by name, (24, 24) each."""

    picture: np.ndarray
    joints: np.ndarray
    terms: dict[str, np.ndarray]


def centred(scores: np.ndarray) -> np.ndarray:
    """(24, 24) minus the mean of each row: a softmax ignores what is added to a whole row."""
    return scores - scores.mean(1, keepdims=True)


def color_limit(matrices: Iterable[np.ndarray]) -> float:
    """End of a symmetric colour scale: the 99th percentile, so that a few large entries do not hide the others."""
    return float(np.percentile(np.abs(np.stack(list(matrices))), 99)) or 1.0


def draw_matrix(axis: Axes, matrix: np.ndarray, title: str, limit: float) -> AxesImage:
    """Draw a matrix (24, 24) in the order of SMPL_JOINTS, grouped by limb, with names and borders."""
    order = [SMPL_JOINTS.index(name) for limb in LIMBS for name in limb]
    names = [SMPL_JOINTS[i] for i in order]
    image = axis.imshow(matrix[np.ix_(order, order)], cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set_title(title)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    for border in np.cumsum([len(limb) for limb in LIMBS])[:-1] - 0.5:
        axis.axhline(border, color="black", linewidth=0.5)
        axis.axvline(border, color="black", linewidth=0.5)
    return image


def draw_prior(matrices: dict[str, np.ndarray], title: str, path: Path):
    """matrices: title -> (24, 24) in standard deviations. Writes a PNG."""
    columns = 3
    rows = -(-len(matrices) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.4 * columns, 5.2 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat[len(matrices) :]:
        axis.axis("off")
    for axis, (name, matrix) in zip(axes.flat, matrices.items(), strict=False):
        image = draw_matrix(axis, matrix, name, PRIOR_LIMIT)
    figure.colorbar(image, ax=axes, shrink=0.6, label="standard deviations from the average pair")
    figure.suptitle(title)
    _save(figure, path, dpi=100)


def draw_person(axis: Axes, picture: np.ndarray, joints: np.ndarray, scores: np.ndarray | None):
    """Draw a picture, the estimated skeleton (24, 2) in its pixels, and the strongest edges of scores (24, 24).

    The score of an edge is the mean of its two directions.
    """
    axis.imshow(picture)
    for child, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            axis.plot(*joints[[child, parent]].T, color="white", linewidth=1, alpha=0.8)
    axis.scatter(*joints.T, s=9, color="white", zorder=3)
    if scores is not None:
        pairs = np.triu_indices(24, 1)
        strength = ((scores + scores.T) / 2)[pairs]
        largest = np.abs(strength).max() or 1
        for k in np.argsort(-np.abs(strength))[:NUM_EDGES]:
            ends = joints[[pairs[0][k], pairs[1][k]]]
            width, color = 3.5 * abs(strength[k]) / largest, LARGER if strength[k] > 0 else SMALLER
            axis.plot(*ends.T, color=color, linewidth=width, alpha=0.75, zorder=2)
    height, width = picture.shape[:2]
    axis.set(xlim=(0, width), ylim=(height, 0))  # a joint may lie outside the picture
    axis.axis("off")


def draw_graph(prior: dict[str, np.ndarray], people: list[GraphOfPerson], path: Path, title: str):
    """Draw the graph of one block for two people. prior: title -> (24, 24), empty without a prior. Writes a PNG."""
    figure = plt.figure(figsize=(26, 16), layout="constrained")
    rows = figure.subfigures(3, 1)
    headings = ("the prior, frozen", "learned, the same for every picture", "adaptive, from the picture")
    for row, heading in zip(rows, headings, strict=True):
        row.suptitle(heading, x=0.005, ha="left", fontsize=15, fontweight="bold")

    def matrices(row, named: dict[str, np.ndarray], axes, limit: float, label: str):
        for axis, (name, matrix) in zip(axes, named.items(), strict=True):
            image = draw_matrix(axis, matrix, name, limit)
        row.colorbar(image, ax=axes, shrink=0.8, label=label)

    if prior:
        matrices(rows[0], prior, rows[0].subplots(1, len(prior)), PRIOR_LIMIT, "standard deviations")
    static = {TERMS[name]: centred(term) for name, term in people[0].terms.items() if name in TERMS}
    static["their sum"] = sum(static.values())
    matrices(rows[1], static, rows[1].subplots(1, len(static)), color_limit(static.values()), "added to the attention")
    axes = rows[2].subplots(1, 5, width_ratios=(0.8, 1, 0.8, 1, 1))
    adaptive = [centred(person.terms["adaptive"]) if "adaptive" in person.terms else None for person in people]
    for axis, person, scores in zip(axes[[0, 2]], people, adaptive, strict=True):
        draw_person(axis, person.picture, person.joints, scores)
    if adaptive[0] is None:
        for axis in axes[[1, 3, 4]]:
            axis.axis("off")
    else:
        first, second = adaptive
        named = {"first picture": first, "second picture": second, "second - first": second - first}
        matrices(rows[2], named, axes[[1, 3, 4]], color_limit(named.values()), "added to the attention")
    figure.suptitle(title, fontsize=17)
    _save(figure, path, dpi=80)


def _save(figure: plt.Figure, path: Path, dpi: int):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    plt.close(figure)
