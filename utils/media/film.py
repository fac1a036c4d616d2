"""Films of any kind behind one interface: `info`, `times` and `frames`, see utils.media.video.VideoFile."""

from pathlib import Path

from utils.media.find import ANIMATED
from utils.media.pictures_film import Animation, NumberedPictures
from utils.media.video import VideoFile

Film = VideoFile | Animation | NumberedPictures


def open_film(path: Path) -> Film:
    """UserError if it is missing, damaged or no film."""
    return Animation(path) if path.suffix.lower() in ANIMATED else VideoFile(path)
