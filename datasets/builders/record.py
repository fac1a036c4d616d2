"""What a reader returns: one record per person and picture, or the reason why there is none."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from utils.camera import Camera

GENDERS = ("neutral", "male", "female")


class BadEntry(Exception):
    """One entry of a release cannot be used. `reason` is counted; `detail` belongs to this entry alone."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


# what reading a broken entry raises
FAULTS = (BadEntry, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


class Dropped(NamedTuple):
    """An entry that gives no row."""

    where: str  # file and entry
    reason: str  # the same words for the same kind
    detail: str = ""


class Unit(NamedTuple):
    """A share of a release that one process reads at once, some hundred rows at most."""

    rows: int  # at most so many
    arguments: tuple  # what the reader needs to find it again
    picture: Path | None = None  # one of its pictures, from which the size of the set is estimated


@dataclass(slots=True)
class PersonRecord:
    """One person in one picture. Lengths in metres, camera frame: x right, y down, z away; angles in radians.

    image: path of a JPEG or PNG, or a function that returns its bytes.
    center (2,), scale: crop centre in pixels, side of the square crop / 200.
    pose (72,) axis-angle with the root in the camera frame, betas (10,), translation (3,): a vertex is
    body(pose, betas) + translation.
    keypoints_2d (24, 3) pixels and keypoints_3d (24, 4), J24 with confidence, for the row; None: from the body.
    labels_2d (24, 3), labels_3d (24, 4) J24 and labels_joints (24, 3) SMPL joints: what the release has beside the
    body, to compare the body with. Confidence 0 and nan: not given.
    box (4,): left, top, right, bottom of the person in the release, to compare the keypoints with.
    extrinsic: rotation (3, 3) and shift (3,) from the world to the camera, if the release has a world frame: the report
    tries whether another convention of it fits the 2D labels better.
    max_fit_error: mean distance to labels_3d, metres, above which the body is left out of the row.
    """

    key: str
    where: str
    image: Path | Callable[[], bytes]
    center: np.ndarray
    scale: float
    camera: Camera | None = None
    pose: np.ndarray | None = None
    betas: np.ndarray | None = None
    translation: np.ndarray | None = None
    gender: str = "neutral"
    keypoints_2d: np.ndarray | None = None
    keypoints_3d: np.ndarray | None = None
    labels_2d: np.ndarray | None = None
    labels_3d: np.ndarray | None = None
    labels_joints: np.ndarray | None = None
    box: np.ndarray | None = None
    size: tuple[int, int] | None = None  # height, width that the release gives; checked against the picture
    extrinsic: tuple[np.ndarray, np.ndarray] | None = None
    max_fit_error: float | None = None
    with_smpl_joints: bool = False  # put the body's 24 joints into the row, for evaluation
    more: dict[str, Any] = field(default_factory=dict)  # further entries of the label


class Reader(Protocol):
    """One release in one format."""

    def units(self) -> list[Unit]:
        """The release in shares, in the order of the rows. UserError where a file is missing or no such file."""

    def read(self, unit: Unit) -> Iterator[PersonRecord | Dropped]:
        """The entries of a share."""

    # may also have notes() and problems(): lines for the report

    def fingerprint(self) -> dict:
        """Plain values that differ where the rows would: files with size and time of change, and options."""


def records(entries: Iterable, make: Callable[..., PersonRecord], where: Callable[..., str]) -> Iterator:
    """make(entry) for each entry -> records; one that fails is `Dropped` with its place, and the next follows."""
    for entry in entries:
        try:
            yield make(entry)
        except BadEntry as error:
            yield Dropped(where(entry), error.reason, error.detail)
        except KeyError as error:
            yield Dropped(where(entry), f"an entry is missing: {error}")
        except FAULTS as error:
            yield Dropped(where(entry), "unreadable entry", f"{type(error).__name__}: {error}")


def picture_of(find: Callable[..., Path], *entry) -> Path | None:
    """find(*entry), the path of an entry's picture, for the estimate of a set's size; None if the entry is broken."""
    try:
        return find(*entry)
    except FAULTS:
        return None


def dicts(entries) -> list[dict]:
    """Entries of a JSON list; what is no dictionary becomes an empty one, which is dropped when it is read."""
    return [entry if isinstance(entry, dict) else {} for entry in entries]


def file_state(*paths: Path) -> list:
    """Name, size and time of change of files, for `Reader.fingerprint`."""
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
