"""Records plus body -> what a row lacks, and how far the release's own labels are from the body."""

from dataclasses import dataclass, field

import numpy as np

from datasets.builders.bodies import Bodies, Body
from datasets.builders.frames import other_conventions
from datasets.builders.other_poses import other_poses, pose_error
from datasets.builders.record import BadEntry, PersonRecord
from utils.camera import Perspective
from utils.skeleton import J24, J24_FLIP, J24_LIMB_ENDS, J24_LIMBS, J24_PELVIS

_HIPS = [J24.index("R_Hip"), J24.index("L_Hip")]
_ARMS_AND_LEGS = list(J24_LIMBS)


@dataclass
class Completed:
    """A record with all labels, and numbers for the report."""

    record: PersonRecord
    measured: dict[str, float] = field(default_factory=dict)


def complete(records: list[PersonRecord], bodies: Bodies) -> list[Completed | BadEntry]:
    """Pose the bodies of all records at once; fill in keypoints; compare with the release's own labels."""
    results: list[Completed | BadEntry] = [Completed(record) for record in records]
    for gender in {record.gender for record in records}:
        rows = [i for i, record in enumerate(records) if record.gender == gender and record.pose is not None]
        if not rows:
            continue
        body = bodies.of(gender)
        pose = np.stack([records[i].pose for i in rows])
        betas = np.stack([np.zeros(10) if records[i].betas is None else records[i].betas for i in rows])
        keypoints, joints = body.keypoints(pose, betas)
        doubts = _doubts([records[i] for i in rows], body, betas, (keypoints, joints))
        for i, points, places, doubt in zip(rows, keypoints, joints, doubts, strict=True):
            try:
                results[i].measured = _fill(records[i], points, places, body.confidence) | doubt
            except BadEntry as error:
                results[i] = error
    return [_check(result) if isinstance(result, Completed) else result for result in results]


def _doubts(
    records: list[PersonRecord], body: Body, betas: np.ndarray, posed: tuple[np.ndarray, np.ndarray]
) -> list[dict[str, float]]:
    """Of each record, the distance of its body to its labels as it is, and with other conventions of the pose."""
    cases = {"pose_error": posed}
    cases |= {f"pose_error if {name}": body.keypoints(pose, betas) for name, pose in other_poses(records).items()}
    limbs = np.array([j for j in _ARMS_AND_LEGS if body.confidence[j] > 0])
    doubts: list[dict[str, float]] = [{} for _ in records]
    for name, (keypoints, joints) in cases.items():
        for record, points, places, doubt in zip(records, keypoints, joints, doubts, strict=True):
            try:
                pixels = None
                if record.labels_joints is None and record.labels_3d is None:  # the third choice
                    pixels = _project(record, points)
                error = pose_error(record, points, places, pixels, limbs)
            except BadEntry:
                continue
            if error is not None:
                doubt[name] = error
    return doubts


