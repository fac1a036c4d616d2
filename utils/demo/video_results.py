"""What the demo makes of a video: people followed, their motion smoothed, drawn and written.

The film is read twice: once to see everybody in every frame, which leaves a few numbers per person and frame, and once
more to draw the smoothed bodies. So its length costs time, not memory.
"""

from itertools import islice
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from utils.camera import Focal, WeakPerspective, default_focal, pinhole, place
from utils.detect.tracker import SmoothTrack, Track, Tracker, long_enough
from utils.errors import UserError
from utils.export.records import save_json, save_npz
from utils.export.rig import Motion, RestBody, save_bvh, save_rigged_glb
from utils.media.video import VideoInfo, read_frames, read_video_info, write_video
from utils.render.mesh import RenderOptions
from utils.render.panels import draw_overlay

CHUNK = 8  # frames whose people go through the network together


class VideoResults:
    """Turns videos into results. predictor: models.predictor.Predictor; smooth: seconds, the width of the smoothing."""

    def __init__(self, predictor, renderer: str = "warp", smooth: float = 0.06, max_people: int = 1):
        self.predictor, self.renderer, self.smooth, self.max_people = predictor, renderer, smooth, max_people

    def write(
        self, video: Path, folder: Path, name: str, kinds: set[str], boxes: list = (), focal: Focal | None = None
    ) -> list[Path]:
        """kinds: of utils.demo.options.VIDEO_KINDS, beside the overlay. boxes: of the people in the first frame.

        -> the files written. UserError where the video cannot be read or nobody is in it.
        """
        info = read_video_info(video)
        focal = focal or default_focal(info.height, info.width)
        tracks = self.watch(video, info, boxes)
        people = [PersonInVideo(self.predictor, track, info, focal) for track in tracks]
        folder.mkdir(parents=True, exist_ok=True)
        written = []

        def file(ending: str) -> Path:
            written.append(folder / f"{name}{ending}")
            return written[-1]

        self.draw(video, info, focal, people, file("_overlay.mp4"))
        picture = {"width": info.width, "height": info.height, "rate": float(info.rate), "focal": focal.pixels}
        picture |= {"focal_source": focal.source, "body": self.predictor.body.name}
        for kind, save in (("json", save_json), ("npz", save_npz)):
            if kind in kinds:
                save(file(f".{kind}"), picture, [person.record() for person in people])
        for number, person in enumerate(people):
            ending = f"_person{number + 1}" if number else ""
            if "glb" in kinds:
                save_rigged_glb(file(f"{ending}.glb"), person.rest, person.motion, self.predictor.colors)
            if "bvh" in kinds:
                save_bvh(file(f"{ending}.bvh"), person.rest, person.motion)
        return written

    def watch(self, video: Path, info: VideoInfo, boxes: list = ()) -> list[SmoothTrack]:
        """Everybody in the video, whoever is in it longest first."""
        rate = float(info.rate)
        if self.predictor.finder is None:
            raise UserError("videos need pretrained/movenet_thunder.safetensors; run scripts/convert_movenet.py")
        tracker = Tracker(self.predictor.finder, rate, self.max_people, self.predictor.device, boxes)
        tracks: dict[int, Track] = {}
        frames, count = read_frames(video), 0
        with tqdm(total=info.frames, desc=f"{video.name}: watch", unit="frame", disable=None) as bar:
            while chunk := list(islice(frames, CHUNK)):
                seen = [tracker(image) for image in chunk]
                found = [[self.predictor.detection(p.bbox, p.score) for p in people.values()] for people in seen]
                answers = self.predictor.reconstruct(chunk, found)
                for frame, (numbers, bodies) in enumerate(zip(seen, answers, strict=True), count):
                    for number, body in zip(numbers, bodies, strict=True):
                        track = tracks.setdefault(number, Track())
                        track.frames.append(frame)
                        track.rotmat.append(Rotation.from_rotvec(body.pose).as_matrix().astype(np.float32))
                        track.betas.append(body.betas)
                        track.weak.append(np.array(body.camera))
                count += len(chunk)
                bar.update(len(chunk))
        tracks = long_enough(tracks, rate, count)
        if not tracks:
            raise UserError(f"nobody was found in {video}; --bbox x,y,w,h says where a person is in its first frame")
        tracks = sorted(tracks.values(), key=lambda track: len(track.frames), reverse=True)
        return [track.smooth(rate, self.smooth) for track in tracks]

    def draw(self, video: Path, info: VideoInfo, focal: Focal, people: list["PersonInVideo"], path: Path):
        """Write the overlay video."""
        camera = pinhole(focal.pixels, info.height, info.width)
        frames = tqdm(read_frames(video), total=info.frames, desc=f"{video.name}: draw", unit="frame", disable=None)
        options = RenderOptions(self.renderer, supersampling=1)
        with write_video(path, info.rate) as add:
            for number, image in enumerate(frames):
                bodies = [person.vertices(number) for person in people if person.is_in(number)]
                faces, cameras = self.predictor.faces, [camera] * len(bodies)
                add(draw_overlay(image, bodies, faces, cameras, options))


class PersonInVideo:
    """A smoothed track as bodies in the camera frame of the video."""

    def __init__(self, predictor, track: SmoothTrack, info: VideoInfo, focal: Focal):
        self.predictor, self.track = predictor, track
        camera = pinhole(focal.pixels, info.height, info.width)
        vertices, joints = predictor.pose_body(np.eye(3)[None].repeat(24, 0), track.betas)
        self.rest = RestBody(vertices, joints, predictor.weights, predictor.faces)
        rotmat, translation, places = track.rotmat.copy(), [], []
        for frame, weak in enumerate(track.weak):
            posed, joints = predictor.pose_body(track.rotmat[frame], track.betas)
            placement = place(posed, WeakPerspective(*weak), camera)
            rotmat[frame, 0] = placement.rotation @ rotmat[frame, 0]
            places.append(placement.to_camera(joints))
            translation.append(places[-1][0] - joints[0])
        self.motion = Motion(rotmat, np.stack(translation), track.frames / float(info.rate))
        self.camera, self.joints = camera, np.stack(places)  # (T, 24, 3)

    def is_in(self, frame: int) -> bool:
        return self.track.frames[0] <= frame <= self.track.frames[-1]

    def vertices(self, frame: int) -> np.ndarray:
        """(V, 3) metres, in frame `frame` of the video."""
        index = frame - self.track.frames[0]
        vertices, _ = self.predictor.pose_body(self.motion.rotmat[index], self.track.betas)
        return vertices + self.motion.translation[index].astype(np.float32)

    def record(self) -> dict:
        """The fields of utils.export.records.FIELDS."""
        return {
            "frames": self.track.frames,
            "seen": self.track.seen,
            "pose": Rotation.from_matrix(self.motion.rotmat.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3),
            "betas": self.track.betas,
            "translation": self.motion.translation,
            "joints_3d": self.joints,
            "joints_2d": self.camera.project(self.joints),
        }
