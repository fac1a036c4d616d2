"""Labels that can be read but are probably wrong: other units, another frame, or left and right exchanged.

Measures are compared over many rows, because a single person may be unusual.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from utils.process import print_once
from utils.skeleton import J24, J24_FLIP, J24_LIMB_ENDS, J24_LIMBS, SMPL_JOINTS

LIMB_RANGE = (0.1, 0.8)  # metres, of the median
LARGEST_ROTATION = 6.5  # radians; a whole turn is 6.28
LARGEST_BETA = 10.0
LEAST_EXTENT = 0.1  # of the crop's side
LEAST_INSIDE = 0.5
LARGEST_CROP = 20_000  # pixels
LARGEST_MISFIT_2D = 0.2  # of the person's extent
LARGEST_MISFIT_3D = 0.2  # metres
CLEAR_MISFIT = 0.08  # below, exchanged sides cannot be told from small errors
LARGEST_SHARE = 0.2  # of rows
LEAST_ROWS = 4
ROWS, BATCHES = 32, 3  # of training that are checked

_LIMB = np.array(J24_LIMBS)
_MIRROR = np.array(J24_FLIP)[_LIMB]  # limb keypoints with the sides exchanged
_SMPL_LIMB = np.array([SMPL_JOINTS.index(J24[j][:2] + J24[j][2:].lower()) for j in J24_LIMBS])

Measures = dict[str, np.ndarray]


def measure(batch: dict, joints: np.ndarray | None = None) -> Measures:
    """Measures of the rows of a batch, (B,) each, nan in a row that lacks the label.

    batch: arrays or tensors as in `HumanMeshDataset`, with 2D keypoints in [-1, 1] of the crop; scale may be absent.
    joints (B, 24, 3): of the body with the labelled pose and shape, metres; they are compared with the 3D keypoints.
    """
    batch = {name: np.asarray(batch[name], np.float64) for name in (*_KEYS, "scale") if name in batch}
    has_2d, has_3d, has_smpl = (batch[f"has_{name}"] > 0 for name in ("keypoints_2d", "keypoints_3d", "smpl"))
    xy, seen = batch["keypoints_2d"][:, _LIMB, :2], batch["keypoints_2d"][:, _LIMB, 2] > 0
    xyz, known = batch["keypoints_3d"][:, _LIMB, :3], batch["keypoints_3d"][:, _LIMB, 3] > 0
    measures = {}
    for name, ends in J24_LIMB_ENDS.items():
        points = batch["keypoints_3d"][:, np.array(ends)]  # (B, 2 sides, 2 ends, 4)
        length = np.linalg.norm(points[:, :, 0, :3] - points[:, :, 1, :3], axis=-1).mean(1)
        measures[name] = _where(has_3d & (points[..., 3] > 0).all((1, 2)), length)
    turns = np.linalg.norm(batch["pose"].reshape(-1, 24, 3), axis=-1)
    measures["rotation"] = _where(has_smpl, turns.max(1))
    measures["beta"] = _where(has_smpl, np.abs(batch["betas"]).max(1))
    measures["crop"] = 200 * batch.get("scale", np.full(len(turns), np.nan))

    enough = has_2d & (seen.sum(1) >= 6)
    inside = (np.abs(xy) <= 1).all(-1) & seen
    measures["inside"] = _where(enough, inside.sum(1) / np.maximum(seen.sum(1), 1))
    extent = _extent(xy, seen)
    measures["extent"] = _where(enough, extent / 2)  # the crop's side is 2
    both = seen & known
    comparable = enough & has_3d & (both.sum(1) >= 6)
    own = _misfit_2d(xyz, xy, both) / np.maximum(extent, 1e-9)
    order = np.array([_LIMB.tolist().index(j) for j in _MIRROR])
    mirrored = _misfit_2d(xyz[:, order], xy, seen & known[:, order]) / np.maximum(extent, 1e-9)
    measures["misfit 2D"] = _where(comparable, own)
    measures["exchanged 2D"] = _where(comparable, _is_exchanged(own, mirrored))
    if joints is not None:
        comparable = has_3d & has_smpl & (known.sum(1) >= 6)
        posed = np.asarray(joints, np.float64)[:, _SMPL_LIMB]
        own, mirrored = (_misfit_3d(posed[:, index], xyz, known) for index in (np.arange(len(_LIMB)), order))
        measures["misfit pose"] = _where(comparable, own)
        measures["exchanged pose"] = _where(comparable, _is_exchanged(own, mirrored))
    return measures


_KEYS = ("keypoints_2d", "keypoints_3d", "pose", "betas", "has_keypoints_2d", "has_keypoints_3d", "has_smpl")


def join(measures: list[Measures]) -> Measures:
    """Measures of several batches -> of all rows."""
    return {name: np.concatenate([one[name] for one in measures]) for name in measures[0]} if measures else {}


def suspicions(measures: Measures) -> list[str]:
    """What looks wrong, one line each; empty if nothing does or there are too few rows."""
    known = {name: values[~np.isnan(values)] for name, values in measures.items()}
    known = {name: values for name, values in known.items() if len(values) >= LEAST_ROWS}
    median = {name: float(np.median(values)) for name, values in known.items()}
    share = {name: float((values > 0).mean()) for name, values in known.items() if name.startswith("exchanged")}
    found = []
    lengths = [median[name] for name in J24_LIMB_ENDS if name in median]
    if lengths and not LIMB_RANGE[0] <= np.median(lengths) <= LIMB_RANGE[1]:
        unit = "millimetres" if np.median(lengths) > 80 else "centimetres" if np.median(lengths) > 3 else "another unit"
        found.append(f"limbs of the 3D keypoints are {np.median(lengths):.3g} m long: are they in {unit}?")
    if "rotation" in known and (turned := float((known["rotation"] > LARGEST_ROTATION).mean())) > LARGEST_SHARE:
        found.append(f"{turned:.0%} of the poses turn a joint by more than a whole turn: is 'pose' in degrees?")
    if median.get("beta", 0) > LARGEST_BETA:
        found.append(f"the largest of the betas is {median['beta']:.3g} in the median: are they coefficients of SMPL?")
    if median.get("extent", 1) < LEAST_EXTENT:
        pixels = median["extent"] * median.get("crop", np.inf)
        if median.get("crop", 0) > LARGEST_CROP:
            cause = f"the crop has {median['crop']:.0f} pixels: is 'scale' in pixels instead of side / 200?"
        elif pixels < 10:
            cause = f"they span {pixels:.2g} pixels: are they normalised instead of in pixels of the picture?"
        else:
            cause = "are they in pixels of the picture, and is 'scale' the crop's side / 200?"
        found.append(f"2D keypoints span {median['extent']:.2%} of the crop; {cause}")
    elif median.get("inside", 1) < LEAST_INSIDE:
        found.append(f"{median['inside']:.0%} of the 2D keypoints are in the crop: are they in pixels of the picture?")
    if share.get("exchanged 2D", 0) > LARGEST_SHARE:
        found.append(
            f"in {share['exchanged 2D']:.0%} of the rows, 2D fit 3D keypoints with left and right exchanged: "
            "is the order of one of them wrong?"
        )
    elif median.get("misfit 2D", 0) > LARGEST_MISFIT_2D:
        found.append(
            f"2D and projected 3D keypoints differ by {median['misfit 2D']:.0%} of the person's size: "
            "are the axes x right, y down, z away, and the joints in the order of J24?"
        )
    if share.get("exchanged pose", 0) > LARGEST_SHARE:
        found.append(
            f"in {share['exchanged pose']:.0%} of the rows, the pose fits the 3D keypoints with left and right "
            "exchanged: is the order of the keypoints or of the pose wrong?"
        )
    elif median.get("misfit pose", 0) > LARGEST_MISFIT_3D and not (lengths and found and "limbs" in found[0]):
        found.append(
            f"the joints of pose and betas are {median['misfit pose']:.2f} m from the 3D keypoints: "
            "are both in the frame of the camera?"
        )
    return found


def describe(measures: Measures) -> list[str]:
    """Median, 1st and 99th percentile of each measure, a line each."""
    texts = {"rotation": "largest rotation of a joint, rad", "beta": "largest beta", "crop": "side of the crop, pixels"}
    texts |= {"inside": "share of 2D keypoints in the crop", "extent": "extent of a person / side of the crop"}
    texts |= {"misfit 2D": "2D against projected 3D keypoints / extent", "misfit pose": "pose against 3D keypoints, m"}
    lines = []
    for name, values in measures.items():
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        if name.startswith("exchanged"):
            against = "2D and 3D keypoints" if name == "exchanged 2D" else "pose and 3D keypoints"
            lines.append(f"{'left and right exchanged, ' + against:<58}{values.mean():10.1%} of {len(values)} rows")
            continue
        low, middle, high = np.percentile(values, (1, 50, 99))
        label = texts.get(name, f"length of the {name}, m")
        lines.append(f"{label:<58}{middle:10.3g} (1 to 99 %: {low:.3g} to {high:.3g}) in {len(values)} rows")
    return lines


class FirstBatches:
    """Checks the labels of the first batches of a run, and prints one warning if they look wrong."""

    def __init__(self):
        self.measures: list[Measures] | None = []

    def filter(self, batches: Iterable[dict]) -> Iterator[dict]:
        """The batches as they are."""
        for batch in batches:
            if self.measures is not None and all(name in batch for name in _KEYS):
                self.measures.append(measure(batch))
                if len(self.measures) >= BATCHES or sum(len(one["crop"]) for one in self.measures) >= ROWS:
                    self._judge()
            yield batch

    def _judge(self):
        found, self.measures = suspicions(join(self.measures)), None
        if found:
            print_once(
                f"warning: the labels of the first batches look wrong: {' '.join(found)} "
                "run python scripts/check_dataset.py SET.yaml --sheet FILE.jpg to measure and draw them"
            )


def fit_projection(xyz: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Points (B, N, 3) projected by the weak-perspective camera that fits xy (B, N, 2) best -> (B, N, 2).

    weight (B, N): of each point, from 0. The scale is at least 0, because a camera does not mirror.
    """
    scale, middle_3d, middle_2d = _fit(xyz, xy, weight)
    return scale * (xyz[..., :2] - middle_3d) + middle_2d


