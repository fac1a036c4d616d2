"""EMDB (Kaufmann et al., ICCV 2023): P0/SEQUENCE/images/00000.jpg and P0/SEQUENCE/P0_SEQUENCE_data.pkl.

A pickle has gender, flags emdb1 and emdb2, good_frames_mask, camera (intrinsics, world-to-camera extrinsics), smpl
(world frame, metres), kp2d and bboxes (left, top, right, bottom).
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.builders.bodies import Bodies
from datasets.builders.boxes import crop_of_xyxy
from datasets.builders.frames import check_rotation, to_camera_frame
from datasets.builders.readers.bedlam import joints_as_j24
from datasets.builders.record import FAULTS, BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import betas_of, flag, gender_of, numbers
from utils.camera import Perspective
from utils.errors import UserError
from utils.safe_load.unpickler import load_restricted_pickle

FRAMES = 128  # of a unit


class Emdb:
    """The sequences with the flag `part` ("emdb1" is the benchmark of single frames)."""

    def __init__(self, root: Path, bodies: Bodies, part: str = "emdb1"):
        self.root, self.bodies, self.part = root, bodies, part
        self.files = sorted(root.glob("P*/*/*_data.pkl")) or sorted(root.glob("*/*_data.pkl"))
        if not self.files:
            raise UserError(f"no P*/SEQUENCE/*_data.pkl in {root}; give the folder with P0, P1, ... by --emdb")

    def fingerprint(self) -> dict:
        return {"format": "emdb", "part": self.part, "files": file_state(*self.files)}

    def units(self) -> list[Unit]:
        units = []
        for file in self.files:
            try:
                sequence = load_sequence(file)
            except UserError as error:
                units.append(Unit(0, (file, 0, str(error))))
                continue
            if self.part == "all" or flag(sequence.get(self.part, False)):
                count = len(sequence["smpl"]["poses_root"])
                picture = file.parent / "images/00000.jpg"
                units += [Unit(min(FRAMES, count - i), (file, i, ""), picture) for i in range(0, count, FRAMES)]
        if not any(unit.rows for unit in units):
            raise UserError(f"no sequence in {self.root} has the flag {self.part}; choose another --part")
        return units

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        file, start, fault = unit.arguments
        if fault:
            yield Dropped(str(file), "sequence cannot be read", fault)
            return
        try:
            sequence = load_sequence(file)
            betas = betas_of(sequence["smpl"]["betas"])
            gender = gender_of(sequence.get("gender"))
            matrix = numbers(sequence["camera"]["intrinsics"], (3, 3), "intrinsics")
        except FAULTS as error:
            for i in range(start, start + unit.rows):
                yield Dropped(f"{file} frame {i}", "sequence has no usable betas, gender or camera", str(error))
            return
        camera = Perspective(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        root = self.bodies.of(gender).root(betas[None])[0]
        boxes = sequence["bboxes"] if isinstance(sequence["bboxes"], dict) else {"bboxes": sequence["bboxes"]}
        invalid = boxes.get("invalid_idxs")
        invalid = set(np.asarray([] if invalid is None else invalid).reshape(-1).astype(int).tolist())

        def make(i: int) -> PersonRecord:
            if "good_frames_mask" in sequence and not flag(sequence["good_frames_mask"][i]):
                raise BadEntry("not a good frame (good_frames_mask)")
            if i in invalid:
                raise BadEntry("box is not valid (invalid_idxs)")
            box = numbers(boxes["bboxes"][i], (4,), "bboxes")
            center, scale = crop_of_xyxy(box)
            smpl = sequence["smpl"]
            pose = np.concatenate(
                (
                    numbers(smpl["poses_root"][i], (3,), "poses_root"),
                    numbers(smpl["poses_body"][i], (69,), "poses_body"),
                )
            )
            extrinsic = numbers(sequence["camera"]["extrinsics"][i], (4, 4), "extrinsics")
            rotation, shift = extrinsic[:3, :3], extrinsic[:3, 3]
            if not check_rotation(rotation):
                raise BadEntry("extrinsics is not a rotation")
            world = numbers(smpl["trans"][i], (3,), "trans")
            pose, translation = to_camera_frame(pose[None], world[None], root, rotation, shift)
            width, height = (sequence["camera"].get(name) for name in ("width", "height"))
            return PersonRecord(
                key=f"{file.parent.parent.name}/{file.parent.name}/{i:05d}.jpg",
                where=f"{file} frame {i}",
                image=file.parent / f"images/{i:05d}.jpg",
                center=center,
                scale=scale,
                camera=camera,
                pose=pose[0],
                betas=betas,
                translation=translation[0],
                gender=gender,
                labels_2d=joints_as_j24(sequence["kp2d"][i]) if "kp2d" in sequence else None,
                box=box,
                extrinsic=(rotation, shift),
                size=(int(height), int(width)) if height and width else None,
                with_smpl_joints=True,
                more={"sequence": file.parent.name, "frame": i},
            )

        yield from records(range(start, start + unit.rows), make, lambda i: f"{file} frame {i}")


@functools.lru_cache(maxsize=2)
def load_sequence(file: Path) -> dict:
    """A sequence's dict. UserError where it lacks what is needed."""
    sequence = load_restricted_pickle(file, "EMDB")
    missing = [name for name in ("camera", "smpl", "bboxes") if not isinstance(sequence, dict) or name not in sequence]
    if missing:
        raise UserError(f"{file} lacks {', '.join(missing)}; download it again")
    smpl = sequence["smpl"]
    if not isinstance(smpl, dict) or np.ndim(smpl.get("poses_root")) != 2:
        raise UserError(f"{file} has no poses_root of one row per frame; download it again")
    return sequence
