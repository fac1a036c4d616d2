"""Surfaces that clothes and hair are made of, and coverage functions that cut garments out of them.

A garment is the smoothed body surface, offset outwards, where its coverage is positive. Coverage is the signed distance
in metres to the nearest hem, neckline or hair line, positive inside the garment. It is a function of the mean body in
its rest pose (arms out to the sides, y up, facing +z), so that one rule fits every shape and pose. Skirts and long hair
have separate sheets.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import sparse

from datasets.synthetic.person.body import Body, sparse_weights
from datasets.synthetic.raster.noise import noise3
from datasets.synthetic.raster.rasterizer import area_weighted_normals
from utils.skeleton import J24, SMPL_JOINTS

TIGHT, LOOSE = 6, 40  # smoothing steps that turn the body surface into tight and loose clothes


class Sheet(NamedTuple):
    """A surface that moves with the body: rest points (N, 3) and shapedirs (N, 3, 10) in metres, numbers of bones and
    skinning weights (N, K), faces (F, 3), unit normals (N, 3)."""

    points: np.ndarray
    shapedirs: np.ndarray
    bones: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    normals: np.ndarray


@dataclass
class Layer:
    """One garment: `sheet` names a surface of the Wardrobe; coverage (N,) and offset (N,) along the normals in metres;
    material: MATERIAL; hides_skin: whether surfaces below it need not be drawn."""

    sheet: str
    coverage: np.ndarray
    offset: np.ndarray
    material: np.ndarray
    hides_skin: bool = True


@dataclass
class Prop:
    """A rigid ball, box or rod: affine (3, 4) maps the unit shape into the rest pose of a bone, or into the world if
    bone is -1; material: MATERIAL."""

    shape: str
    bone: int
    affine: np.ndarray
    material: np.ndarray


@njit(cache=True, error_model="numpy")
def fold_noise(points: np.ndarray, coverage: np.ndarray, period: float, stretch: float, seed: int) -> np.ndarray:
    """Smooth noise at rest points (N, 3) -> (N,) float32 in [-1, 1], 0 where coverage (N,) is below -3 cm.

    period: lattice step in metres; along y it is `stretch` times longer.
    """
    out = np.zeros(points.shape[0], np.float32)
    for i in range(points.shape[0]):
        if coverage[i] < -0.03:
            continue
        x, y, z = points[i, 0] / period, points[i, 1] / (period * stretch), points[i, 2] / period
        out[i] = 1.3 * noise3(x, y, z, seed) + 0.7 * noise3(2.3 * x, 2.3 * y, 2.3 * z, seed + 1) - 1.0
    return out


def _smoothing_operator(faces: np.ndarray, count: int) -> sparse.sparray | sparse.spmatrix:
    """Uniform Laplacian smoothing of a mesh as a sparse matrix (V, V): each vertex moves halfway to the mean of its
    neighbours."""
    i = faces[:, [0, 1, 2, 1, 2, 0]].ravel()
    j = faces[:, [1, 2, 0, 0, 1, 2]].ravel()
    adjacency = sparse.csr_matrix((np.ones(len(i)), (i, j)), (count, count))
    adjacency.data[:] = 1
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    return sparse.diags(0.5 / degree) @ adjacency + 0.5 * sparse.identity(count)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, a cubic in between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _grid_faces(rows: int, columns: int, closed: bool) -> np.ndarray:
    """Triangles (F, 3) of a rows x columns grid of points; closed: the last column is joined to the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    k = (j + 1) % columns
    a, b, c, d = (i * columns + j), (i * columns + k), ((i + 1) * columns + j), ((i + 1) * columns + k)
    return np.stack((a, c, b, b, c, d), -1).reshape(-1, 3).astype(np.int32)


