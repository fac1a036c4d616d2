"""Find the pictures and videos that a user names by files, folders or globs, and name their results."""

import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.media.images import count_frames, is_picture, load_image
from utils.media.prefetch import prefetch

PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm"),
    *(".jp2", ".avif", ".apng", ".tga", ".heic", ".heif"),
)
ANIMATED = (".gif", ".webp", ".png", ".apng", ".avif")  # still pictures or films
VIDEOS = (
    *(".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".ts", ".mts", ".m2ts", ".ogv"),
    *(".flv", ".mxf", ".vob", ".asf", ".f4v", ".qt", ".divx", ".dv", ".3g2", ".y4m"),
)
DERIVED = r"_(overlay|side|top|keypoints|scene(_shot\d+)?|person\d+)"  # suffixes of the names of results
LOAD_AHEAD = 2  # pictures decoded in advance; bounds the memory


def find_media(patterns: Iterable[str | Path]) -> list[Path]:
    """Files, folders and globs (`photos/*.jpg`, `**` for all depths) -> files, without repetitions.

    Order as given; inside folders and globs by name, with numbers by value. A folder stands for the pictures and videos
    directly inside it. A file named explicitly is kept whatever its suffix, also if it is missing: its reader raises
    the error. UserError if a folder or glob has no pictures or videos.
    """
    found = []
    for pattern in map(str, patterns):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", pattern):
            raise UserError(f"{pattern} is a URL: download it first, and name the file")
        path = Path(pattern)
        if os.path.isdir(path):
            inside = _list(path)
            if not inside:
                raise UserError(
                    f"no pictures or videos in folder {path}; name files, or use a glob such as '{path}/**/*'"
                )
            found += by_number(inside)
        elif not os.path.exists(path) and glob.has_magic(pattern):
            inside = _matches(path)
            if not inside:
                raise UserError(f"no pictures or videos match {pattern}; check the pattern, and put it in quotes")
            unique = {}
            for file in by_number(inside):
                unique.setdefault(file.resolve(), file)  # a file that several links lead to counts once
            found += unique.values()
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _list(folder: Path) -> list[Path]:
    """The pictures and videos in a folder. UserError if it cannot be read."""
    try:
        return [file for file in folder.iterdir() if _is_medium(file)]
    except OSError as error:
        raise UserError(f"folder {folder} cannot be read ({error.strerror}); check its permissions") from error


def _matches(pattern: Path) -> list[Path]:
    """The pictures and videos that a glob matches. UserError if it is not a glob."""
    try:
        return [file for file in _expand(pattern) if _is_medium(file)]
    except (ValueError, NotImplementedError, OSError, re.error) as error:
        raise UserError(f"{pattern} is no glob ({error}); write one such as 'photos/**/*.jpg'") from error


def _expand(pattern: Path) -> Iterator[Path]:
    """The paths that match a glob, without hidden folders. `**` does not follow links, which may be endless."""
    magic = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    base, rest = Path(*pattern.parts[:magic]), pattern.parts[magic:]
    # within a part, as in a**.png, ** means *; older Python versions refuse it
    rest = [part if part == "**" else re.sub(r"\*+", "*", part) for part in rest]
    for path in base.glob(str(Path(*rest))):
        inside = path.parts[len(base.parts) :]
        if not any(part.startswith(".") for part in inside[:-1]):
            yield path


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def is_film(path: Path) -> bool:
    """Whether a file holds moving pictures: a video, or an animated picture. The content decides if the suffix does
    not."""
    suffix = path.suffix.lower()
    if suffix in VIDEOS + PICTURES or not os.path.isfile(path):
        return suffix in VIDEOS or (suffix in ANIMATED and count_frames(path) > 1)
    if is_picture(path):
        return count_frames(path) > 1
    from utils.media.video import open_video  # photographs do not need its libraries

    try:
        with open_video(path) as container:
            return bool(container.streams.video)
    except UserError:
        return False


def name_results(paths: list[Path]) -> list[str]:
    """A name for the results of each file: its stem, with a number if another file's results would clash."""
    names, taken, extended, numbers = [], set(), set(), {}
    for path in paths:
        # numbers of equal stems go on where they were, so that the work grows linearly with the number of files
        for n in itertools.count(numbers.get(path.stem, 1)):
            name = path.stem if n == 1 else f"{path.stem}-{n}"
            own, shorter = name.lower(), _without_suffix(name)
            if own not in taken and own not in extended and shorter not in taken:
                break
        numbers[path.stem] = n + 1
        names.append(name)
        taken.add(own)
        if shorter:
            extended.add(shorter)
    return names


def load_images(paths: list[Path]) -> Iterator[tuple[Path, np.ndarray | UserError]]:
    """Read pictures in a thread, in advance -> path and (H, W, 3) uint8 RGB, or the error."""

    def load(path: Path) -> tuple[Path, np.ndarray | UserError]:
        try:
            return path, load_image(path)
        except UserError as error:
            return path, error

    yield from prefetch(map(load, paths), LOAD_AHEAD)


def _is_medium(path: Path) -> bool:
    visible = not path.name.startswith(".")
    return visible and path.suffix.lower() in PICTURES + VIDEOS and os.path.isfile(path)


def by_number(paths: Iterable[Path]) -> list[Path]:
    """Files in the order of the numbers in their names."""
    return sorted(paths, key=_natural)


def _natural(path: Path) -> list:
    """Sort key that puts 9.png before 10.png."""
    return [(int(part), "") if part.isdecimal() else (0, part.lower()) for part in re.split(r"(\d+)", str(path))]


def _without_suffix(name: str) -> str | None:
    """The name whose results could be files of this name: im01_side -> im01. In lower case, as some file systems do."""
    match = re.fullmatch(rf"(.+){DERIVED}", name.lower())
    return match[1] if match else None
