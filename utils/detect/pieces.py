"""Pieces of tracks put together to people: who leaves the picture or is hidden, and returns, is one person."""

import numpy as np

from utils.detect.appearance import colour_distance
from utils.detect.motion import Track
from utils.detect.tracker import overlap

SHORTEST = 0.2  # seconds; tracks that are shorter are mistakes, unless their shot is
SOON = 0.75  # seconds of a gap after which the place says little
SAME_PLACE, SPEED = 0.4, 2.0  # longer sides of the person that the place may differ by, and per second of the gap
SAME_SIZE, GROWTH = 0.3, 0.6  # the same for the logarithm of the size
SAME_COLOUR, OTHER_COLOUR = 11.0, 24.0  # distances of clothes' colours: the same person, surely another one
ONE_BODY = 0.6  # overlap of boxes in one frame from which on they are of one person


def join_pieces(tracks: list[Track], times: np.ndarray) -> list[Track]:
    """Tracks of one shot -> the same, those of one person joined, the most certain first.

    times (N,): of the film's frames, seconds.
    """
    tracks = list(tracks)
    costs = {(i, j): _cost(a, b, times) for i, a in enumerate(tracks) for j, b in enumerate(tracks) if i != j}
    while possible := {pair: cost for pair, cost in costs.items() if cost is not None}:
        i, j = min(possible, key=possible.get)
        new, tracks = len(tracks), [*tracks, tracks[i].joined(tracks[j])]
        costs = {pair: cost for pair, cost in costs.items() if not {i, j} & set(pair)}
        tracks[i] = tracks[j] = None
        for other, track in enumerate(tracks[:-1]):
            if track is not None:
                costs[other, new], costs[new, other] = (
                    _cost(track, tracks[new], times),
                    _cost(tracks[new], track, times),
                )
    return [track for track in tracks if track is not None]


def long_enough(track: Track, times: np.ndarray, shot: tuple[int, int]) -> bool:
    """Whether a track is no mistake. shot: its first frame, and the first one after it."""
    whole = times[shot[1] - 1] - times[shot[0]]
    step = whole / max(1, shot[1] - shot[0] - 1)
    return len(track.frames) * step >= min(SHORTEST, whole) or len(track.frames) >= shot[1] - shot[0]


def _cost(a: Track, b: Track, times: np.ndarray) -> float | None:
    """How unlikely it is that b continues a; None: it does not."""
    places_a, places_b = (dict(zip(track.frames, track.boxes, strict=True)) for track in (a, b))
    shared = places_a.keys() & places_b.keys()
    if shared:
        one = np.median([overlap(places_a[frame], places_b[frame]) for frame in shared]) >= ONE_BODY
        return -1.0 if one else None
    gap = times[b.frames[0]] - times[a.frames[-1]]
    if gap <= 0:
        return None
    colour = colour_distance(a.clothes, b.clothes)
    before, after = a.boxes[-1], b.boxes[0]
    side = max(*before[2:], *after[2:])
    place = np.linalg.norm(before[:2] + before[2:] / 2 - after[:2] - after[2:] / 2) / side
    size = abs(np.log(max(before[2:]) / max(after[2:])))
    near = place <= SAME_PLACE + SPEED * gap and size <= SAME_SIZE + GROWTH * gap
    if gap <= SOON and near and not colour > OTHER_COLOUR:
        return gap + place + np.nan_to_num(colour) / OTHER_COLOUR
    if colour <= SAME_COLOUR and (near or gap > SOON):
        return 1 + gap + colour / SAME_COLOUR
    return None
