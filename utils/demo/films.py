"""The demo's way through films: which of its inputs are films, and the results of each."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from utils.camera import Focal
from utils.demo.options import VIDEO_KINDS
from utils.errors import UserError, printable
from utils.media.find import is_film

if TYPE_CHECKING:  # photographs do not need the libraries of films
    from utils.media.film import NumberedPictures


def collect_pictures(paths: list[Path], rate: float) -> "tuple[list[Path], dict[Path, NumberedPictures]]":
    """Take the pictures of each folder for the frames of one film -> all films' paths, and the films made of pictures,
    by their folders."""
    from utils.media.film import NumberedPictures

    folders: dict[Path, list[Path]] = {}
    for path in paths:
        if not is_film(path):
            folders.setdefault(path.resolve().parent, []).append(path)
    films = {folder: NumberedPictures(pictures, rate) for folder, pictures in folders.items()}
    return [path for path in paths if is_film(path)] + list(films), films


def reconstruct_films(
    predictor, paths: list[Path], films: "dict[Path, NumberedPictures]", names: dict, boxes: dict, args: Namespace
) -> list[UserError]:
    """Reconstruct films and write their results -> the errors of those that failed."""
    failures = []
    predictor = predictor.refined_by(flip_test=bool(args.flip_test))
    for path in paths:
        from utils.demo.video_results import VideoResults
        from utils.media.film import open_film

        try:
            worker = VideoResults(predictor, args.renderer, args.smooth, args.max_people)
            focal = Focal(args.focal, "given") if args.focal else None
            kinds = args.save & set(VIDEO_KINDS)
            written = worker.write(
                films.get(path) or open_film(path), args.output, names[path], kinds, boxes[path], focal
            )
            print("wrote    " + "\n         ".join(map(printable, written)))
        except UserError as error:
            failures.append(error)
    return failures
