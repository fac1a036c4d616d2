"""scripts/measure_placement.py: its groups are what they claim, its errors are those of known mistakes."""

import numpy as np
import pytest

from datasets.poses import PoseSampler
from datasets.synthetic.generator import PeopleGenerator
from scripts import measure_placement
from scripts.lib.group import CAPTURED, SIZE, Setting, draw_group, place_member
from utils.paths import OPEN_BODY
from utils.placement.floor import Floor

SETTING = Setting(8, 1.6)


@pytest.fixture(scope="module")
def generator():
    return PeopleGenerator(OPEN_BODY, "test", "none")


@pytest.fixture(scope="module")
def members(generator):
    rng, poses = np.random.default_rng(1), PoseSampler(split="test", **CAPTURED)
    places = zip([(-1.2, 4.4), (0, 6), (1.5, 7)], (1, 0.62, 1), strict=True)
    return [place_member(rng, generator.body, poses, place, scale, SETTING) for place, scale in places]


def test_people_stand_on_the_floor_in_their_sizes(members):
    up = SETTING.rotation[:, 1]
    for member in members:
        assert (member.vertices @ up).min() == pytest.approx(-SETTING.level, abs=1e-4)
    assert members[1].height < 1.3 < min(members[0].height, members[2].height)


def test_everybody_is_drawn_where_the_camera_has_them(generator, members):
    image, boxes = draw_group(np.random.default_rng(2), generator, members, SETTING)
    empty, _ = draw_group(np.random.default_rng(2), generator, members[:1], SETTING)
    assert image.shape == (*SIZE, 3) and image.dtype == np.uint8 and empty.shape == image.shape
    for member, (x, y, width, height) in zip(members, boxes, strict=True):
        pixels = SETTING.camera.project(member.vertices)
        assert (pixels.min(0) > np.array((x, y)) - 1).all()
        assert (pixels.max(0) < np.array((x + width, y + height)) + 1).all()


def test_errors_are_those_of_the_mistakes(members):
    bodies = [(member.vertices, member.joints[0]) for member in members]
    heights = [member.height for member in members]
    true = Floor(SETTING.rotation[:, 1], SETTING.level, np.ones(3), np.ones(3, bool))
    errors = measure_placement.errors_of(heights, bodies, true, members, SETTING)
    np.testing.assert_allclose(errors, 0, atol=1e-4)
    taller = measure_placement.errors_of([1.1 * h for h in heights], bodies, true, members, SETTING)
    assert taller.heights == pytest.approx(0.1)
    lower = measure_placement.errors_of(heights, bodies, true._replace(height=1.5), members, SETTING)
    assert lower.feet == pytest.approx(0.1, abs=1e-3)


def test_true_bodies_come_out_right(members):
    given = tuple(member.height for member in members)
    errors = measure_placement.of_true_bodies(members, [1, 0.62, 1], given, SETTING)
    assert errors.heights < 0.001 and errors.feet < 0.03 and errors.distances < 0.1 and errors.tilt < 3
