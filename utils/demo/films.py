"""The demo's way through films: which of its inputs are films, and the results of each."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.camera import Focal
from utils.demo.options import VIDEO_KINDS
from utils.demo.placing import Placing
from utils.demo.terminal import written
from utils.errors import UserError
from utils.media.find import by_number, is_film

if TYPE_CHECKING:  # photographs do not need the libraries of films
    from utils.media.film import NumberedPictures


def collect_pictures(paths: list[Path], rate: float) -> "tuple[list[Path], dict[Path, Callable[[], NumberedPictures]]]":
    """Take the pictures of each folder, sorted by number, for the frames of one film -> all films' paths, and functions
    that open the films made of pictures, by their folders."""
    from utils.media.film import NumberedPictures

    folders: dict[Path, list[Path]] = {}
    for path in paths:
        if not is_film(path):
            folders.setdefault(path.parent.resolve(), []).append(path)
    films = {folder: partial(NumberedPictures, by_number(pictures), rate) for folder, pictures in folders.items()}
    return [path for path in paths if is_film(path)] + list(films), films


def reconstruct_films(
    predictor,
    paths: list[Path],
    films: "dict[Path, Callable[[], NumberedPictures]]",
    names: dict[Path, str],
    boxes: dict[Path, list],
    *,
    folder: Path,
    kinds: set[str] = frozenset(),
    renderer: str = "warp",
    smooth: float = 0.06,
    max_people: int = 1,
    focal: float | None = None,
    flip_test: bool = False,
    placing: Placing | None = None,
) -> list[UserError]:
    """Reconstruct films and write their results into a folder -> the errors of those that failed.

    predictor: models.predictor.Predictor. films: by path, functions that open those that are made of pictures. names:
    of the results. boxes: of the people in the first frame. kinds: of files beside the overlay; those that films do not
    have are left out. smooth: seconds. focal: pixels.
    """
    failures = []
    predictor = predictor.refined_by(flip_test=flip_test)
    for path in paths:
        from utils.demo.video_results import VideoResults
        from utils.media.film import open_film

        try:
            worker = VideoResults(predictor, renderer, smooth, max_people, placing=placing)
            files = worker.write(
                films[path]() if path in films else open_film(path),
                folder,
                names[path],
                kinds & set(VIDEO_KINDS),
                boxes[path],
                Focal(focal, "given") if focal else None,
            )
            print(written(files))
        except UserError as error:
            failures.append(error)
    return failures
