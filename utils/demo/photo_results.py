"""Files that the demo writes for a photograph: pictures, meshes, parameters, an interactive view."""

import math
from pathlib import Path

import cv2
import numpy as np

from utils.demo.placing import Placed
from utils.detect.visibility import hatching, summary
from utils.export.html_viewer import viewer_page
from utils.export.meshes import save_mesh
from utils.export.records import save_angles, save_json, save_npz
from utils.export.scene import StillPerson, save_scene
from utils.files import make_folder, write_text
from utils.media.images import save_image
from utils.person import Person
from utils.render.labels import number_people, person_color
from utils.render.mesh import RenderOptions
from utils.render.panels import draw_joints, draw_overlay, draw_sheet, draw_views

DRAWN_PIXELS = 40_000_000  # larger photographs are drawn at this size: drawing takes 30 bytes a pixel
SHEET_HEIGHT = 1200  # pixels; the overlay alone keeps the photograph's resolution
LEAST_SHEET_HEIGHT = 320  # pixels, of the sheet of a small photograph
VIEW_SIDE = 1000  # pixels of the side and top views
VIEWS = {"side": {"angle_deg": 90}, "top": {"angle_deg": 0, "tilt_deg": 90}}


class PhotoResults:
    """Draws and writes results of photographs.

    faces (F, 3), colors (V, 3) uint8, body: name of the body model, weights (V, 24): of its skin; without them, guessed
    parts are not hatched.
    """

    def __init__(
        self,
        faces: np.ndarray,
        colors: np.ndarray,
        body: str,
        renderer: str = "warp",
        weights: np.ndarray | None = None,
    ):
        self.faces, self.colors, self.body, self.weights = faces, colors, body, weights
        self.options = RenderOptions(renderer)

    def write(self, folder: Path, name: str, image: np.ndarray, placed: Placed, kinds: set[str]) -> list[Path]:
        """Write the results of a photograph (H, W, 3) uint8 -> the files, in the order of writing.

        placed: of utils.demo.placing.place_photo, at least one person. kinds: of utils.demo.options.PHOTO_KINDS; sheet
        and overlay are always written. Each file is written atomically.
        """
        make_folder(folder)
        people, written, zoom = placed.people, [], self.zoom(image)
        drawn = image if zoom == 1 else _resize(image, zoom)

        def file(ending: str) -> Path:
            written.append(folder / f"{name}{ending}")
            return written[-1]

        overlay, group = self.overlay(drawn, people, zoom), self._drawn(people)
        save_image(file(".png"), self.sheet(drawn, people, overlay))
        save_image(file("_overlay.png"), overlay)
        for view in (view for view in VIEWS if view in kinds):
            picture = draw_views(faces=self.faces, height=VIEW_SIDE, width=VIEW_SIDE, **group, **VIEWS[view])
            save_image(file(f"_{view}.png"), picture)
        if "keypoints" in kinds:
            joints = self._joints_2d(people, zoom)
            picture = draw_joints(drawn, [*joints.values()])
            number_people(picture, joints, len(people))
            save_image(file("_keypoints.png"), picture)
        for kind in (kind for kind in ("obj", "ply", "glb") if kind in kinds):
            for number, person in enumerate(people, 1):
                self.save_mesh(file(f".{kind}" if number == 1 else f"_person{number}.{kind}"), placed, person)
        if "scene" in kinds:
            self.save_scene(file("_scene.glb"), image, placed)
        if "html" in kinds:
            write_text(file(".html"), viewer_page(name, *self.group(people), overlay, drawn))
        if kinds & {"npz", "json", "angles"}:
            picture, records = self.numbers(image, placed)
            for kind, save in (("json", save_json), ("npz", save_npz)):
                if kind in kinds:
                    save(file(f".{kind}"), picture, records)
            if "angles" in kinds:
                save_angles(file("_angles.csv"), records)
        return written

    def save_mesh(self, path: Path, placed: Placed, person: Person):
        """Write somebody's mesh; the ending of the path is the kind of file."""
        vertices, frame = placed.mesh(person)
        save_mesh(path, vertices, self.faces, self.colors, frame)

    def save_scene(self, path: Path, image: np.ndarray, placed: Placed):
        """Write everybody before the camera of the photograph (H, W, 3) uint8, see utils.export.scene."""
        still = [StillPerson(person.to_camera(person.vertices)) for person in placed.people]
        camera, frame = placed.people[0].perspective, placed.place.frame
        save_scene(path, image, camera, still, self.faces, self.colors, frame)

    def numbers(self, image: np.ndarray, placed: Placed) -> tuple[dict, list[dict]]:
        """Fields of the picture and of everybody in it, for utils.export.records."""
        height, width = image.shape[:2]
        focal = placed.people[0].focal
        picture = {
            **{"width": width, "height": height, "body": self.body},
            **{"focal": focal.pixels, "focal_source": focal.source},
        }
        return picture | placed.fields(), placed.records()

    @staticmethod
    def zoom(image: np.ndarray) -> float:
        """Scale at which pictures of an image (H, W, 3) are drawn: 1 up to DRAWN_PIXELS, less above."""
        return min(1.0, math.sqrt(DRAWN_PIXELS / (image.shape[0] * image.shape[1])))

    def overlay(self, image: np.ndarray, people: list, zoom: float = 1.0) -> np.ndarray:
        """image: the photograph, scaled by zoom. Several people have numbers and colours, guessed parts are hatched."""
        bodies = [person.to_camera(person.vertices) for person in people]
        cameras = [person.perspective.window(0, 0, zoom) for person in people]
        picture = draw_overlay(image, bodies, self.faces, cameras, self.looks(people))
        number_people(picture, self._joints_2d(people, zoom), len(people))
        return picture

    def sheet(self, image: np.ndarray, people: list, overlay: np.ndarray | None = None) -> np.ndarray:
        """Photograph, its overlay (default: drawn here), and a side view of each person, in a row."""
        overlay = self.overlay(image, people) if overlay is None else overlay
        heights = {"max_height": SHEET_HEIGHT, "min_height": LEAST_SHEET_HEIGHT}
        return draw_sheet(image, overlay, faces=self.faces, **self._drawn(people), **heights)

    def _drawn(self, people: list) -> dict[str, list]:
        """Arguments of the functions that draw views of several bodies."""
        bodies = [person.to_camera(person.vertices) for person in people]
        return {"bodies": bodies, "options": self.looks(people), "notes": [note(person) for person in people]}

    def looks(self, people: list) -> list[RenderOptions]:
        """How each person is drawn."""
        return person_looks(self.options, self.weights, [person.guessed for person in people])

    @staticmethod
    def _joints_2d(people: list, zoom: float) -> dict[int, np.ndarray]:
        """Number of each person -> joints (24, 2) in pixels of the photograph, scaled by zoom."""
        pixels = (person.perspective.project(person.to_camera(person.joints)) for person in people)
        return {number: (points + 0.5) * zoom - 0.5 for number, points in enumerate(pixels, 1)}

    def group(self, people: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All people as one mesh in the camera frame of the photograph: vertices, faces, colours."""
        vertices = np.concatenate([person.to_camera(person.vertices) for person in people])
        faces = np.concatenate([self.faces + i * len(self.colors) for i in range(len(people))])
        return vertices, faces, np.tile(self.colors, (len(people), 1))


def person_looks(
    options: RenderOptions, weights: np.ndarray | None, guessed: list[tuple[str, ...]]
) -> list[RenderOptions]:
    """How each person is drawn: in a colour of his or her own if there are several, guessed parts hatched.

    weights (V, 24): of the skin; without them, nothing is hatched.
    """
    colors = [person_color(number, len(guessed)) for number in range(1, len(guessed) + 1)]
    hatched = [None if weights is None else hatching(weights, parts) for parts in guessed]
    return [options._replace(color=c, hatched=h) for c, h in zip(colors, hatched, strict=True)]


def note(person) -> str:
    """The line of a person's panel: what is guessed."""
    return f"guessed: {summary(person.guessed)}" if person.guessed else ""


def _resize(image: np.ndarray, zoom: float) -> np.ndarray:
    size = (round(image.shape[1] * zoom), round(image.shape[0] * zoom))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
