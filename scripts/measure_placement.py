"""Measure where `--place ground` puts people: rendered groups of three on one floor, with known heights.

    python scripts/measure_placement.py --groups 20

Prints, for true bodies and for the network's, with the true focal length and with the demo's default, and with no
height, that of the first person, and everybody's: the errors of heights, of distances between people, of the camera's
tilt, and how far feet are from the floor.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.poses import PoseSampler
from datasets.synthetic.generator import PeopleGenerator
from demo import load_predictor
from scripts.lib.group import CAPTURED, FOCAL, Member, Setting, draw_group, place_member
from utils.arguments import number, output_folder, script_parser
from utils.demo.placing import Placed, Placing, place_photo
from utils.errors import exit_on_user_error
from utils.media.images import save_image
from utils.paths import OPEN_BODY
from utils.person import Person
from utils.placement.floor import Floor, fit_floor
from utils.placement.frame import ground_frame
from utils.placement.stance import stance

CHILD = 0.62  # size of a child, in sizes of adults


class Errors(NamedTuple):
    heights: float  # mean of the absolute relative errors
    distances: float  # the same of the distances between people
    feet: float  # metres, the largest distance of a lowest point from the floor
    tilt: float  # degrees


class Case(NamedTuple):
    bodies: str
    child: bool
    heights: str


def errors_of(placed_heights: list, bodies: list, floor: Floor, members: list[Member], setting: Setting) -> Errors:
    """bodies: vertices (V, 3) and pelvis (3,) of everybody, camera frame, in the sizes that were chosen."""
    true = np.array([member.height for member in members])
    frame = ground_frame(floor.up, floor.height, bodies[0][1])
    feet = max(abs(frame.apply(vertices)[:, 1].min()) for vertices, _ in bodies)
    places = np.array([frame.apply(pelvis) * (1, 0, 1) for _, pelvis in bodies])
    real = np.array([(member.joints[0] - setting.to_camera[:, 3]) @ setting.rotation * (1, 0, 1) for member in members])
    apart, wanted = (np.linalg.norm(points[[0, 0, 1]] - points[[1, 2, 2]], axis=1) for points in (places, real))
    # distances in units of the largest one: relative to each other
    ratio = apart / apart.max() / (wanted / wanted.max())
    return Errors(
        float(np.abs(np.array(placed_heights) / true - 1).mean()),
        float(np.abs(ratio - 1).mean()),
        float(feet),
        abs(floor.tilt - setting.tilt),
    )


def of_true_bodies(members: list[Member], scales: list[float], given: tuple[float, ...], setting: Setting) -> Errors:
    """As if the network were right, except that it takes everybody for an adult."""
    sizes = 1 / np.array(scales)
    stances = [[stance(m.vertices, m.joints).scaled(k)] for m, k in zip(members, sizes, strict=True)]
    floor = fit_floor(stances, sizes * [m.height for m in members], given)
    factors = floor.scales * sizes
    bodies = [(k * m.vertices, k * m.joints[0]) for k, m in zip(factors, members, strict=True)]
    return errors_of([k * m.height for k, m in zip(factors, members, strict=True)], bodies, floor, members, setting)


def of_network(people: list[Person], members: list[Member], given: tuple[float, ...], setting: Setting) -> Errors:
    placed: Placed = place_photo(people, Placing("ground", heights=given))
    bodies = [(p.to_camera(p.vertices).astype(float), p.to_camera(p.joints[0]).astype(float)) for p in placed.people]
    return errors_of([person.height for person in placed.people], bodies, placed.floor, members, setting)


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument(
        "--groups", type=number(int, 1), default=20, metavar="N", help="pictures, half of them with a child"
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="of the groups (default: 0)")
    parser.add_argument("--output", type=output_folder, metavar="DIR", help="keep the pictures in this folder")
    args = parser.parse_args()
    generator, predictor = PeopleGenerator(OPEN_BODY, "test"), load_predictor(device="cpu")
    poses = PoseSampler(split="test", **CAPTURED)
    rows: dict[Case, list[Errors]] = {}
    for group in range(args.groups):
        rng = np.random.default_rng((args.seed, group))
        setting = Setting(float(rng.uniform(-3, 20)), float(rng.uniform(1.2, 2.2)))
        away = rng.permutation([4.5, 6.0, 7.5]) + rng.uniform(-0.4, 0.4, 3)
        places = list(zip((np.array((-0.28, 0.0, 0.28)) + rng.uniform(-0.03, 0.03, 3)) * away, away, strict=True))
        child = group % 2 == 1
        scales = [1.0, CHILD if child else 1.0, 1.0]
        members = [
            place_member(rng, generator.body, poses, place, scale, setting)
            for place, scale in zip(places, scales, strict=True)
        ]
        image, boxes = draw_group(rng, generator, members, setting)
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)
            save_image(args.output / f"group{group}.png", image)
        detections = predictor.find(image, boxes)
        focals = [predictor.focal(image, given=given) for given in (FOCAL, None)]
        people = predictor.reconstruct([image, image], [detections] * 2, focals)
        heights = tuple(member.height for member in members)
        for name, given in {"none": (), "first": heights[:1], "all": heights}.items():
            answers = {
                "true": of_true_bodies(members, scales, given, setting),
                "network, true focal length": of_network(people[0], members, given, setting),
                "network, default focal length": of_network(people[1], members, given, setting),
            }
            for bodies, errors in answers.items():
                rows.setdefault(Case(bodies, child, name), []).append(errors)
    print("| bodies | people | heights given | height error | distance error | feet off the floor, m | tilt error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case, errors in sorted(rows.items(), key=lambda row: (row[0].bodies[::-1], row[0].child)):
        mean = np.mean(errors, axis=0)
        people = "2 adults, 1 child" if case.child else "3 adults"
        worst = f"{max(error.feet for error in errors):.3f}"
        numbers = f"{mean[0]:.1%} | {mean[1]:.1%} | {worst} | {mean[3]:.1f} degrees"
        print(f"| {case.bodies} | {people} | {case.heights} | {numbers} |")


if __name__ == "__main__":
    main()
