"""Where the demo puts people: --place, --tilt, --height and --same_floor."""

from typing import NamedTuple

import numpy as np

from utils.errors import UserError
from utils.person import Person
from utils.placement.floor import Floor, fit_floor
from utils.placement.frame import CAMERA, Frame, Place, ground_frame, move_record
from utils.placement.stance import Stance, stance

PLACES = ("camera", "origin", "ground")


class Placing(NamedTuple):
    """Choices of the user.

    place: one of PLACES; None: the default of each kind of file (docs/demo.md, Coordinates). tilt: degrees. heights:
    metres, of everybody or of the first person. same_floor: None: if the place is ground.
    """

    place: str | None = None
    tilt: float | None = None
    heights: tuple[float, ...] = ()
    same_floor: bool | None = None

    @property
    def floor_needed(self) -> bool:
        return self.place == "ground" or bool(self.same_floor)

    @property
    def common(self) -> bool:
        """Whether sizes are chosen so that everybody is on one floor."""
        return self.place == "ground" if self.same_floor is None else self.same_floor


class Placed(NamedTuple):
    """People of one photograph or one shot, in their sizes, and where files have them."""

    people: list
    place: Place = Place()
    floor: Floor | None = None

    def describe(self) -> str:
        """The floor and everybody's height, in one line."""
        heights = ", ".join(f"{100 * person.height:.0f}" for person in self.people)
        text = f"height{'s' if len(self.people) > 1 else ''} {heights} cm"
        if self.floor is None:
            return text
        down = f"looks {'down' if self.floor.tilt >= 0 else 'up'} {abs(self.floor.tilt):.0f} degrees"
        text = f"camera {self.floor.height:.2f} m above the floor, {down}; {text}"
        apart = [str(number) for number, touches in enumerate(self.floor.touching, 1) if not touches]
        return text + (f"; not on this floor: person {', '.join(apart)}" if apart else "")

    def fields(self) -> dict:
        """Fields of the picture, see utils.export.records.FIELDS."""
        fields = {} if self.place.kind == "default" else {"place": self.place.kind}
        if self.floor is not None:
            fields |= {"tilt": self.floor.tilt, "roll": self.floor.roll, "camera_height": self.floor.height}
        return fields | ({"ground_to_camera": self.place.frame.to_camera} if self.place.kind == "ground" else {})

    def records(self) -> list[dict]:
        """Fields of everybody in a photograph."""
        records = [move_record(person.record(), self.place) for person in self.people]
        touching = [{}] * len(records) if self.floor is None else [{"on_floor": on} for on in self.floor.touching]
        return [record | more for record, more in zip(records, touching, strict=True)]

    def mesh(self, person: Person) -> tuple[np.ndarray, Frame]:
        """Vertices (V, 3) of somebody in a photograph as for a mesh file, and the frame of that file."""
        if self.place.kind in ("default", "origin"):
            return person.vertices, CAMERA
        return person.to_camera(person.vertices), self.place.frame


def place_photo(people: list[Person], placing: Placing) -> Placed:
    """People of one photograph -> the same ones, perhaps in other sizes, and where files have them.

    UserError for a wrong number of heights.
    """
    check_heights(placing.heights, len(people))
    stances = []
    if placing.floor_needed:
        stances = [[stance(person.to_camera(person.vertices), person.to_camera(person.joints))] for person in people]
    scales, floor = choose_sizes(stances, np.array([person.height for person in people]), placing)
    people = [person if k == 1 else person.scaled(float(k)) for person, k in zip(people, scales, strict=True)]
    return Placed(people, choose_place(placing, floor, people[0].to_camera(people[0].joints[0])), floor)


def choose_sizes(stances: list[list[Stance]], sizes: np.ndarray, placing: Placing) -> tuple[np.ndarray, Floor | None]:
    """Factors (P,) of the people's sizes (P,), metres, and the floor if one is needed; else stances may be empty."""
    if placing.floor_needed:
        floor = fit_floor(stances, sizes, placing.heights, placing.tilt, placing.common)
        return floor.scales, floor
    if not placing.heights:
        return np.ones(len(sizes)), None
    return np.array(placing.heights) / sizes[: len(placing.heights)] * np.ones(len(sizes)), None


def check_heights(heights: tuple[float, ...], count: int):
    """UserError unless heights are none, one, or one for each of `count` people."""
    if len(heights) > 1 and len(heights) != count:
        people = f"{count} people" if count > 1 else "one person"
        raise UserError(f"--height has {len(heights)} heights for {people}: give one, or one for each")


def choose_place(placing: Placing, floor: Floor | None, pelvis: np.ndarray) -> Place:
    """Where files have people; pelvis (3,): of the first person, camera frame."""
    if placing.place == "ground":
        return Place("ground", ground_frame(floor.up, floor.height, pelvis.astype(np.float64)))
    return Place(placing.place or "default")
