"""Measure how films are followed: six films of rendered people on known paths, 32 person-seconds.

    python scripts/measure_films.py

Prints, for each film: the share of visible person-frames that have a body, identity switches, bodies where nobody is
visible, and errors in time (first body after somebody comes in; the moment somebody turns back).
"""

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo import load_predictor
from scripts.lib.films.staged import Scene, Truth, make_film, scenes
from utils.arguments import number, output_folder, script_parser
from utils.demo.video_results import VideoResults
from utils.detect.tracker import overlap
from utils.errors import exit_on_user_error
from utils.media.video import VideoFile

SAME_PLACE = 0.3  # overlap of the box around the joints with the true box, from which on a body is that person's


class Row(NamedTuple):
    name: str
    visible: int  # person-frames
    found: int  # of them, with a body
    switches: int  # changes of the person that a body belongs to
    wrong: int  # observed bodies at the place of nobody who is visible at all
    late: float  # frames between the first visible frame and the first body, the worst of all people
    event: float | None  # seconds between the true and the estimated moment of turning back


def measure(predictor, scene: Scene, folder: Path) -> Row:
    truth = make_film(scene, folder / "film.mp4")
    worker = VideoResults(predictor, max_people=scene.max_people)
    worker.write(VideoFile(folder / "film.mp4"), folder, "film", {"npz"})
    return compare(scene, truth, read_people(folder / "film.npz"))


def read_people(path: Path) -> list[dict[str, np.ndarray]]:
    """The people of a film's .npz, each with its arrays."""
    with np.load(path) as file:
        names = ("frames", "times", "observed", "joints_2d")
        if "frames" in file:
            return [{name: file[name][i] for name in names} for i in range(len(file["frames"]))]
        count = sum(key.startswith("frames_") for key in file)
        return [{name: file[f"{name}_{i}"] for name in names} for i in range(count)]


def compare(scene: Scene, truth: Truth, people: list[dict[str, np.ndarray]]) -> Row:
    owners: list[dict[int, int]] = [{} for _ in range(truth.visible.shape[1])]  # frame -> index of the written person
    wrong = 0
    for index, person in enumerate(people):
        for frame, joints, observed in zip(person["frames"], person["joints_2d"], person["observed"], strict=True):
            low, high = joints.min(0), joints.max(0)
            box = np.concatenate((low, high - low))
            overlaps = [overlap(box, true) for true in truth.boxes[frame]]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= SAME_PLACE and truth.visible[frame, best]:
                owners[best].setdefault(int(frame), index)
            wrong += bool(observed) and overlaps[best] < SAME_PLACE
    late, switches = 0, 0
    for actor, owner in enumerate(owners):
        frames = np.flatnonzero(truth.visible[:, actor])
        late = max(late, min(owner, default=len(scene.times)) - frames[0])
        numbers = [owner[frame] for frame in sorted(owner)]
        switches += int(np.count_nonzero(np.diff(numbers)))
    event = None
    if scene.event is not None:
        person = people[np.argmin([person["frames"][0] for person in people])]
        event = abs(turning_point(person["times"], person["joints_2d"][:, 0, 0]) - scene.event)
    visible, found = int(truth.visible.sum()), sum(map(len, owners))
    return Row(scene.name, visible, found, switches, wrong, late, event)


def turning_point(times: np.ndarray, x: np.ndarray) -> float:
    """When a track that goes forth and back at one speed turns: where the two lines meet."""
    best = np.argmax(x)
    before, after = slice(0, max(2, best)), slice(min(best + 1, len(x) - 2), None)
    (a, b), (c, d) = np.polyfit(times[before], x[before], 1), np.polyfit(times[after], x[after], 1)
    return (d - b) / (a - c)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--rate", type=number(float, above=0), default=12.5, help="frames per second (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=output_folder, metavar="DIR", help="keep the films and their results in this folder"
    )
    args = parser.parse_args()
    predictor = load_predictor(device="cpu", flip_test=False)
    print("| film | visible | with a body | switches | wrong bodies | frames late | event, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for scene in scenes(args.rate):
            folder = (args.output or Path(scratch)) / scene.name.replace(" ", "_").replace(",", "")
            folder.mkdir(parents=True, exist_ok=True)
            row = measure(predictor, scene, folder)
            rows.append(row)
            share, event = row.found / row.visible, "" if row.event is None else f"{row.event:.3f}"
            print(
                f"| {row.name} | {row.visible} | {share:.3f} | {row.switches} | {row.wrong} | {row.late} | {event} |",
                flush=True,
            )
    visible, found, switches, wrong = np.sum([row[1:5] for row in rows], axis=0)
    print(f"| all | {visible} | {found / visible:.3f} | {switches} | {wrong} | | |")


if __name__ == "__main__":
    main()
