"""Films of any kind: which files are films, and one interface to read them."""

from pathlib import Path

from utils.errors import UserError
from utils.media.find import ANIMATED, PICTURES, VIDEOS
from utils.media.images import count_frames
from utils.media.pictures_film import Animation, NumberedPictures
from utils.media.video import VideoFile, open_video

Film = VideoFile | Animation | NumberedPictures


def is_film(path: Path) -> bool:
    """Whether a file holds moving pictures. What its name leaves open, its content decides."""
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        return True
    if suffix in PICTURES:
        return suffix in ANIMATED and count_frames(path) > 1
    try:
        with open_video(path) as container:
            return bool(container.streams.video)
    except UserError:
        return False


def open_film(path: Path) -> Film:
    """UserError if it is missing, damaged or no film."""
    return Animation(path) if path.suffix.lower() in ANIMATED else VideoFile(path)