class Wardrobe:
    """The surfaces of skin, clothes and hair, and measures of the mean body in its rest pose.

    Attributes, in metres: sheets: Sheet by name ("skin", "tight", "loose", "skirt", "hair"); rest (V, 3): vertices; at,
    key: joint and keypoint positions (3,) by name; joints (24, 3); floor: height of the soles; side (V,): |x| of the
    vertices; geometry (7,): see `cloth_color` in patterns.py.
    """

    def __init__(self, body: Body):
        self.rest = body.template
        self.at = dict(zip(SMPL_JOINTS, body.joint_template, strict=True))
        self.key = dict(zip(J24, body.keypoints(body.template), strict=True))
        self.joints = body.joint_template
        self.floor = float(self.rest[:, 1].min())
        self.side = np.abs(self.rest[:, 0])
        at = self.at
        shoulder, hip = at["L_shoulder"], at["L_hip"]
        self.geometry = np.array(
            [shoulder[0] + 0.02, shoulder[1], shoulder[2], hip[1] - 0.06, hip[0], at["L_knee"][2], at["spine2"][2]]
        )
        self._measure()
        self.head_weight = body.dense_weights[:, SMPL_JOINTS.index("head")].astype(np.float32)
        smoother = _smoothing_operator(body.faces, len(self.rest))
        fields = np.concatenate(
            (body.template, body.shapedirs.reshape(len(self.rest), -1), body.dense_weights), axis=1
        ).astype(np.float64)
        skin_normals = area_weighted_normals(body.template, body.faces)
        self.sheets = {}
        for done in range(1, LOOSE + 1):
            fields = smoother @ fields
            if done in (TIGHT, LOOSE):
                name = "tight" if done == TIGHT else "loose"
                self.sheets[name] = self._garment_sheet(fields.astype(np.float32), body, skin_normals)
        # the skin has no offset, so that its normals are not used
        self.sheets["skin"] = Sheet(
            body.template, body.shapedirs, body.bones, body.weights, body.faces, self.sheets["tight"].normals
        )
        self._add_skirt(body)
        self._add_hair(body)

    def _measure(self) -> None:
        """Measure every vertex relative to neck, face and ears, for collars and hair lines."""
        x, _, z = self.rest.T
        neck = self.at["neck"]
        self.neck_radius = np.hypot(x, z - neck[2] + 0.01)
        self.before_neck = np.clip((z - neck[2]) / 0.06, 0, 1)
        eyes, ears = (0.5 * (self.key[f"L_{name}"] + self.key[f"R_{name}"]) for name in ("Eye", "Ear"))
        forward = np.clip((z - ears[2]) / (eyes[2] - ears[2] + 0.02), -1, 1)
        self.face, self.nape = _smoothstep((forward - 0.35) / 0.5), _smoothstep(-forward / 0.35)
        sides = [np.linalg.norm(self.rest - self.key[name], axis=1) for name in ("L_Ear", "R_Ear")]
        self.ear_gap = np.where(self.nape > 0.6, 1, np.minimum(*sides) - 0.035)
        self.eye_height = eyes[1]

    def _garment_sheet(self, fields: np.ndarray, body: Body, skin_normals: np.ndarray) -> Sheet:
        """Smoothed fields (V, 3 + 30 + 24): points, shapedirs, weights -> a Sheet that lies nowhere below the mean
        body's skin."""
        points = fields[:, :3]
        sunk = ((body.template - points) * skin_normals).sum(1, keepdims=True)
        points = points + skin_normals * np.maximum(sunk, 0)
        weights = fields[:, 33:]
        kept = np.argsort(-weights, axis=1, kind="stable")[:, :6]
        dense = np.zeros_like(weights)
        np.put_along_axis(dense, kept, np.take_along_axis(weights, kept, 1), 1)
        bones, weights = sparse_weights(dense / dense.sum(1, keepdims=True))
        shapedirs = fields[:, 3:33].reshape(-1, 3, 10)
        normals = area_weighted_normals(np.ascontiguousarray(points), body.faces)
        return Sheet(np.ascontiguousarray(points), np.ascontiguousarray(shapedirs), bones, weights, body.faces, normals)

    def _add_skirt(self, body: Body) -> None:
        """A tube around hips and legs from the waist to the ankles, skinned to pelvis, thighs and shins."""
        rows, columns = 18, 48
        waist, hip = self.at["spine1"][1] + 0.02, self.at["L_hip"]
        bottom = self.at["L_ankle"][1]
        turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
        centre = np.array([0, hip[2]])
        trunk = np.flatnonzero(
            (self.side < 0.35) & (self.rest[:, 1] < waist + 0.03) & (self.rest[:, 1] > hip[1] - 0.15)
        )
        flat = self.rest[trunk][:, [0, 2]] - centre
        heights = np.linspace(waist, bottom, rows)
        points, anchors = np.empty((rows, columns, 3)), np.empty((rows, columns), int)
        for j, angle in enumerate(turn):
            outward = flat @ (np.sin(angle), np.cos(angle))
            for i, height in enumerate(heights):
                level = max(height, hip[1] - 0.1)
                near = np.abs(self.rest[trunk, 1] - level) < 0.05
                best = trunk[near][np.argmax(outward[near])]
                # no row is narrower than the ones above it, as cloth hangs
                radius = max(outward[near].max(), np.hypot(*(points[i - 1, j, [0, 2]] - centre)) if i else 0)
                points[i, j] = (radius * np.sin(angle), height, centre[1] + radius * np.cos(angle))
                anchors[i, j] = best
        points, anchors = points.reshape(-1, 3), anchors.ravel()
        shapedirs = body.shapedirs[anchors].copy()
        # the height of each point changes with body shape like that of the nearest leg vertex
        legs = np.flatnonzero(self.side < 0.3)
        nearest = legs[np.abs(self.rest[legs, 1][None] - points[:, 1:2]).argmin(1)]
        shapedirs[:, 1] = body.shapedirs[nearest, 1]
        left = _smoothstep(0.5 + points[:, 0] / 0.2)
        thigh = 0.85 * _smoothstep((hip[1] + 0.06 - points[:, 1]) / 0.3)
        shin = 0.75 * _smoothstep((self.at["L_knee"][1] + 0.05 - points[:, 1]) / 0.2)
        dense = np.zeros((len(points), 24))
        for share, names in ((left, ("L_hip", "L_knee")), (1 - left, ("R_hip", "R_knee"))):
            dense[:, SMPL_JOINTS.index(names[0])] = share * thigh * (1 - shin)
            dense[:, SMPL_JOINTS.index(names[1])] = share * thigh * shin
        dense[:, 0] = 1 - dense.sum(1)
        self._add_sheet("skirt", points, shapedirs, dense, _grid_faces(rows, columns, True))

    def _add_hair(self, body: Body) -> None:
        """A curtain behind the head from the crown to the back, skinned to head, neck and chest."""
        rows, columns = 14, 29
        ear, neck = self.key["L_Ear"], self.at["neck"]
        top = self.key["Top_of_Head"]
        centre = np.array([0, ear[2] - 0.01])
        head = np.flatnonzero((self.head_weight > 0.6) & (self.rest[:, 1] > ear[1] - 0.03))
        flat = self.rest[head][:, [0, 2]] - centre
        heights = np.linspace(top[1] - 0.03, neck[1] - 0.28, rows)
        points = []
        for height in heights:
            for angle in np.linspace(0.62 * np.pi, -0.62 * np.pi, columns):
                outward = flat @ (np.sin(angle), -np.cos(angle))
                near = np.abs(self.rest[head, 1] - max(height, ear[1])) < 0.025
                radius = outward[near].max() + 0.012
                hang = max(ear[1] - height, 0)
                radius += 0.05 * hang
                points.append((radius * np.sin(angle), height, centre[1] - radius * np.cos(angle)))
        points = np.array(points)
        # keep the sheet outside of back and shoulders
        trunk = np.flatnonzero(
            (self.side < 0.25) & (self.rest[:, 1] < neck[1] + 0.04) & (self.rest[:, 1] > neck[1] - 0.4)
        )
        for point in points:
            near = trunk[(np.abs(self.rest[trunk, :2] - point[:2]) < 0.03).all(1)]
            if len(near):
                point[2] = min(point[2], self.rest[near, 2].min() - 0.012)
        anchor = head[self.rest[head, 1].argmax()]
        shapedirs = np.repeat(body.shapedirs[anchor : anchor + 1], len(points), 0)
        low = _smoothstep((neck[1] + 0.05 - points[:, 1]) / 0.25)
        dense = np.zeros((len(points), 24))
        dense[:, SMPL_JOINTS.index("head")] = 1 - low
        dense[:, SMPL_JOINTS.index("spine3")] = 0.8 * low
        dense[:, SMPL_JOINTS.index("neck")] = 0.2 * low
        self._add_sheet("hair", points, shapedirs, dense, _grid_faces(rows, columns, False))

    def _add_sheet(
        self, name: str, points: np.ndarray, shapedirs: np.ndarray, dense: np.ndarray, faces: np.ndarray
    ) -> None:
        points = np.ascontiguousarray(points, np.float32)
        bones, weights = sparse_weights(dense)
        normals = area_weighted_normals(points, faces)
        self.sheets[name] = Sheet(points, np.ascontiguousarray(shapedirs, np.float32), bones, weights, faces, normals)

    def top_coverage(
        self, sleeve: float, hem: float, collar_radius: float, collar_drop: float, v_neck: bool
    ) -> np.ndarray:
        """Coverage (V,) of a shirt, metres: sleeves end at |x| = sleeve, the hem is at height y = hem, the collar is a
        circle of that radius and lies lower in front by collar_drop."""
        y, neck = self.rest[:, 1], self.at["neck"][1]
        cut = neck + 0.03 - collar_drop * self.before_neck
        if v_neck:
            cut = cut - 1.2 * collar_drop * self.before_neck * np.maximum(1 - self.neck_radius / collar_radius, 0)
        opening = np.minimum(np.maximum(self.neck_radius - collar_radius, cut - y), neck + 0.06 - y)
        return np.minimum(np.minimum(sleeve - self.side, y - hem), opening).astype(np.float32)

    def bottom_coverage(self, waist: float, hem: float) -> np.ndarray:
        """Coverage (V,) of trousers between two heights y, metres."""
        y = self.rest[:, 1]
        return np.minimum(np.minimum(waist - y, y - hem), 0.45 - self.side).astype(np.float32)

    def foot_coverage(self, height: float) -> np.ndarray:
        """Coverage (V,) of shoes or socks up to a height above the soles, metres."""
        return (self.floor + height - self.rest[:, 1]).astype(np.float32)

    def hair_coverage(self, front: float, sides: float, back: float, covers_ears: bool) -> np.ndarray:
        """Coverage (V,) of hair above a hair line, whose heights at the forehead, before the ears and at the nape are
        relative to the eyes, metres."""
        line = self.eye_height + sides * (1 - self.face) * (1 - self.nape) + front * self.face + back * self.nape
        coverage = np.minimum(self.rest[:, 1] - line, (self.head_weight - 0.35) * 0.2)
        if not covers_ears:
            coverage = np.minimum(coverage, self.ear_gap)
        return coverage.astype(np.float32)
