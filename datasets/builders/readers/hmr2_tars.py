"""4D-Humans' training data (Goel et al., ICCV 2023): tars with KEY.jpg and KEY.data.pyd, a pickled list of people.

A person has keypoints_2d (44, 3) and keypoints_3d (44, 4) (25 of OpenPose, then the first 19 of J24), center, scale
(side / 200), body_pose (72,) with the root, betas (10,), has_body_pose, has_betas, extra_info.
"""

import functools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.builders.keypoint_orders import BODY25_TO_J24, J19_TO_J24, to_j24
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Unit, file_state, records
from datasets.builders.values import betas_of, flag, numbers
from utils.errors import UserError
from utils.safe_load.unpickler import loads_restricted_pickle

PICTURES = ("jpg", "jpeg", "png")
LEAST_CONFIDENCE = 0.3  # these limits are those of 4D-Humans' own reader
LEAST_KEYPOINTS = 5
MAX_LOSS = 31000.0
MAX_BETA = 3.0


class Slice(NamedTuple):
    """Bytes of a file."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class Hmr2Tars:
    """All .tar files of a folder."""

    def __init__(self, folder: Path):
        self.files = sorted(folder.rglob("*.tar"))
        if not self.files:
            raise UserError(f"no .tar in {folder}; give a folder of 4D-Humans' tars")

    def fingerprint(self) -> dict:
        return {"format": "4d-humans", "files": file_state(*self.files)}

    def units(self) -> list[Unit]:
        # rows by the first file: to count those of thousands of tars would take as long as to read them
        samples, size = 0, 1
        for file in self.files:
            try:
                samples, size = sum(1 for s in index_tar(file).values() if "pyd" in s), file.stat().st_size
                break
            except UserError:
                continue
        return [Unit(max(1, round(samples * file.stat().st_size / size)), (file,)) for file in self.files]

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        (file,) = unit.arguments
        try:
            samples = index_tar(file)
        except UserError as error:
            yield Dropped(str(file), "tar cannot be read", str(error))
            return
        for key, parts in samples.items():
            picture = next((parts[end] for end in PICTURES if end in parts), None)
            if picture is None or "pyd" not in parts:
                yield Dropped(f"{file} {key}", "sample without picture or data.pyd")
                continue
            try:
                people = loads_restricted_pickle(parts["pyd"].read(), f"{file} {key}.data.pyd", "4D-Humans")
                people = list(people) if isinstance(people, list | tuple) else [people]
            except UserError as error:
                yield Dropped(f"{file} {key}", "data.pyd cannot be read", str(error))
                continue
            yield from records(
                range(len(people)),
                functools.partial(_record, file, key, picture, people),
                lambda i, key=key: f"{file} {key} person {i}",
            )


def index_tar(path: Path) -> dict[str, dict[str, Slice]]:
    """Samples of a webdataset tar: key -> last part of the ending (jpg, pyd) -> where its bytes are."""
    samples: dict[str, dict[str, Slice]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile():
                    folder, _, name = member.name.rpartition("/")
                    stem, _, end = name.partition(".")
                    key = f"{folder}/{stem}" if folder else stem
                    samples.setdefault(key, {})[end.rsplit(".", 1)[-1].lower()] = Slice(
                        path, member.offset_data, member.size
                    )
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path} is damaged or not a tar ({error}); download it again") from error
    return samples


def _record(file: Path, key: str, picture: Slice, people: list[dict], i: int) -> PersonRecord:
    person = people[i]
    labels_2d = _keypoints(person, "keypoints_2d", 3)
    labels_3d = _keypoints(person, "keypoints_3d", 4)
    if labels_2d is None or (labels_2d[:, 2] > 0).sum() < LEAST_KEYPOINTS:
        raise BadEntry(f"fewer than {LEAST_KEYPOINTS} sure 2D keypoints")
    body = {}
    if flag(person.get("has_body_pose", "body_pose" in person)):
        if _loss(person) > MAX_LOSS:
            raise BadEntry("fit is too far from its keypoints")
        body = {"pose": numbers(person["body_pose"], (72,), "body_pose"), "betas": np.zeros(10)}
        if flag(person.get("has_betas", "betas" in person)):
            betas = betas_of(person["betas"])
            body["betas"] = betas if np.abs(betas).max() <= MAX_BETA else np.zeros(10)
    return PersonRecord(
        key=f"{file.stem}/{key}_{i}",
        where=f"{file} {key} person {i}",
        image=picture.read,
        center=numbers(person["center"], (2,), "center"),
        scale=float(np.max(np.asarray(person["scale"], np.float64))),
        **body,
        keypoints_2d=labels_2d,
        keypoints_3d=None if labels_3d is None else labels_3d.copy(),
        labels_2d=labels_2d,
        labels_3d=labels_3d,
    )


def _keypoints(person: dict, name: str, width: int) -> np.ndarray | None:
    """44 keypoints -> J24 (24, width); None where none is sure."""
    if person.get(name) is None:
        return None
    keypoints = numbers(person[name], (44, width), name)
    keypoints[keypoints[:, -1] < LEAST_CONFIDENCE, -1] = 0
    merged, others = to_j24(keypoints[25:], (*J19_TO_J24,)), to_j24(keypoints[:25], BODY25_TO_J24)
    merged = np.where(merged[:, -1:] > 0, merged, others)
    return merged if merged[:, -1].any() else None


def _loss(person: dict) -> float:
    """The largest loss of the fit that the entry tells, 0 if it tells none."""
    loss = (person.get("extra_info") or {}).get("fitting_loss", 0.0)
    loss = list(loss.values()) if isinstance(loss, dict) else loss
    try:
        return float(np.nanmax(np.asarray(loss, np.float64)))
    except (TypeError, ValueError, OverflowError):
        return 0.0
