"""Sequence, frame and group of a sample, from the key of its row."""

import re

import numpy as np

# "downtown_arguing_00/image_00012.jpg_1": sequence, frame, and the person in that frame if several are in it
_FRAME = re.compile(r"^(?P<sequence>.*?)(?P<frame>\d+)\.(?:jpe?g|png|bmp)(?P<person>_\w+)?$", re.IGNORECASE)
_TAIL = re.compile(r"[/_.\- ]*(?:image|img|frame)?[/_.\- ]*$", re.IGNORECASE)
# one group each: the action of Human3.6M, the sequence of 3DPW
DEFAULT_PATTERNS = {"h36m": r"(?:S\d+_|act_)([A-Z][A-Za-z]+|\d+)", "3dpw": r"([a-z]+_[a-zA-Z]+_\d\d)"}
OTHER = "other"  # group of the rows whose key does not match the pattern


def split_key(key: str) -> tuple[str, str, int]:
    """Key of a row -> sequence, person in it, frame number; ("", "", 0) if the key names no frame of a sequence."""
    found = _FRAME.match(key)
    sequence = _TAIL.sub("", found["sequence"]) if found else ""
    return (sequence, found["person"] or "", int(found["frame"])) if sequence else ("", "", 0)


def sequences_of(keys: list[str]) -> np.ndarray:
    """Sequence of each row, (N,) str; the key itself where it names no frame: such rows are independent."""
    return np.array([split_key(key)[0] or key for key in keys], dtype=str)


def groups_of(keys: list[str], pattern: str | None, data_mode: str | None = None) -> np.ndarray | None:
    """Group of each row, (N,) str. pattern: with one group; None: that of the data set, else the sequence.

    None if there is no pattern and the keys name no sequences.
    """
    pattern = pattern or DEFAULT_PATTERNS.get(data_mode)
    if pattern:
        found = [re.search(pattern, key) for key in keys]
        return np.array([(match and match[1]) or OTHER for match in found], dtype=str)
    sequences = [split_key(key)[0] for key in keys]
    return np.array([name or OTHER for name in sequences], dtype=str) if any(sequences) else None


def consecutive_frames(keys: list[str]) -> np.ndarray:
    """Positions (M, 3) of three frames of one person with consecutive numbers, in order.

    Frames that occur twice are left out: it is not known which person is which.
    """
    places: dict[tuple, int] = {}
    twice = set()
    for place, key in enumerate(keys):
        name = split_key(key)
        if name[0]:
            if name in places:
                twice.add(name)
            places[name] = place
    for name in twice:
        del places[name]
    triples = [
        (places[before], places[name], places[after])
        for name in places
        if (before := (*name[:2], name[2] - 1)) in places and (after := (*name[:2], name[2] + 1)) in places
    ]
    return np.array(sorted(triples, key=lambda triple: triple[1]), dtype=int).reshape(-1, 3)
