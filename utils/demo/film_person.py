"""A person of a film as bodies in the film's camera frame."""

import copy
import math

import numpy as np
from scipy.spatial.transform import Rotation

from utils.camera import Crop, Focal, WeakPerspective, pinhole, place
from utils.detect.motion import SmoothTrack, Track
from utils.detect.visibility import PART_NAMES, guessed_parts, summary, visible_keypoints
from utils.export.rig import Motion, RestBody
from utils.joint_angles import joint_angles

DRAWN = 0.5  # seconds to the next frame in which the person was found, up to which a filled-in body is drawn


class PersonInFilm:
    """A smoothed track as bodies. predictor: models.predictor.Predictor; height, width: of the film, pixels.

    guessed: parts that most frames of the track do not show.
    """

    def __init__(
        self,
        predictor,
        track: SmoothTrack,
        height: int,
        width: int,
        focal: Focal,
        guessed: tuple[str, ...] = (),
    ):
        self.predictor, self.track, self.guessed = predictor, track, guessed
        self.camera = pinhole(focal.pixels, height, width)
        vertices, joints = predictor.pose_body(np.eye(3)[None].repeat(24, 0), track.betas)
        self.rest = RestBody(vertices, joints, predictor.weights, predictor.faces)
        self.height = float(np.ptp(vertices[:, 1]))  # metres, standing
        self.scale = 1.0  # size of the person in sizes of the body model's output
        rotmat, translation, places = track.rotmat.copy(), [], []
        for row, weak in enumerate(track.weak):
            posed, joints = predictor.pose_body(track.rotmat[row], track.betas)
            placement = place(posed, WeakPerspective(*weak), self.camera)
            rotmat[row, 0] = placement.rotation @ rotmat[row, 0]
            places.append(placement.to_camera(joints))
            translation.append(places[-1][0] - joints[0])
        self.motion = Motion(rotmat, np.stack(translation), track.times)
        self.joints = np.stack(places)  # (T, 24, 3)
        self._row = {int(frame): row for row, frame in enumerate(track.frames)}
        found = track.times[track.observed]
        after = np.searchsorted(found, track.times)
        before, after = (found[i.clip(0, len(found) - 1)] for i in (after - 1, after))
        self._drawn = np.minimum(np.abs(track.times - before), np.abs(after - track.times)) <= DRAWN

    def scaled(self, factor: float) -> "PersonInFilm":
        """The same person larger and farther away: the picture stays the same."""
        other = copy.copy(self)
        other.height, other.scale = factor * self.height, factor * self.scale
        other.rest = self.rest._replace(vertices=factor * self.rest.vertices, joints=factor * self.rest.joints)
        other.motion = self.motion._replace(translation=factor * self.motion.translation)
        other.joints = factor * self.joints
        return other

    def moved(self, shifts: np.ndarray) -> "PersonInFilm":
        """The same person elsewhere; shifts (T, 3): metres, camera frame."""
        other = copy.copy(self)
        other.motion = self.motion._replace(translation=self.motion.translation + shifts)
        other.joints = self.joints + shifts[:, None].astype(self.joints.dtype)
        return other

    @property
    def motion_at_origin(self) -> Motion:
        """The motion about the root, which stays where it is, as the network estimates it."""
        return Motion(self.track.rotmat, np.zeros((len(self.track.rotmat), 3)), self.track.times)

    def in_view(self, first: int, after: int, times: np.ndarray) -> list[tuple[float, float]]:
        """When the body is drawn during a shot, which has the frames from `first` up to `after`: the seconds since its
        beginning at which each stay begins and ends, inf for the end of the shot. times: of the film's frames."""
        drawn = np.array([False, *(self.is_drawn(frame) for frame in range(first, after)), False])
        starts, ends = (np.flatnonzero(drawn[1:] & ~drawn[:-1]), np.flatnonzero(~drawn[1:] & drawn[:-1]))
        after_shot = {after - first: math.inf}
        clock = times - times[first]
        return [
            (float(clock[first + a]), after_shot.get(b) or float(clock[first + b]))
            for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    def is_drawn(self, frame: int) -> bool:
        return frame in self._row and self._drawn[self._row[frame]]

    def vertices(self, frame: int) -> np.ndarray:
        """(V, 3) metres, in frame number `frame` of the film."""
        return self.body(self._row[frame])

    def body(self, row: int) -> np.ndarray:
        """(V, 3) metres, in the row-th frame in which the person is."""
        vertices, _ = self.predictor.pose_body(self.motion.rotmat[row], self.track.betas)
        return np.float32(self.scale) * vertices + self.motion.translation[row].astype(np.float32)

    def joints_2d(self, frame: int) -> np.ndarray:
        """(24, 2) pixels, in frame number `frame` of the film."""
        return self.camera.project(self.joints[self._row[frame]])

    def record(self) -> dict:
        """The fields of utils.export.records.FIELDS."""
        pose = Rotation.from_matrix(self.motion.rotmat.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3)
        return {
            "frames": self.track.frames,
            "times": self.track.times,
            "observed": self.track.observed,
            "guessed": self.guessed,
            "pose": pose,
            "betas": self.track.betas,
            "height": self.height,
            "scale": self.scale,
            "translation": self.motion.translation,
            "joints_3d": self.joints,
            "joints_2d": self.camera.project(self.joints),
            "angles": joint_angles(pose, self.joints),
        }

    def describe(self, number: int) -> str:
        """Who was found from when to when, and what is guessed, in one line."""
        track = self.track
        hidden = len(track.frames) - track.observed.sum()
        steps = np.flatnonzero(np.diff(track.frames) > 1)
        starts, ends = np.concatenate(([0], steps + 1)), np.concatenate((steps, [len(track.frames) - 1]))
        spans = ", ".join(f"{track.times[a]:.2f} to {track.times[b]:.2f} s" for a, b in zip(starts, ends, strict=True))
        filled = f"; {hidden} of {len(track.frames)} frames filled in" if hidden else ""
        guessed = f"; guessed: {summary(self.guessed)}" if self.guessed else ""
        return f"person {number}, {spans}{filled}{guessed}"


def guessed_in_most(track: Track, height: int, width: int) -> tuple[str, ...]:
    """The parts of a person that are guessed in more than half of the frames; height, width: of the film, pixels."""
    frames = []
    for keypoints, box in zip(track.keypoints, track.boxes, strict=True):
        side = 200 * Crop.around(tuple(box)).scale
        frames.append(guessed_parts(visible_keypoints(keypoints, height, width, side)))
    return tuple(part for part in PART_NAMES if 2 * sum(part in parts for parts in frames) > len(frames))