def fit_camera(xyz: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The camera of `fit_projection`: (B, 3) = (s, tx, ty), which projects to s * (XY + t)."""
    scale, middle_3d, middle_2d = _fit(xyz, xy, weight)
    scale = np.maximum(scale, 1e-9)
    return np.concatenate((scale, middle_2d / scale - middle_3d), axis=-1)[:, 0]


def _fit(xyz: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale (B, 1, 1), weighted means of xyz and xy (B, 1, 2)."""
    total = np.maximum(weight.sum(1), 1e-9)[:, None, None]
    weight = weight[..., None]
    middle_2d, middle_3d = ((weight * points).sum(1, keepdims=True) / total for points in (xy, xyz[..., :2]))
    a, b = xyz[..., :2] - middle_3d, xy - middle_2d
    scale = (weight * a * b).sum((1, 2)) / np.maximum((weight * a * a).sum((1, 2)), 1e-12)
    return np.maximum(scale, 0)[:, None, None], middle_3d, middle_2d


def _misfit_2d(xyz: np.ndarray, xy: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Root mean squared distance (B,) of xy from the projected points."""
    distance = ((fit_projection(xyz, xy, both.astype(float)) - xy) ** 2).sum(-1)
    return np.sqrt((both * distance).sum(1) / np.maximum(both.sum(1), 1))


def _misfit_3d(posed: np.ndarray, xyz: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean distance (B,) of posed joints from keypoints, after the mean of both is the same."""
    weight = known[..., None] / np.maximum(known.sum(1), 1)[:, None, None]
    a, b = (points - (weight * points).sum(1, keepdims=True) for points in (posed, xyz))
    return (weight[..., 0] * np.linalg.norm(a - b, axis=-1)).sum(1)


def _is_exchanged(own: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    return ((own > CLEAR_MISFIT) & (mirrored < own / 2)).astype(np.float64)


def _extent(xy: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Longer side (B,) of the box around the points that are seen; 0 without any."""
    high = np.where(seen[..., None], xy, -np.inf).max(1)
    low = np.where(seen[..., None], xy, np.inf).min(1)
    return np.where(seen.any(1), (high - low).max(1), 0)


def _where(usable: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(usable, values, np.nan)
