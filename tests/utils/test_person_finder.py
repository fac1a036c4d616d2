import json

import cv2
import numpy as np
import pytest

from models.movenet import load_movenet
from utils.detect.person_finder import INPUT_SIZE, View, _Detector, find_people
from utils.paths import PRETRAINED, ROOT, SAMPLES

PHOTOS = ROOT.parent / "shared" / "photos"


@pytest.fixture(scope="module")
def movenet():
    return load_movenet(PRETRAINED / "movenet_thunder.safetensors")


def sample(number):
    return cv2.imread(str(SAMPLES / f"im0{number}.png"))[..., ::-1].copy()


@pytest.fixture(scope="module")
def walker(movenet):
    """The one person of the first sample, seen plainly."""
    return find_people(sample(1), movenet)[0]


def assert_same(person, keypoints, tolerance=0.06):
    """Median distance of keypoints (17, 2), in longer box sides."""
    distance = np.linalg.norm(person.keypoints[:, :2] - keypoints, axis=1)
    assert np.median(distance) < tolerance * person.bbox[2:].max()


def test_finds_whoever_is_plain_to_see_in_few_looks(movenet, walker):
    looks = []

    def counting(images):
        looks.append(len(images))
        return movenet(images)

    person = find_people(sample(1), counting)[0]
    assert sum(looks) <= 6
    assert_same(person, walker.keypoints[:, :2], 1e-3)
    assert 0.7 < person.score <= 1
    x, y, width, height = person.bbox
    inside = (person.keypoints[:, :2] >= (x, y)) & (person.keypoints[:, :2] <= (x + width, y + height))
    assert inside.all()
    assert 350 < height < 480 and width < height


def test_small_and_off_centre_in_a_large_picture(movenet, walker):
    canvas = np.full((1500, 2000, 3), 128, np.uint8)
    zoom = 0.4
    small = cv2.resize(sample(1), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    canvas[1200 : 1200 + small.shape[0], 90 : 90 + small.shape[1]] = small
    people = find_people(canvas, movenet)
    assert len(people) == 1
    assert_same(people[0], walker.keypoints[:, :2] * zoom + (90, 1200))


def test_upside_down(movenet, walker):
    picture = sample(1)
    height, width = picture.shape[:2]
    person = find_people(picture[::-1, ::-1].copy(), movenet)[0]
    assert_same(person, (width - 1, height - 1) - walker.keypoints[:, :2])


def test_two_people_are_told_apart_and_none_is_doubled(movenet, walker):
    left, right = sample(1), sample(2)
    both = np.full((620, left.shape[1] + right.shape[1], 3), 128, np.uint8)
    both[: left.shape[0], : left.shape[1]] = left
    both[:, left.shape[1] :] = right
    people = find_people(both, movenet, max_people=2)
    assert len(people) == 2
    by_place = sorted(people, key=lambda p: p.bbox[0])
    assert_same(by_place[0], walker.keypoints[:, :2])
    assert by_place[1].bbox[0] > left.shape[1] - 30


@pytest.mark.parametrize(
    "kind, size", [("noise", (60, 80)), ("flat", (60, 80)), ("clouds", (600, 800)), ("noise", (1, 1))]
)
def test_finds_nobody_where_nobody_is(movenet, kind, size):
    rng = np.random.default_rng(0)
    if kind == "noise":
        picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    elif kind == "flat":
        picture = np.full((*size, 3), 90, np.uint8)
    else:
        picture = cv2.resize(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), size[::-1])
    assert find_people(picture, movenet) == []


@pytest.mark.parametrize("turn", [0, 90, 200])
def test_view_and_picture_correspond(turn):
    rng = np.random.default_rng(0)
    view = View(np.array((400.0, 250.0)), 500, turn)
    points = np.column_stack((rng.uniform(0, 800, 20), rng.uniform(0, 500, 20), rng.random(20)))
    seen = np.column_stack((points[:, :2] @ view.matrix()[:, :2].T + view.matrix()[:, 2], points[:, 2]))
    np.testing.assert_allclose(view.to_picture(seen), points, atol=1e-9)
    assert np.allclose(view.matrix() @ (400, 250, 1), (INPUT_SIZE - 1) / 2)


@pytest.mark.parametrize("side", [100, 300, 1500])
def test_crops_lie_where_they_should_at_every_resolution(side):
    x, y = np.meshgrid(np.arange(1601), np.arange(1203))
    picture = np.stack((x / 1601 * 255, y / 1203 * 255, 0 * x), -1).round().astype(np.uint8)
    view = View(np.array((801.0, 600.0)), side)
    crop = _Detector(picture, None, "cpu")._crop(view)[4:-4, 4:-4].astype(float)
    u, v = np.meshgrid(np.arange(4, INPUT_SIZE - 4), np.arange(4, INPUT_SIZE - 4))
    place = view.to_picture(np.stack((u, v, 0 * u), -1).astype(float))
    seen = (place[..., 0] > 4) & (place[..., 0] < 1596) & (place[..., 1] > 4) & (place[..., 1] < 1198)
    off = np.stack((crop[..., 0] * 1601 / 255 - place[..., 0], crop[..., 1] * 1203 / 255 - place[..., 1]))[:, seen]
    assert np.abs(off.mean(1)).max() < 0.7


def test_annotated_photographs(movenet):
    """The annotated person, not always the most prominent one, is among those found."""
    if not PHOTOS.is_dir():
        pytest.skip(f"needs the annotated photographs at {PHOTOS}")
    entries = json.loads((PHOTOS / "annotations.json").read_text())
    entries = [e for e in entries if "crowd" not in e["tags"] and sum(e["image"] == o["image"] for o in entries) == 1]
    for entry in entries[::12]:
        picture = cv2.imread(str(PHOTOS / "images" / entry["image"]))[..., ::-1].copy()
        labelled = {k: v for k, v in entry["keypoints"].items() if v[2] > 0 and ("hip" in k or "shoulder" in k)}
        middle = np.mean([v[:2] for v in labelled.values()], axis=0)
        boxes = np.array([person.bbox for person in find_people(picture, movenet, max_people=2)])
        inside = (boxes[:, :2] < middle) & (middle < boxes[:, :2] + boxes[:, 2:])
        assert inside.all(1).any(), entry["image"]
