"""What the demo makes of a film: people followed, their motion smoothed, drawn and written.

The film is read twice: once to find everybody in every frame, which leaves a few numbers per person and frame, and once
more to draw the smoothed bodies. So its length costs time, not memory.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from utils.camera import Focal, default_focal
from utils.demo.film_person import PersonInFilm, guessed_in_most
from utils.demo.film_placing import Shot, film_records, on_floor, place_film, rig_motion
from utils.demo.photo_results import person_looks
from utils.demo.placing import Placing
from utils.demo.terminal import labelled, short_name
from utils.demo.watch import Watcher, frames_bar
from utils.errors import UserError
from utils.export.records import save_angles, save_json, save_npz
from utils.export.rig import save_bvh, save_rigged_glb
from utils.export.scene import MovingPerson, save_scene
from utils.media.bounded_film import BoundedFilm
from utils.media.clock import rate_of
from utils.media.film import Film
from utils.media.prefetch import parallel_map
from utils.media.video import Frame, VideoFile
from utils.media.video_writer import write_video
from utils.person import check_bbox
from utils.process import divided_cores
from utils.render.labels import number_people
from utils.render.mesh import RenderOptions
from utils.render.panels import draw_overlay

WORKERS = 4  # threads that draw
MAX_SIDE = 16_384  # pixels, of a film: more does not fit an H.264 file
AGREE = 0.02  # of the rate: how far the header's may be from that of the frames


class PeopleInFilm(NamedTuple):
    """Everybody in a film, and the numbers of the frames with which a new shot begins."""

    people: list[PersonInFilm]
    cuts: np.ndarray
    focal: Focal
    shots: list[Shot]  # the same people, and where files have them


class VideoResults:
    """Turns films into results.

    predictor: models.predictor.Predictor. smooth: seconds, the width of the smoothing. bar: called as tqdm with `total`
    frames and `desc` -> a context manager with `update(frames)`.
    """

    def __init__(
        self,
        predictor,
        renderer: str = "warp",
        smooth: float = 0.06,
        max_people: int = 1,
        bar: Callable = frames_bar,
        placing: Placing | None = None,
    ):
        if predictor.finder is None:
            raise UserError("videos need pretrained/movenet_thunder.safetensors; run scripts/convert_movenet.py")
        self.predictor = predictor.refined_by(rest_halves=False)  # a half may be cut off in some frames only
        self.renderer, self.smooth, self.max_people = renderer, smooth, max_people
        self.bar, self.placing = bar, placing or Placing()

    def write(
        self,
        film: Film | BoundedFilm,
        folder: Path,
        name: str,
        kinds: set[str],
        boxes: list = (),
        focal: Focal | None = None,
    ) -> list[Path]:
        """`reconstruct`, say who was found, and `save`. UserError if nobody is in the film."""
        found = self.reconstruct(film, boxes, focal)
        if not found.people:
            raise UserError(
                f"nobody was found in {film.path}; --bbox x,y,w,h says where a person is in its first frame"
            )
        for number, person in enumerate(found.people, 1):
            print(labelled("found", f"{short_name(film.path.name)}: {person.describe(number)}"))
        for shot in found.shots if self.placing != Placing() else ():
            print(labelled("placed", f"{short_name(film.path.name)}: {shot.placed.describe()}"))
        return self.save(film, found, folder, name, kinds)

    def reconstruct(self, film: Film | BoundedFilm, boxes: list = (), focal: Focal | None = None) -> PeopleInFilm:
        """boxes: of the people in the first frame. UserError if the film cannot be read."""
        height, width = film.info[2:]
        if max(height, width) > MAX_SIDE:
            raise UserError(f"{film.path} has {width} x {height} pixels; make it smaller: at most {MAX_SIDE} a side")
        for box in boxes:
            check_bbox(box, height, width)
        focal = focal or default_focal(height, width)
        watcher = Watcher(self.predictor, film, self.max_people, boxes, self.bar)
        tracks = watcher.watch()
        if boxes and not any(watcher.is_given(track) for track in tracks):
            raise UserError(f"nobody was found in the given box in {film.path}; give a box in its first frame")
        times = np.array(film.times)
        people = [
            PersonInFilm(
                *(self.predictor, track.smooth(times, self.smooth), height, width, focal),
                guessed_in_most(track, height, width),
            )
            for track in tracks
        ]
        shots = place_film(people, watcher.shots(), self.placing)
        people = [person for shot in shots for person in shot.placed.people]
        return PeopleInFilm(people, np.array(watcher.cuts, int), focal, shots)

    def save(
        self, film: Film | BoundedFilm, found: PeopleInFilm, folder: Path, name: str, kinds: set[str]
    ) -> list[Path]:
        """Write the overlay and files of `kinds`, of utils.demo.options.VIDEO_KINDS -> the files written."""
        people, focal = found.people, found.focal
        folder.mkdir(parents=True, exist_ok=True)
        written = []

        def file(ending: str) -> Path:
            written.append(folder / f"{name}{ending}")
            return written[-1]

        self.draw(film, people, file("_overlay.mp4"))
        rate = measured_rate(film)
        height, width = film.info[2:]
        picture = {"width": width, "height": height, "rate": rate, "focal": focal.pixels, "focal_source": focal.source}
        picture |= {"cuts": found.cuts, "body": self.predictor.body.name}
        picture |= {"place": self.placing.place} if self.placing.place else {}
        shots = found.shots if kinds - {"scene"} else []  # the scene has people where the picture has them
        standing = [[on_floor(person, shot.placed.place) for person in shot.placed.people] for shot in shots]
        numbers = zip(shots, standing, strict=True) if kinds & {"json", "npz", "angles"} else ()
        records = [record for shot, moved in numbers for record in film_records(shot.placed, moved)]
        for kind, save in (("json", save_json), ("npz", save_npz)):
            if kind in kinds:
                save(file(f".{kind}"), picture, records)
        if "angles" in kinds:
            save_angles(file("_angles.csv"), records)
        if "scene" in kinds:
            for shot in found.shots:
                number = 1 + int((found.cuts <= shot.first).sum())
                self._save_scene(file(f"_scene_shot{number}.glb" if len(found.cuts) else "_scene.glb"), film, shot)
        rigs = [(person, shot.placed.place) for shot, moved in zip(shots, standing, strict=True) for person in moved]
        for number, (person, place) in enumerate(rigs):
            ending, motion = f"_person{number + 1}" if number else "", rig_motion(person, place)
            if "glb" in kinds:
                save_rigged_glb(file(f"{ending}.glb"), person.rest, motion, self.predictor.colors, place.frame)
            if "bvh" in kinds:
                save_bvh(file(f"{ending}.bvh"), person.rest, motion, rate, place.frame)
        return written

    def _save_scene(self, path: Path, film: Film | BoundedFilm, shot: Shot):
        """Write the people of a shot before its first frame."""
        times, people = np.array(film.times), []
        for person in shot.placed.people:
            motion = person.motion._replace(times=person.motion.times - times[shot.first])
            people.append(MovingPerson(person.rest, motion, person.in_view(shot.first, shot.after, times)))
        (picture, _), *_ = film.frames(shot.first, shot.first + 1)
        camera, frame = shot.placed.people[0].camera, shot.placed.place.frame
        save_scene(path, picture, camera, people, self.predictor.faces, self.predictor.colors, frame)

    def draw(self, film: Film | BoundedFilm, people: list[PersonInFilm], path: Path):
        """Write the overlay video: the frames' own times, the film's own sound."""
        looks = person_looks(
            RenderOptions(self.renderer, supersampling=1), self.predictor.weights, [p.guessed for p in people]
        )
        source = film.source if isinstance(film, BoundedFilm) else film
        sound = source if isinstance(source, VideoFile) else None
        name = f"{short_name(film.path.name, 24)}: draw"

        def draw(numbered: tuple[int, Frame]) -> Frame:
            number, (image, time) = numbered
            drawn = [i for i, person in enumerate(people) if person.is_drawn(number)]
            bodies, cameras = [people[i].vertices(number) for i in drawn], [people[i].camera for i in drawn]
            picture = draw_overlay(image, bodies, self.predictor.faces, cameras, [looks[i] for i in drawn])
            number_people(picture, {i + 1: people[i].joints_2d(number) for i in drawn}, len(people))
            return Frame(picture, time)

        workers = min(WORKERS, torch.get_num_threads())
        with (
            write_video(path, film.info.rate, sound) as add,
            self.bar(total=len(film.times), desc=name) as bar,
            divided_cores(workers),
        ):
            for picture, time in parallel_map(draw, enumerate(film.frames()), workers):
                add(picture, time)
                bar.update(1)


def measured_rate(film: Film | BoundedFilm) -> float:
    """Frames per second: what the header says if the frames agree, else theirs. After all frames were reached."""
    claimed, measured = float(film.info.rate), float(rate_of(film.times))
    return claimed if len(film.times) == 1 or abs(claimed / measured - 1) <= AGREE else measured
