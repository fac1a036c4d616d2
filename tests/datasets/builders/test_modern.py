"""npz files of SPIN's form, BEDLAM, EMDB and 4D-Humans -> rows, against the truth."""

import pickle

import numpy as np
import pytest

from scripts import build_bedlam_dataset, build_emdb_dataset, build_from_npz
from tests.helpers.releases import fits, modern
from tests.helpers.releases.built import assert_agrees, labels_of, report_of, run
from tests.helpers.releases.scene import find_mask, pose_body
from utils.paths import OPEN_BODY

COMMON = ("--smpl_path", OPEN_BODY, "--num_workers", 1, "--sheet_rows", 0)


def build(module, output, *flags):
    return run(module, *flags, "--output", output, *COMMON)


def assert_body_and_keypoints(label, person):
    """For releases without camera: parameters exactly, keypoints where the release has them."""
    assert label["has_smpl"]
    assert np.abs(pose_body(label["pose"], label["betas"])[0] + person.translation - person.vertices).max() < 1e-3
    for name, truth in (("keypoints_2d", person.pixels), ("keypoints_3d", person.keypoints - person.keypoints[14])):
        given = label[name][:, -1] > 0
        assert given[:12].all()
        assert np.abs(label[name][given, :-1] - truth[given]).max() < (1.0 if name == "keypoints_2d" else 1e-3)


def test_spin_files(tmp_path):
    photos = fits.make_photos(tmp_path / "data", [f"imageFiles/walk/image_{i:05d}.jpg" for i in range(3)])
    data = fits.cliff(photos)
    for name in ("global_t", "focal_l", "annot_id", "has_smpl", "S"):
        del data[name]
    data |= {"gender": np.array(["m", "f", "f"]), "openpose": np.zeros((3, 25, 3))}
    data["openpose"][:] = [fits.select(photo.person.pixels, fits.BODY25) for photo in photos]
    data["part"][:, :6] = 0
    data["maskname"] = np.array(["a", "b", None], dtype=object)
    np.savez(tmp_path / "3dpw_test.npz", **data)
    flags = ("--npz", tmp_path / "3dpw_test.npz", "--images", tmp_path / "data", "--set", "spin/test.yaml")
    code, output = build(build_from_npz, tmp_path, *flags)
    assert code == 0 and "maskname" in output, output
    rows = list(labels_of(tmp_path / "spin/test.yaml").values())
    assert [row["raw"]["gender"] for row in rows] == ["male", "female", "female"]
    for row, photo in zip(rows, photos, strict=True):
        assert_body_and_keypoints(row, photo.person)


def test_spin_files_without_smpl(tmp_path):
    photos = fits.make_photos(tmp_path, ["a.jpg", "b.jpg"])
    data = fits.cliff(photos)
    data["has_smpl"][0] = 0
    data["scale"][1] = np.nan
    np.savez(tmp_path / "x.npz", **data)
    code, output = build(
        build_from_npz, tmp_path, "--npz", tmp_path / "x.npz", "--images", tmp_path, "--set", "x/x.yaml"
    )
    assert code == 0, output
    report = report_of(tmp_path / "x/x.yaml")
    assert report["rows"] == 1 and report["with_body"] == 0
    assert report["dropped"] == {"'scale' has nonfinite or huge numbers": 1}


def test_4d_humans_evaluation_files_have_scale_in_pixels(tmp_path):
    photos = fits.make_photos(tmp_path, ["a.jpg", "b.jpg"])
    np.savez(tmp_path / "x.npz", **modern.hmr2_evaluation(photos))
    code, output = build(
        build_from_npz, tmp_path, "--npz", tmp_path / "x.npz", "--images", tmp_path, "--set", "x/x.yaml"
    )
    assert code == 0 and "scale is in pixels" in output, output
    for row, photo in zip(labels_of(tmp_path / "x/x.yaml").values(), photos, strict=True):
        assert_body_and_keypoints(row, photo.person)
        assert row["scale"] == pytest.approx(1.2 * (photo.person.box[2:] - photo.person.box[:2]).max() / 200)


