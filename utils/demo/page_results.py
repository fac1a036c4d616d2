"""Results of the web page as HTML that holds all files, so that none stays on the server."""

import base64
import html
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from utils.demo.jobs import Progress
from utils.demo.options import VIDEO_KINDS
from utils.demo.photo_results import note
from utils.demo.placing import Placing, place_photo
from utils.errors import UserError, printable
from utils.export.html_viewer import viewer_page
from utils.export.records import save_angles, save_json, save_npz
from utils.media.find import is_film
from utils.media.images import load_image, save_image

MAX_MEGABYTES, MAX_FILM_MEGABYTES = 20, 100  # of a photograph and of a film
MAX_PIXELS = 40_000_000  # of a photograph
MAX_SECONDS = 20  # of a film; the rest is left out
MAX_SIDE = 1280  # pixels of a film; larger ones are scaled down
PREVIEW = 480  # pixels of the longer side of the preview
MEDIA_TYPES = {
    **{".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4", ".zip": "application/zip"},
    **{".glb": "model/gltf-binary", ".json": "application/json"},
}


class Choices(NamedTuple):
    """What a visitor chose beside the photograph or film."""

    max_people: int = 1
    placing: Placing = Placing()


def check_upload(path: Path):
    """UserError if a file is too large; the message has no path of the server."""
    film, megabytes = is_film(path), path.stat().st_size / 1e6 if path.is_file() else 0
    most = MAX_FILM_MEGABYTES if film else MAX_MEGABYTES
    if megabytes > most:
        what = "films" if film else "photographs"
        raise UserError(f"{path.name} has {megabytes:.0f} MB, over the maximum of {most} MB for {what}; scale it down")


def preview(path: Path, alt: str) -> str:
    """HTML of the photograph, or of the first frame of the film, that will be worked on. UserError if it cannot be
    read."""
    with named(path):
        image = first_frame(path) if is_film(path) else load_image(path, MAX_PIXELS)
    scale = min(1, PREVIEW / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    _, jpeg = cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1])
    name = shown(path.name)
    return (
        f"<figure class='preview'><img alt='{shown(alt)}' src='data:image/jpeg;base64,{_base64(jpeg.tobytes())}'>"
        f"<figcaption>{name}: press Reconstruct</figcaption></figure>"
    )


def first_frame(path: Path) -> np.ndarray:
    from utils.media.film import open_film  # photographs do not need the libraries of films

    return next(iter(open_film(path).frames(0, 1))).image


def photo_result(predictor, results, path: Path, choices: Choices) -> str:
    """Reconstruct a photograph -> HTML. predictor: models.predictor.Predictor; results: PhotoResults."""
    check_upload(path)
    with named(path):
        image = load_image(path, MAX_PIXELS)
        focal = predictor.focal(image, path)
    detections = predictor.find(image, max_people=choices.max_people)
    placed = place_photo(predictor.reconstruct([image], [detections], [focal])[0], choices.placing)
    people = placed.people
    overlay = results.overlay(image, people)
    viewer = html.escape(viewer_page(path.stem, *results.group(people), overlay, image))
    found = [person for person in people if person.score is not None]
    described = [
        "; ".join(filter(None, (f"person {number}: confidence {person.score:.0%}", note(person))))
        for number, person in enumerate(found, 1)
    ]
    nobody = "Nobody was found: the whole picture is used as the box of one person."
    notes = f"<p>{shown(placed.describe())}</p>" if choices.placing != Placing() else ""
    ratio = image.shape[1] / image.shape[0]
    with tempfile.TemporaryDirectory(prefix="smpl-pose-") as folder:
        folder = Path(folder)
        save_image(folder / "overlay.png", overlay)
        for number, person in enumerate(people, 1):
            results.save_mesh(folder / f"body{number}.glb", placed, person)
        if found:
            results.save_scene(folder / "scene.glb", image, placed)
        picture, records = results.numbers(image, placed)
        save_json(folder / "bodies.json", picture, records)
        save_npz(folder / "bodies.npz", picture, records)
        save_angles(folder / "angles.csv", records)
        files = packed(path.stem, {f"{path.stem}_{file.name}": file for file in sorted(folder.iterdir())})
    return (
        f"{_people(described) if found else f'<p>{nobody}</p>'}{notes}<iframe title='result' sandbox='allow-scripts' "
        f"style='--ratio: {ratio:.4f}' srcdoc=\"{viewer}\"></iframe>{files}"
    )


