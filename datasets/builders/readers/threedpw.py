"""3DPW as its owners give it: imageFiles/SEQUENCE/image_00000.jpg, sequenceFiles/SPLIT/SEQUENCE.pkl.

A pickle has, for each person, pose (world-frame root), translation, betas, gender, validity of the camera and 2D
detections; for the sequence, world-to-camera matrices and one intrinsic matrix (von Marcard et al., ECCV 2018).
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.builders.bodies import Bodies
from datasets.builders.boxes import crop_of_points
from datasets.builders.frames import check_rotation, to_camera_frame
from datasets.builders.keypoint_orders import COCO18_TO_J24, to_j24
from datasets.builders.record import FAULTS, BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import betas_of, flag, gender_of, numbers, text
from utils.camera import Perspective
from utils.errors import UserError
from utils.safe_load.unpickler import load_restricted_pickle

FRAMES = 128  # of a unit
LEAST_VISIBLE = 6  # 2D joints: with fewer there is no box
NEEDED = ("poses", "trans", "betas", "genders", "cam_poses", "cam_intrinsics", "poses2d")


class ThreeDPW:
    """The sequences of one or more splits ("train", "validation", "test")."""

    def __init__(self, images: Path, sequences: Path, splits: tuple[str, ...], bodies: Bodies):
        self.images, self.sequences, self.splits, self.bodies = images, sequences, splits, bodies
        self.files = [file for split in splits for file in sorted((sequences / split).glob("*.pkl"))]
        if not images.is_dir():
            raise UserError(f"no folder {images}; give the unpacked imageFiles of 3DPW with --images")
        if not self.files:
            raise UserError(
                f"no .pkl in {sequences / splits[0]}; give the unpacked sequenceFiles of 3DPW with --sequences"
            )

    def fingerprint(self) -> dict:
        return {"format": "3dpw", "images": str(self.images), "files": file_state(*self.files)}

    def units(self) -> list[Unit]:
        units = []
        for file in self.files:
            try:
                sequence = load_sequence(file)
            except UserError as error:
                units.append(Unit(0, (file, 0, 0, 0, str(error))))
                continue
            picture = self._picture(sequence["name"], 0)
            for person, count in enumerate(sequence["counts"]):
                for start in range(0, count, FRAMES):
                    stop = min(start + FRAMES, count)
                    units.append(Unit(stop - start, (file, person, start, stop, ""), picture))
        return units

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        file, person, start, stop, fault = unit.arguments
        if fault:
            yield Dropped(str(file), "sequence cannot be read", fault)
            return
        try:
            track = self._track(file, person)
        except FAULTS as error:
            for i in range(start, stop):
                yield Dropped(f"{file} person {person} frame {i}", "person cannot be read", str(error))
            return
        yield from records(
            range(start, stop), lambda i: self._record(track, i), lambda i: f"{file} person {person} frame {i}"
        )

    def _picture(self, name: str, frame: int) -> Path:
        return self.images / name / f"image_{frame:05d}.jpg"

    def _track(self, file: Path, person: int) -> dict:
        """What all frames of a person share, checked."""
        sequence = load_sequence(file)
        matrix = numbers(sequence["cam_intrinsics"], (3, 3), "cam_intrinsics")
        betas = betas_of(_of_person(sequence, "betas", person))
        gender = gender_of(_of_person(sequence, "genders", person))
        return {
            "sequence": sequence,
            "where": f"{file} person {person}",
            "person": person,
            "camera": Perspective(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]),
            "betas": betas,
            "gender": gender,
            "root": self.bodies.of(gender).root(betas[None])[0],
        }

    def _record(self, track: dict, i: int) -> PersonRecord:
        sequence, person = track["sequence"], track["person"]

        def entry(name: str):
            return _of_person(sequence, name, person)[i]

        if "campose_valid" in sequence and not flag(entry("campose_valid")):
            raise BadEntry("camera pose is not valid (campose_valid)")
        detections = entry("poses2d")
        detections = numbers(
            np.asarray(detections).T if np.shape(detections) == (18, 3) else detections, (3, 18), "poses2d"
        ).T
        if (detections[:, 2] > 0).sum() < LEAST_VISIBLE:
            raise BadEntry(f"fewer than {LEAST_VISIBLE} visible 2D joints")
        center, scale = crop_of_points(detections[detections[:, 2] > 0, :2])
        pose = numbers(entry("poses"), (72,), "poses")
        translation = numbers(entry("trans"), (3,), "trans")
        matrix = numbers(sequence["cam_poses"][i], (4, 4), "cam_poses")
        rotation, shift = matrix[:3, :3], matrix[:3, 3]
        if not check_rotation(rotation):
            raise BadEntry("cam_poses is not a rotation")
        pose, moved = to_camera_frame(pose[None], translation[None], track["root"], rotation, shift)
        joints = None
        if "jointPositions" in sequence:
            joints = numbers(entry("jointPositions"), (24, 3), "jointPositions") @ rotation.T + shift
        name = sequence["name"]
        return PersonRecord(
            key=f"{name}/image_{i:05d}.jpg_{person}",
            where=f"{track['where']} frame {i}",
            image=self._picture(name, i),
            center=center,
            scale=scale,
            camera=track["camera"],
            pose=pose[0],
            betas=track["betas"],
            translation=moved[0],
            gender=track["gender"],
            labels_2d=to_j24(detections, COCO18_TO_J24),
            labels_joints=joints,
            extrinsic=(rotation, shift),
            more={"sequence": name, "frame": i, "person": person},
        )


def _of_person(sequence: dict, name: str, person: int):
    """A person's entry. Where there is one person, some writers leave out the list around it."""
    value = sequence[name]
    if name == "genders" and isinstance(value, str | bytes):
        return value
    if sequence["people"] == 1 and name in SHAPES and isinstance(value, np.ndarray) and value.ndim == SHAPES[name]:
        return value
    return value[person]


SHAPES = {"poses": 2, "trans": 2, "betas": 1, "poses2d": 3, "campose_valid": 1, "jointPositions": 2}


@functools.lru_cache(maxsize=2)
def load_sequence(file: Path) -> dict:
    """A sequence's dict, with its `name`, number of `people` and frames of each in `counts`. UserError if broken."""
    sequence = load_restricted_pickle(file, "3DPW")
    if not isinstance(sequence, dict):
        raise UserError(f"{file} holds no dictionary; download sequenceFiles of 3DPW again")
    sequence = {text(key): value for key, value in sequence.items()}
    missing = [name for name in NEEDED if name not in sequence]
    if missing:
        raise UserError(f"{file} lacks {', '.join(missing)}; download sequenceFiles of 3DPW again")
    poses = sequence["poses"]
    alone = isinstance(poses, np.ndarray) and poses.ndim == 2
    tracks = [poses] if alone else poses
    try:
        sequence["people"] = len(tracks)
        sequence["counts"] = [min(len(track), len(sequence["cam_poses"])) for track in tracks]
    except TypeError:
        raise UserError(f"{file}: poses or cam_poses have no frames; download sequenceFiles of 3DPW again") from None
    sequence["name"] = text(sequence.get("sequence", file.stem))
    return sequence
