"""UP-3D (Lassner et al., CVPR 2017): 00000_image.png, _joints.npy, _body.pkl, and _render_light.png for the box.

The pickle has pose, betas, trans and OpenDR's camera: rotation vector rt, translation t, focal length f, principal
point in the middle of the picture. Joints are (3, 14): x, y, visibility in LSP's order.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from datasets.builders.bodies import Bodies
from datasets.builders.boxes import crop_of_points, crop_of_xyxy
from datasets.builders.frames import to_camera_frame
from datasets.builders.keypoint_orders import LSP14_TO_J24, to_j24
from datasets.builders.pictures import picture_size
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import betas_of, numbers
from utils.camera import Perspective
from utils.errors import UserError
from utils.safe_load.limits import check_arrays
from utils.safe_load.unpickler import load_restricted_pickle

ROWS = 64  # of a unit
WHITE = 250  # grey value of the background of the renderings


class UP3D:
    """The entries of one list: trainval.txt, train.txt, val.txt or test.txt."""

    def __init__(self, root: Path, bodies: Bodies, split: str = "trainval"):
        self.root, self.bodies, self.list = root, bodies, root / f"{split}.txt"
        if not self.list.is_file():
            raise UserError(f"{self.list} is missing; give the unpacked folder up-3d with --up3d")
        names = self.list.read_text(errors="replace").split()
        self.stems = [name.rsplit("/", 1)[-1].removesuffix("_image.png") for name in names]

    def fingerprint(self) -> dict:
        return {"format": "up-3d", "files": file_state(self.list)}

    def units(self) -> list[Unit]:
        return [
            Unit(min(ROWS, len(self.stems) - start), (start,), self._file(self.stems[start], "image.png"))
            for start in range(0, len(self.stems), ROWS)
        ]

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        (start,) = unit.arguments
        stems = self.stems[start : start + unit.rows]
        yield from records(stems, self._record, lambda stem: str(self._file(stem, "body.pkl")))

    def _file(self, stem: str, end: str) -> Path:
        return self.root / f"{stem}_{end}"

    def _record(self, stem: str) -> PersonRecord:
        try:
            body = load_restricted_pickle(self._file(stem, "body.pkl"), "UP-3D")
        except UserError as error:
            raise BadEntry("body cannot be read", str(error)) from None
        height, width = picture_size(self._file(stem, "image.png"))
        pose, betas = numbers(body["pose"], (72,), "pose"), betas_of(body["betas"])
        world = numbers(body.get("trans", np.zeros(3)), (3,), "trans")
        rotation = Rotation.from_rotvec(numbers(body.get("rt", np.zeros(3)), (3,), "rt")).as_matrix()
        shift, focal = numbers(body["t"], (3,), "t"), np.array(body["f"], np.float64).reshape(-1)
        root = self.bodies.neutral.root(betas[None])
        pose, translation = to_camera_frame(pose[None], world[None], root, rotation, shift)
        labels = self._joints(stem)
        center, scale = self._box(stem, labels)
        return PersonRecord(
            key=f"{stem}_image.png",
            where=str(self._file(stem, "body.pkl")),
            image=self._file(stem, "image.png"),
            center=center,
            scale=scale,
            camera=Perspective(focal[0], focal[-1], width / 2, height / 2),
            pose=pose[0],
            betas=betas,
            translation=translation[0],
            keypoints_2d=labels,
            labels_2d=labels,
            extrinsic=(rotation, shift) if np.abs(rotation - np.eye(3)).max() > 1e-6 else None,
        )

    def _joints(self, stem: str) -> np.ndarray:
        """(24, 3) labels of the 14 joints of LSP."""
        file = self._file(stem, "joints.npy")
        try:
            check_arrays(file)
            joints = np.load(file, allow_pickle=False)
        except FileNotFoundError:
            raise BadEntry("joints are missing", str(file)) from None
        except Exception as error:  # damaged files fail in a dozen ways
            raise BadEntry("joints cannot be read", f"{file}: {error}"[:200]) from None
        joints = joints if joints.shape == (14, 3) else numbers(joints, (3, 14), "joints").T
        joints = numbers(joints, (14, 3), "joints")
        joints[:, 2] = joints[:, 2] > 0
        return to_j24(joints, LSP14_TO_J24)

    def _box(self, stem: str, labels: np.ndarray) -> tuple[np.ndarray, float]:
        """Around the rendered body if its picture is there, else around the visible joints."""
        rendering = cv2.imread(str(self._file(stem, "render_light.png")))
        if rendering is not None:
            ys, xs = np.nonzero((rendering < WHITE).any(-1))
            if len(xs):
                return crop_of_xyxy(np.array((xs.min(), ys.min(), xs.max(), ys.max()), float))
        visible = labels[labels[:, 2] > 0, :2]
        if len(visible) < 2:
            raise BadEntry("fewer than 2 visible joints")
        return crop_of_points(visible)