def test_4d_humans_tars(tmp_path):
    photos = fits.make_photos(tmp_path / "pictures", ["a.jpg", "b.jpg"])
    people = [[modern.hmr2_person(photo)] for photo in photos]
    people[1].append(people[1][0] | {"keypoints_2d": np.zeros((44, 3))})
    people[1].append(people[1][0] | {"extra_info": {"fitting_loss": 1e5}})
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "executed").encode() + b"'\ntR."
    modern.write_tar(tmp_path / "tars/000000.tar", photos, people, damaged=evil)
    (tmp_path / "tars/000001.tar").write_bytes(b"no tar at all" * 100)
    code, output = build(build_from_npz, tmp_path, "--tars", tmp_path / "tars", "--set", "insta/train.yaml")
    assert code == 0, output
    rows = labels_of(tmp_path / "insta/train.yaml")
    assert sorted(rows) == ["000000/a_0", "000000/b_0"]
    for row, photo in zip(rows.values(), photos, strict=True):
        assert_body_and_keypoints(row, photo.person)
        assert row["jpeg"] == photo.data
    assert report_of(tmp_path / "insta/train.yaml")["dropped"] == {
        "fewer than 5 sure 2D keypoints": 1,
        "fit is too far from its keypoints": 1,
        "data.pyd cannot be read": 1,
        "tar cannot be read": 1,
    }
    assert not (tmp_path / "executed").exists()


def test_bedlam_with_a_turned_scene(tmp_path):
    wide = modern.make_bedlam(tmp_path, "20221010_3_1000_batch01hand_6fps", 2)
    tall = modern.make_bedlam(tmp_path, "20221024_10_100_closeup_suburb_b_6fps", 2, seed=12)
    (tmp_path / "labels/broken.npz").write_bytes(b"PK")
    flags = ("--labels", tmp_path / "labels", "--images", tmp_path / "images")
    code, output = build(build_bedlam_dataset, tmp_path, *flags)
    assert code == 0, output
    rows = list(labels_of(tmp_path / "bedlam/train.yaml").values())
    assert [row["raw"]["gender"] for row in rows] == ["male", "female"] * 2
    for row, photo in zip(rows, wide + tall, strict=True):
        assert_agrees(row, photo.person)
        assert row["picture"].shape[:2] == photo.camera.size
    assert report_of(tmp_path / "bedlam/train.yaml")["dropped"] == {"scene cannot be read": 1}


def test_bedlam_of_smplx_is_told(tmp_path):
    modern.make_bedlam(tmp_path, "scene", 1)
    with np.load(tmp_path / "labels/scene.npz") as file:
        data = dict(file)
    np.savez(tmp_path / "labels/scene.npz", **(data | {"pose_cam": np.zeros((1, 165))}))
    code, output = build(
        build_bedlam_dataset, tmp_path, "--labels", tmp_path / "labels", "--images", tmp_path / "images"
    )
    assert code == 2 and "SMPL-X" in output


def test_emdb_takes_good_frames_of_the_benchmark(tmp_path):
    photos, _ = modern.make_emdb(tmp_path / "EMDB", "P0", "09_walk", 4, seed=21)
    modern.make_emdb(tmp_path / "EMDB", "P1", "14_long", 2, seed=22, benchmark=False)
    mask, boxes = np.array([True, False, True, True]), np.stack([photo.person.box for photo in photos])
    changes = {"good_frames_mask": mask, "bboxes": {"bboxes": boxes, "invalid_idxs": np.array([3])}}
    modern.make_emdb(tmp_path / "EMDB", "P0", "09_walk", 4, seed=21, **changes)
    code, output = build(build_emdb_dataset, tmp_path, "--emdb", tmp_path / "EMDB")
    assert code == 0, output
    rows = labels_of(tmp_path / "emdb/test.yaml")
    assert list(rows) == ["P0/09_walk/00000.jpg", "P0/09_walk/00002.jpg"]
    for i in (0, 2):
        row = rows[f"P0/09_walk/{i:05d}.jpg"]
        assert_agrees(row, photos[i].person)
        assert row["raw"]["gender"] == "female" and row["jpeg"] == photos[i].data
        assert find_mask(row["picture"]).any()


@pytest.mark.parametrize("name", ["transposed rotation", "degrees", "camera to world"])
def test_wrong_conventions_of_emdb_are_flagged(tmp_path, name):
    _, content = modern.make_emdb(tmp_path / "EMDB", "P0", "09_walk", 3, seed=23)
    if name == "degrees":
        content["smpl"]["poses_body"] = np.rad2deg(content["smpl"]["poses_body"])
    else:
        extrinsics = content["camera"]["extrinsics"]
        extrinsics[:, :3, :3] = extrinsics[:, :3, :3].transpose(0, 2, 1)
        if name == "camera to world":
            extrinsics[:, :3, 3] = -np.einsum("nij,nj->ni", extrinsics[:, :3, :3], extrinsics[:, :3, 3])
    (tmp_path / "EMDB/P0/09_walk/P0_09_walk_data.pkl").write_bytes(pickle.dumps(content))
    code, output = build(build_emdb_dataset, tmp_path, "--emdb", tmp_path / "EMDB")
    assert code == 2 and ("degrees" if name == "degrees" else "convention") in output, output