def _fill(record: PersonRecord, points: np.ndarray, joints: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
    """Fill keypoints of a record from its body; points (24, 3) and joints (24, 3) without translation."""
    measured = {"largest_angle": float(np.linalg.norm(record.pose.reshape(24, 3)[1:], axis=1).max())}
    if record.labels_3d is not None:
        measured |= _joint_errors(points, record.labels_3d, confidence)
    pixels = _project(record, points)
    if record.translation is not None:
        measured["depth_m"] = float(points[J24_PELVIS, 2] + record.translation[2])
        if record.labels_joints is not None:
            error = np.linalg.norm(joints + record.translation - record.labels_joints, axis=1)
            measured["smpl_joints_mm"] = 1000 * float(error.mean())
    if pixels is not None and record.labels_2d is not None:
        measured |= _reprojection(pixels, record.labels_2d, confidence, 200 * record.scale)
    if pixels is not None and record.extrinsic is not None and "reprojection_px" in measured:
        measured |= _with_other_conventions(record, points + record.translation, confidence)
    if record.max_fit_error is not None and measured.get("joints_mm", 0) > 1000 * record.max_fit_error:
        record.pose = record.betas = record.translation = None
        kept = ("joints_mm", "joints_swapped_mm", "largest_angle")
        return {name: measured[name] for name in kept if name in measured} | {"fit_left_out": 1.0}
    if record.with_smpl_joints:
        record.more["smpl_joints"] = joints.round(6).tolist()
    if record.keypoints_3d is None:
        record.keypoints_3d = np.column_stack((points, confidence))
    if record.keypoints_2d is None and pixels is not None:
        record.keypoints_2d = np.column_stack((pixels, confidence))
    return measured


def _project(record: PersonRecord, points: np.ndarray) -> np.ndarray | None:
    """points (24, 3) of the body without translation -> pixels (24, 2), None where the camera is not known."""
    if record.camera is None:
        return None
    if isinstance(record.camera, Perspective):
        if record.translation is None:
            return None
        points = points + record.translation
        if (points[:, 2] <= 0.01).any():
            raise BadEntry("person is behind the camera")
    return record.camera.project(points)


def _check(result: Completed) -> Completed | BadEntry:
    """Drop rows without any label, put the pelvis at the origin, and measure limbs."""
    record = result.record
    if record.keypoints_2d is None and record.keypoints_3d is None and record.pose is None:
        return BadEntry("no label: neither keypoints nor body")
    if record.keypoints_3d is not None:
        record.keypoints_3d = np.array(record.keypoints_3d)
        record.keypoints_3d[:, :3] -= _origin(record.keypoints_3d)
        record.keypoints_3d[record.keypoints_3d[:, 3] == 0] = 0
        for name, ends in J24_LIMB_ENDS.items():
            lengths = [
                np.linalg.norm(record.keypoints_3d[a, :3] - record.keypoints_3d[b, :3])
                for a, b in ends
                if min(record.keypoints_3d[[a, b], 3]) > 0
            ]
            if lengths:
                result.measured[f"{name}_mm"] = 1000 * float(np.mean(lengths))
    result.measured["box_px"] = 200 * record.scale
    if record.box is not None and record.keypoints_2d is not None:
        result.measured |= _overlap(record.keypoints_2d, record.box)
    return result


def _overlap(keypoints_2d: np.ndarray, box: np.ndarray) -> dict[str, float]:
    """Intersection over union of the box around visible keypoints and the release's box (left, top, right, bottom)."""
    visible = keypoints_2d[keypoints_2d[:, 2] > 0, :2]
    if len(visible) < 6:
        return {}
    low, high = visible.min(0), visible.max(0)
    common = np.prod(np.maximum(np.minimum(high, box[2:]) - np.maximum(low, box[:2]), 0))
    union = np.prod(high - low) + np.prod(np.maximum(box[2:] - box[:2], 0)) - common
    return {"box_iou": float(common / max(union, 1e-9))}


def _origin(keypoints_3d: np.ndarray) -> np.ndarray:
    """The J24 pelvis, or the middle of the hips where the release has none -> (3,)."""
    if keypoints_3d[J24_PELVIS, 3] > 0:
        return keypoints_3d[J24_PELVIS, :3].copy()
    return keypoints_3d[_HIPS, :3].mean(0)


def _reprojection(pixels: np.ndarray, labels: np.ndarray, confidence: np.ndarray, box: float) -> dict[str, float]:
    """Distance of projected limbs to labels, as they are and with left and right exchanged."""
    given = np.array([j for j in _ARMS_AND_LEGS if labels[j, 2] > 0 and confidence[j] > 0])
    if len(given) < 4:
        return {}
    flipped = np.array(J24_FLIP)[given]
    plain = float(np.linalg.norm(pixels[given] - labels[given, :2], axis=1).mean())
    swapped = float(np.linalg.norm(pixels[flipped] - labels[given, :2], axis=1).mean())
    return {"reprojection_px": plain, "reprojection_swapped_px": swapped, "reprojection_of_box": plain / box}


def _with_other_conventions(record: PersonRecord, in_camera: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
    """Distance to the 2D labels, pixels, if the camera's rotation and shift meant something else."""
    errors = {}
    for name, (turn, shift) in other_conventions(*record.extrinsic).items():
        points = in_camera @ turn.T + shift
        error = 1e4  # for who stands behind the camera
        if (points[:, 2] > 0.01).all():
            error = _reprojection(record.camera.project(points), record.labels_2d, confidence, 1.0)["reprojection_px"]
        errors[f"if {name}"] = min(error, 1e4)
    return errors


def _joint_errors(points: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
    """Distance of limbs to 3D labels with the middle of the hips at the origin, plain and with sides exchanged."""
    given = np.array([j for j in _ARMS_AND_LEGS if labels[j, 3] > 0 and confidence[j] > 0])
    if len(given) < 4 or not (labels[_HIPS, 3] > 0).all():
        return {}
    points = points - points[_HIPS].mean(0)
    targets = labels[given, :3] - labels[_HIPS, :3].mean(0)
    flipped = np.array(J24_FLIP)[given]
    plain = 1000 * float(np.linalg.norm(points[given] - targets, axis=1).mean())
    swapped = 1000 * float(np.linalg.norm(points[flipped] - targets, axis=1).mean())
    return {"joints_mm": plain, "joints_swapped_mm": swapped}
