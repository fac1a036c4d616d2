"""The floor under true bodies: placed heights, feet and distances against known ones."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from datasets.poses import PoseSampler
from datasets.synthetic.person.body import Body
from scripts.lib.group import CAPTURED, Member, Setting, place_member
from utils.paths import OPEN_BODY
from utils.placement.floor import fit_floor
from utils.placement.frame import ground_frame
from utils.placement.level import lift
from utils.placement.stance import MASS, Stance, stance

PLACES = [(-1.1, 4.0), (0.2, 5.5), (1.6, 7.0)]
HEIGHT, FEET, DISTANCE = 0.03, 0.03, 0.10  # largest errors: relative, metres, relative
SETTINGS = [Setting(0, 1.5), Setting(12, 1.7), Setting(30, 3.2), Setting(-8, 0.6)]


@pytest.fixture(scope="module")
def people():
    """Make true people -> their members."""
    body, poses = Body(OPEN_BODY), PoseSampler(split="test", **CAPTURED)

    def make(setting: Setting, places=PLACES, scales=(1, 1, 1), seed=0) -> list[Member]:
        rng = np.random.default_rng(seed)
        return [
            place_member(rng, body, poses, place, scale, setting) for place, scale in zip(places, scales, strict=True)
        ]

    return make


def stances(members: list[Member], sizes=None) -> list[list[Stance]]:
    """As the network has them, whose sizes may be other ones: larger and farther away by the same factor."""
    sizes = np.ones(len(members)) if sizes is None else sizes
    return [[stance(m.vertices, m.joints).scaled(k)] for m, k in zip(members, sizes, strict=True)]


def check(floor, members: list[Member], sizes=None, height=HEIGHT, distance=DISTANCE):
    sizes = np.ones(len(members)) if sizes is None else sizes
    true = np.array([member.height for member in members])
    np.testing.assert_allclose(floor.scales * sizes * true, true, rtol=height)
    frame = ground_frame(floor.up, floor.height, members[0].joints[0])
    feet, places, wanted = [], [], []
    for member, size, scale in zip(members, sizes, floor.scales, strict=True):
        feet.append(frame.apply(scale * size * member.vertices)[:, 1].min())
        places.append(frame.apply(scale * size * member.joints)[0] * (1, 0, 1))
        wanted.append(member.joints[0])
    assert np.abs(feet).max() < FEET and floor.touching.all()
    for i in range(len(members)):
        for j in range(i):
            apart = np.linalg.norm(places[i] - places[j])
            assert apart == pytest.approx(np.linalg.norm(wanted[i] - wanted[j]), rel=distance)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("known", ["no height", "one height", "all heights"])
def test_three_people_on_one_floor(people, setting, known):
    members = people(setting)
    heights = tuple(member.height for member in members)
    given = {"no height": (), "one height": heights[:1], "all heights": heights}[known]
    sizes = np.full(3, 1.0 if known == "no height" else 0.9)  # without a height, the network's have to be true
    floor = fit_floor(stances(members, sizes), sizes * heights, given)
    check(floor, members, sizes)
    assert floor.tilt == pytest.approx(setting.tilt, abs=3) and floor.roll == pytest.approx(0, abs=2)
    assert floor.height == pytest.approx(setting.level, rel=0.1)


@pytest.mark.parametrize("setting", SETTINGS[:3], ids=str)
def test_a_child_does_not_become_a_distant_adult(people, setting):
    members = people(setting, scales=(1, 0.62, 1))
    sizes = np.array((1, 1 / 0.62, 1))  # the network takes everybody for an adult
    true = np.array([member.height for member in members])
    assert true[1] < 1.2
    check(fit_floor(stances(members, sizes), sizes * true), members, sizes, height=0.08, distance=0.15)
    apart = fit_floor(stances(members, sizes), sizes * true, same_floor=False)
    np.testing.assert_array_equal(apart.scales, 1)


def test_the_tilt_may_be_given(people):
    setting = Setting(20, 2.0)
    members = people(setting)
    true = np.array([member.height for member in members])
    floor = fit_floor(stances(members), true, tilt=20)
    assert floor.tilt == pytest.approx(20)
    check(floor, members)
    wrong = fit_floor(stances(members), true, tilt=5)
    assert wrong.tilt == pytest.approx(5)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_one_person_stands_upright(people, setting):
    errors = []
    for seed in range(10):
        (member,) = people(setting, places=[(0.3, 4.5)], scales=(1,), seed=seed)
        floor = fit_floor(stances([member]), np.array([member.height]), (1.8,))
        frame = ground_frame(floor.up, floor.height, member.joints[0])
        points = frame.apply(floor.scales[0] * member.vertices)
        assert points[:, 1].min() == pytest.approx(0, abs=1e-6)
        assert floor.scales[0] * member.height == pytest.approx(1.8)
        errors.append(abs(floor.tilt - setting.tilt))
    assert np.mean(errors) < 5  # degrees: the balance of one body says no more


def test_somebody_who_lies_does_not_turn_the_world(people):
    (member,) = people(Setting(5, 1.5), places=[(0, 4)], scales=(1,))
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    middle = member.joints[0]
    vertices, joints = ((points - middle) @ turn.T + middle for points in (member.vertices, member.joints))
    floor = fit_floor([[stance(vertices, joints)]], np.array([member.height]))
    assert abs(floor.roll) < 5 and abs(floor.tilt) < 15


def test_the_ground_frame_is_a_motion_with_the_floor_at_zero():
    up = np.array((0.2, -0.9, -0.4)) / np.linalg.norm((0.2, -0.9, -0.4))
    frame = ground_frame(up, 1.3, np.array((0.5, 0.1, 3.0)))
    np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame.rotation) == pytest.approx(1)
    on_floor = -1.3 * up
    assert frame.apply(on_floor)[1] == pytest.approx(0)
    np.testing.assert_allclose(frame.apply(np.array((0.5, 0.1, 3.0)))[[0, 2]], 0, atol=1e-12)
    camera = frame.apply(np.zeros(3))
    assert camera[1] == pytest.approx(1.3) and camera[2] > 0  # z points to the camera
    points = np.random.default_rng(0).normal(size=(5, 3))
    back = np.column_stack((frame.apply(points), np.ones(5))) @ frame.to_camera.T
    np.testing.assert_allclose(back[:, :3], points, atol=1e-12)
    down = ground_frame(np.array((0, 0, -1.0)), 3, np.zeros(3))  # looks straight down
    assert np.linalg.det(down.rotation) == pytest.approx(1)


def test_the_centre_of_mass_is_that_of_the_segments():
    assert MASS.sum() == pytest.approx(1) and (MASS >= 0).all()


def test_feet_are_levelled_and_jumps_stay():
    times = np.arange(0, 6, 1 / 30)
    drift = 0.1 + 0.05 * np.sin(times)  # wrong depths
    jump = np.where(np.abs(times - 3) < 0.25, 0.4 * np.cos((times - 3) * np.pi / 0.5), 0)
    moved = drift + jump + lift(drift + jump, times)
    on_floor = jump == 0
    assert np.abs(moved[on_floor]).max() < 0.03
    assert moved.max() == pytest.approx(0.4, abs=0.03)
    stage = lift(np.full(len(times), 1.0), times)
    np.testing.assert_allclose(stage, -0.3)  # no farther than that
