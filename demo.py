"""3D bodies from photographs and videos: `python demo.py --img_path samples/im01.png`.

From Python: `predictor = demo.load_predictor()`, then `people = predictor("photo.jpg")` for each photograph.
"""

import math
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from models.predictor import BATCH_SIZE, Predictor, load_network, load_predictor
from utils.demo.boxes import read_boxes, warn_of_unused_boxes
from utils.demo.films import collect_pictures, reconstruct_films
from utils.demo.options import PHOTO_KINDS, check_kinds, check_output, parse_demo_args
from utils.demo.photo_results import PhotoResults
from utils.demo.placing import Placing, place_photo
from utils.demo.terminal import labelled, short_name, written
from utils.detect.visibility import summary
from utils.errors import UserError, exit_on_user_error, printable
from utils.media.find import find_media, is_film, load_images, name_results
from utils.media.images import count_frames
from utils.person import Person

__all__ = ["Predictor", "load_network", "load_predictor"]

BATCH_PIXELS = 40_000_000  # pixels of the photographs in memory at a time
WELCOME = """Name a photograph, a video or a folder:  python demo.py --img_path FILE
Try the sample:  python demo.py --img_path samples/im01.png
See all options:  python demo.py --help"""


@exit_on_user_error
def main():
    # a cluster or a user ends the program: temporary files go, and no half film stays
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if len(sys.argv) == 1:
        print(WELCOME, file=sys.stderr)
        sys.exit(2)
    args = parse_demo_args()
    boxes = read_boxes(args.boxes) if args.boxes else {}
    paths, films = find_media(args.img_path), {}
    if args.fps:
        paths, films = collect_pictures(paths, args.fps)
    if not args.serve and args.webcam is None and not any(os.path.exists(path) for path in paths):
        raise UserError(f"image not found: {', '.join(map(str, paths))}; check the path")
    moving = [path for path in paths if path in films or is_film(path)]
    photos = [path for path in paths if path not in {*moving}]
    if not args.serve:
        others = [args.boxes, args.load_checkpoint, args.smpl_path, args.keypoint_regressor]
        check_output(args.output, name_results(paths), paths, args.save, [Path(path) for path in others if path])
        if not args.save_all:
            check_kinds(args.save, photos, [*moving, *([Path("webcam")] if args.webcam is not None else [])])

    start = time.perf_counter()
    files = args.load_checkpoint, args.device, args.smpl_path, args.keypoint_regressor
    refinements = {name: getattr(args, name) for name in ("fit_keypoints", "quarter_turns", "tight_crop")}
    refinements["flip_test"] = args.flip_test is not False
    predictor = load_predictor(*files, precision=args.precision, compile=args.compile, **refinements)
    where = f"on {predictor.device} in {predictor.precision}, loaded in {time.perf_counter() - start:.1f} s"
    print(labelled("network", f"{where}; body: {printable(predictor.body.name)}"))
    results = PhotoResults(predictor.faces, predictor.colors, predictor.body.name, args.renderer, predictor.weights)
    if args.serve:
        from utils.demo.web_page import serve

        return serve(predictor, results, args.host, args.port)

    with tempfile.TemporaryDirectory(prefix="smpl-pose-") as scratch:
        if args.webcam is not None:
            from utils.media.webcam import record_webcam

            paths.append(record_webcam(args.webcam, Path(scratch) / "webcam.mp4", args.seconds))
        names = dict(zip(paths, name_results(paths), strict=True))
        warn_of_unused_boxes(boxes, paths)
        boxes = {path: [args.bbox] if args.bbox else boxes.get(path.name, []) for path in paths}
        moving += [path for path in paths if path not in {*moving, *photos}]  # the recording
        failures = reconstruct_photos(predictor, results, photos, names, boxes, args)
        options = {name: getattr(args, name) for name in ("renderer", "smooth", "max_people", "focal", "placing")}
        options |= {"folder": args.output, "kinds": args.save, "flip_test": bool(args.flip_test)}
        failures += reconstruct_films(predictor, moving, films, names, boxes, **options)
    for failure in failures if len(paths) > 1 else ():
        print(f"error: {printable(str(failure))}", file=sys.stderr)
    if len(failures) == len(paths):
        raise failures[0] if len(paths) == 1 else UserError(f"none of the {len(paths)} files could be processed")


def reconstruct_photos(
    predictor: Predictor, results: PhotoResults, paths: list[Path], names: dict, boxes: dict, args
) -> list[UserError]:
    """Reconstruct photographs in batches and write their results -> the errors of those that failed."""
    failures, waiting = [], []
    kinds = args.save & set(PHOTO_KINDS)
    with tqdm(total=len(paths), unit="image", disable=None if len(paths) > 1 else True) as bar:

        def flush():
            pictures, detections, focals = zip(*(entry[1:] for entry in waiting), strict=True)
            for (path, image, *_), people in zip(
                waiting, predictor.reconstruct(pictures, detections, focals), strict=True
            ):
                name = short_name(path.name)
                if (count := count_frames(path)) > 1:
                    bar.write(labelled("note", f"{name}: the first of its {count} pictures is used"))
                if (zoom := results.zoom(image)) < 1:
                    bar.write(labelled("note", f"{name}: large, so its pictures are drawn at {zoom:.0%} of its size"))
                found = bool(boxes[path]) or people[0].score is not None
                try:
                    if "scene" in kinds and not found and not args.save_all:
                        raise UserError(f"nobody was found in {path}, and a scene needs people: name them with --bbox")
                    placed = place_photo(people, args.placing)
                    own = kinds if found else kinds - {"scene"}
                    files = results.write(args.output, names[path], image, placed, own)
                except UserError as error:  # a name too long, a full disk: the others go on
                    failures.append(error)
                    bar.update()
                    continue
                for number, person in enumerate(people, 1):
                    label = "person" if len(people) == 1 else f"person {number}"
                    bar.write(labelled(label, f"{name}: {describe(person, bool(boxes[path]))}"))
                if args.placing != Placing():
                    bar.write(labelled("placed", f"{name}: {placed.describe()}"))
                bar.write(written(files))
                bar.update()
            waiting.clear()

        for path, image in load_images(paths):
            try:
                if isinstance(image, UserError):
                    raise image
                detections = predictor.find(image, boxes[path], args.max_people)
            except UserError as error:
                failures.append(error)
                bar.update()
                continue
            waiting.append((path, image, detections, predictor.focal(image, path, args.focal)))
            crowd = sum(len(entry[2]) for entry in waiting) >= BATCH_SIZE
            if crowd or sum(math.prod(entry[1].shape[:2]) for entry in waiting) > BATCH_PIXELS:
                flush()
        if waiting:
            flush()
    return failures


def describe(person: Person, given: bool) -> str:
    """Where a person is, how it was found, and what of it is guessed; given: by --bbox or --boxes."""
    x, y, width, height = person.bbox.round().astype(int)
    box = f"at x {x}, y {y}, {width} x {height} pixels"
    if given:
        where = f"given {box}"
    elif person.score is None:
        where = "nobody found: the whole image is used as one person (choose a part of it with --bbox x,y,w,h)"
    else:
        where = f"found {box}, confidence {person.score:.0%}"
    guessed = f"; guessed: {summary(person.guessed)}" if person.guessed else ""
    rest = f"; {person.at_rest} beyond the picture's edge, in rest pose" if person.at_rest else ""
    return where + guessed + rest


if __name__ == "__main__":
    main()
