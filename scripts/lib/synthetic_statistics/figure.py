"""The figure of the statistics of synthetic people."""

from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from scripts.lib.synthetic_statistics.realism import Comparison
from utils.files import atomic_path
from utils.skeleton import SMPL_JOINTS

VIEW_COLORS = {"front": "#2f6fb2", "side": "#7a7a7a", "back": "#d1622b"}
INK, SOFT = "#303030", "#7fa6c9"


def write_figure(
    path: Path,
    title: str,
    nearest: dict[str, np.ndarray],
    joints: np.ndarray,
    azimuth: np.ndarray,
    elevation: np.ndarray,
    stature: np.ndarray,
    betas: np.ndarray,
    by_view: dict[str, Comparison],
):
    """Write all statistics as one PNG.

    nearest: name -> (N,) mm to the nearest pose; joints (N, 24, 3) metres, pelvis at the origin, body frame; azimuth,
    elevation (N,) degrees of the viewer in the pelvis frame; stature (N,) metres; betas (N, 10); by_view: view ->
    Comparison.
    """
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titleweight": "bold",
             "axes.titlesize": 10, "axes.edgecolor": INK, "legend.frameon": False}  # fmt: skip
    with plt.rc_context(style):
        figure = plt.figure(figsize=(15, 7.6), layout="constrained")
        axes = [figure.add_subplot(2, 4, k + 1, projection="polar" if k == 3 else None) for k in range(8)]
        _poses(axes[0], nearest)
        _reach(axes[1], joints[..., [0, 1]], "from the front", "metres to the person's left")
        _reach(axes[2], joints[..., [2, 1]], "from the side", "metres ahead")
        _directions(axes[3], azimuth)
        _bars(axes[4], elevation, np.arange(-90, 91, 15), "Height of the viewer", "degrees above the pelvis' horizon")
        axes[4].set_xticks(range(-90, 91, 45))
        _bars(axes[5], stature, np.arange(1.3, 2.16, 0.05), "Stature", "metres")
        _shapes(axes[6], betas)
        _curves(axes[7], by_view)
        figure.suptitle(title, fontsize=11, color=INK)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=100)
        plt.close(figure)


def _bars(axis: Axes, values: np.ndarray, edges: np.ndarray, title: str, label: str):
    shares = np.histogram(values, edges)[0] / len(values)
    axis.bar(edges[:-1], shares, np.diff(edges), align="edge", color=SOFT, edgecolor="white")
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axis.set(title=title, xlabel=label)


def _poses(axis: Axes, nearest: dict[str, np.ndarray]):
    edges = np.arange(0, 241, 10)
    for (name, values), color in zip(nearest.items(), (SOFT, "#d1622b"), strict=True):
        label = f"{name}: median {np.median(values):.0f} mm"
        shares = np.histogram(np.minimum(values, edges[-1] - 1), edges)[0] / len(values)
        axis.stairs(shares, edges, fill=color == SOFT, color=color, linewidth=1.6, label=label)
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axis.set(title="Distance to the nearest pose", xlabel="root mean square over joints, mm")
    axis.set_ylim(0, 1.25 * axis.get_ylim()[1])  # room for the legend
    axis.legend(loc="upper right", fontsize=8)


def _reach(axis: Axes, points: np.ndarray, side: str, label: str):
    """Density of wrists and ankles relative to the pelvis; points (N, 24, 2) metres."""
    edges = np.linspace(-1.1, 1.1, 89)
    shades = []
    for part in ("ankle", "wrist"):
        of_part = [SMPL_JOINTS.index(f"{s}_{part}") for s in "LR"]
        x, y = points[:, of_part].reshape(-1, 2).T
        counts = cv2.GaussianBlur(np.histogram2d(y, x, (edges, edges))[0], (0, 0), 0.8)
        shades.append(np.clip(np.log1p(counts) / np.log1p(counts.max()), 0, 1))
    ankles, wrists = (shade[..., None] for shade in shades)
    inks = np.array([(0.82, 0.38, 0.17), (0.18, 0.44, 0.70)])
    picture = (1 - ankles * (1 - inks[0])) * (
        1 - wrists * (1 - inks[1])
    )  # both colours absorb light, as two inks on paper
    axis.imshow(picture, origin="lower", extent=(-1.1, 1.1, -1.1, 1.1))
    axis.plot(0, 0, "+", color=INK)
    for x, y, text, color in ((-1.05, 0.95, "wrists", inks[1]), (-1.05, -1.03, "ankles", inks[0])):
        axis.text(x, y, text, color=color, weight="bold")
    axis.set(title=f"Wrists and ankles {side}", xlabel=label, ylabel="metres above the pelvis")


def _directions(axis: Axes, azimuth: np.ndarray):
    edges = np.radians(np.arange(-180, 181, 15))
    counts, _ = np.histogram(np.radians(azimuth), edges)
    middle = np.degrees(edges[:-1] + np.diff(edges) / 2)
    colors = [VIEW_COLORS["front" if abs(m) < 60 else "back" if abs(m) > 120 else "side"] for m in middle]
    axis.bar(edges[:-1], counts / len(azimuth), np.diff(edges), align="edge", color=colors, edgecolor="white")
    axis.set_theta_zero_location("S")
    axis.set_xticks(np.radians((0, 90, 180, 270)), ["front", "left", "back", "right"])
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, 0))
    axis.tick_params(axis="y", labelsize=7)
    axis.set_title("Visible side")


def _shapes(axis: Axes, betas: np.ndarray):
    edges = np.arange(-3, 3.01, 0.5)
    for k, column in enumerate(betas.T):
        axis.stairs(np.histogram(column, edges)[0] / len(column), edges, color=plt.cm.viridis(k / 11), alpha=0.8)
    x = np.linspace(-3, 3, 100)
    axis.plot(x, 0.5 * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), "--", color=INK, label="population")
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axis.set(title="The ten shape coefficients", xlabel="standard deviations")
    axis.legend(loc="upper right", fontsize=8)


def _curves(axis: Axes, by_view: dict[str, Comparison]):
    x = np.linspace(0, 0.2, 81)
    for name, comparison in by_view.items():
        swapped = comparison.summary()["swapped"]
        label = f"{name}: {comparison.pck(0.05):.2f}, {comparison.pck(0.1):.2f}; {swapped:.1%} swapped"
        axis.plot(x, [comparison.pck(t) for t in x], color=VIEW_COLORS[name], label=label)
    for threshold in (0.05, 0.1):
        axis.axvline(threshold, color=INK, linewidth=0.6, linestyle=":")
    axis.set(title="PCK of MoveNet, visible limb keypoints", xlabel="threshold, sides of the box", ylim=(0, 1))
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axis.legend(loc="lower right", fontsize=8)
