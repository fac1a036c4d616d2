"""Where the demo puts the people of a film."""

from typing import NamedTuple

import numpy as np

from utils.demo.film_person import PersonInFilm
from utils.demo.placing import Placed, Placing, check_heights, choose_place, choose_sizes
from utils.export.rig import Motion
from utils.placement.frame import Place, move_record
from utils.placement.level import lift
from utils.placement.stance import stance

FITTED = 40  # frames of a person that a floor is fitted to


class Shot(NamedTuple):
    """The people of one shot. first: number of its first frame; after: of the first frame after it."""

    first: int
    after: int
    placed: Placed


def place_film(people: list[PersonInFilm], shots: list[tuple[int, int]], placing: Placing) -> list[Shot]:
    """People of a film, whose camera stands still during each shot -> the shots in which anybody is.

    shots: first frame of each, and the first one after it. Several heights are those of everybody in the film.
    """
    if people:
        check_heights(placing.heights, len(people))
    placed = []
    for first, after in shots:
        inside = [(i, person) for i, person in enumerate(people) if first <= person.track.frames[0] < after]
        if inside:
            numbers, shot = zip(*inside, strict=True)
            several = len(placing.heights) > 1
            heights = tuple(placing.heights[number] for number in numbers) if several else placing.heights
            placed.append(Shot(first, after, _place_shot(list(shot), placing._replace(heights=heights))))
    return placed


def _place_shot(people: list[PersonInFilm], placing: Placing) -> Placed:
    stances = []
    if placing.floor_needed:
        for person in people:
            rows = np.unique(np.linspace(0, len(person.joints) - 1, FITTED).round().astype(int))
            stances.append([stance(person.body(row), person.joints[row]) for row in rows])
    scales, floor = choose_sizes(stances, np.array([person.height for person in people]), placing)
    people = [person if k == 1 else person.scaled(float(k)) for person, k in zip(people, scales, strict=True)]
    place = choose_place(placing, floor, people[0].joints[0, 0])
    return Placed(people, place, floor)


def on_floor(person: PersonInFilm, place: Place) -> PersonInFilm:
    """The same person with the feet on the floor in every frame, see `utils.placement.level.lift`."""
    if place.kind != "ground":
        return person
    lowest = np.array([place.frame.apply(person.body(row))[:, 1].min() for row in range(len(person.joints))])
    return person.moved(lift(lowest, person.motion.times)[:, None] * place.frame.up)


def rig_motion(person: PersonInFilm, place: Place) -> Motion:
    """The motion that goes into files of one person, camera frame. person: see `on_floor`."""
    return person.motion_at_origin if place.kind == "origin" else person.motion


def film_records(placed: Placed, standing: list[PersonInFilm]) -> list[dict]:
    """Fields of everybody in a shot, see utils.export.records.FIELDS. standing: the same people, see `on_floor`."""
    records = []
    for i, (person, moved) in enumerate(zip(placed.people, standing, strict=True)):
        record = moved.record() | {"joints_2d": person.camera.project(person.joints)}
        fields = {name: value for name, value in placed.fields().items() if name != "place"}
        if placed.floor is not None:
            fields["on_floor"] = placed.floor.touching[i]
        records.append(move_record(record, placed.place) | fields)
    return records