def film_result(predictor, results, path: Path, choices: Choices, report: Callable[[Progress], None]) -> str:
    """Reconstruct the beginning of a film -> HTML. `report` is called with the progress, and may raise an error."""
    from utils.demo.video_results import VideoResults
    from utils.media.bounded_film import BoundedFilm
    from utils.media.film import open_film

    check_upload(path)
    steps = iter(("Step 1 of 2: find people", "Step 2 of 2: draw bodies"))
    bar = lambda total, desc: FrameCount(report, next(steps), total)  # noqa: E731
    options = {"max_people": choices.max_people, "bar": bar, "placing": choices.placing}
    worker = VideoResults(predictor.refined_by(flip_test=False), results.options.backend, **options)
    with named(path), tempfile.TemporaryDirectory(prefix="smpl-pose-") as folder:
        film = BoundedFilm(open_film(path), MAX_SECONDS, MAX_SIDE)
        found = worker.reconstruct(film)
        if not found.people:
            raise UserError(f"nobody was found in {path.name}; use a film in which a whole person is visible")
        written = worker.save(film, found, Path(folder), "film", set(VIDEO_KINDS))
        files = packed(path.stem, {path.stem + file.name.removeprefix("film"): file for file in written})
    height, width = film.info[2:]
    placed = found.shots if choices.placing != Placing() else ()
    notes = [shown(shot.placed.describe()) + "." for shot in placed]
    notes += [f"Only the first {MAX_SECONDS} seconds are used."] if film.is_cut else []
    notes += [f"The film was scaled down to {width} x {height} pixels."] if film.zoom < 1 else []
    people = [person.describe(number) for number, person in enumerate(found.people, 1)]
    drawn = shown(f"{path.stem}_overlay.mp4")
    video = f"<video controls playsinline data-file='{drawn}' aria-label='The film with the bodies drawn over it'>"
    return f"{_people(people)}<p>{' '.join(notes)}</p>{video}</video>{files}"


class FrameCount:
    """A progress bar that is a report, see utils.demo.video_results.VideoResults."""

    def __init__(self, report: Callable[[Progress], None], step: str, total: int):
        self.report, self.progress = report, Progress(step, 0, total)

    def __enter__(self) -> "FrameCount":
        self.report(self.progress)
        return self

    def __exit__(self, *_):
        pass

    def update(self, frames: int):
        self.progress = self.progress._replace(done=self.progress.done + frames)
        self.report(self.progress)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors in this block name the file, not its path on the server."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None


def packed(name: str, files: dict[str, Path]) -> str:
    """Links to files, by the names that visitors get, and to NAME.zip with all of them. The page's script cuts the
    files out of the .zip, which holds them uncompressed, so that each is in the page once."""
    archive, items = io.BytesIO(), []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for called, path in files.items():
            file.write(path, printable(called))
            end, called = archive.tell(), shown(called)
            place = f"data-from='{end - path.stat().st_size}' data-to='{end}'"
            kind = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
            items.append(f"<li><a download='{called}' {place} data-type='{kind}'>{called}</a></li>")
    data, name = _base64(archive.getvalue()), shown(name)
    whole = f"<a class='whole' download='{name}.zip' href='data:application/zip;base64,{data}'>{name}.zip</a>"
    return f"<section class='files' aria-label='Files'><p>All files: {whole}</p><ul>{''.join(items)}</ul></section>"


def shown(text: str) -> str:
    """Text of a name, from wherever, as HTML."""
    return html.escape(printable(text))


def _people(described: list[str]) -> str:
    count = "1 person" if len(described) == 1 else f"{len(described)} people"
    items = "".join(f"<li>{shown(text)}</li>" for text in described)
    return f"<p>{count} found</p><ul>{items}</ul>"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
