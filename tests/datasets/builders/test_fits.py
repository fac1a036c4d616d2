"""COCO, MPII, MuCo and UP-3D with SMPL fits -> rows, against the truth."""

import numpy as np
import pytest

from scripts import (
    build_coco_dataset,
    build_mixed_dataset,
    build_mpii_dataset,
    build_muco_dataset,
    build_up3d_dataset,
)
from tests.helpers.releases import fits
from tests.helpers.releases.built import assert_agrees, labels_of, report_of, run
from tests.helpers.tiny_data import write_set
from utils.paths import OPEN_BODY

COMMON = ("--smpl_path", OPEN_BODY, "--num_workers", 1, "--sheet_rows", 0)


def build(module, output, *flags):
    return run(module, *flags, "--output", output, *COMMON)


def assert_rows(yaml_file, photos, key, **options):
    rows = labels_of(yaml_file)
    assert len(rows) == len(photos)
    for i, photo in enumerate(photos):
        label = rows[key(i, photo)]
        assert_agrees(label, photo.person, **options)
        if photo.name.endswith(".jpg"):
            assert label["jpeg"] == photo.data


def test_coco_neuralannot(tmp_path):
    photos = fits.make_photos(tmp_path / "train2017", ["000000000009.jpg", "000000000025.jpg"])
    data, params = fits.coco_annotations(photos, fits.COCO), fits.neuralannot(photos)
    for change in ({"iscrowd": 1}, {"keypoints": [0] * 51}, {"bbox": [1, 2, 3]}, {"id": 77}):
        data["annotations"].append(data["annotations"][0] | {"id": 900} | change)
    annotations = fits.write_json(tmp_path / "person_keypoints.json", data)
    file = fits.write_json(tmp_path / "fits.json", params)
    flags = ("--images", tmp_path, "--annotations", annotations, "--fits", file)
    code, output = build(build_coco_dataset, tmp_path, *flags)
    assert code == 0, output
    yaml_file = tmp_path / "coco_smpl/train.yaml"
    assert_rows(yaml_file, photos, lambda i, photo: f"{photo.name}_{900 + i}")
    report = report_of(yaml_file)
    assert report["dropped"] == {"crowd": 1, "no keypoints": 1, "'bbox' has another shape": 1, "no SMPL fit": 1}
    assert (next(iter(labels_of(yaml_file).values()))["keypoints_2d"][:, 2] > 0).sum() == 17


def test_coco_smplify(tmp_path):
    photos = fits.make_photos(tmp_path / "images", ["a.jpg", "b.jpg"], far=True)
    annotations = fits.write_json(tmp_path / "keypoints.json", fits.coco_annotations(photos, fits.COCO))
    file = fits.write_json(tmp_path / "coco_smplify_train.json", fits.smplify(photos))
    flags = ("--images", tmp_path / "images", "--annotations", annotations, "--fits", file)
    code, output = build(build_coco_dataset, tmp_path, *flags)
    assert code == 0, output
    assert_rows(tmp_path / "coco_smpl/train.yaml", photos, lambda i, p: f"{p.name}_{900 + i}", translation=False)


def test_eft_with_transposed_matrices_is_flagged(tmp_path):
    photos = fits.make_photos(tmp_path / "train2017", [f"{i:012d}.jpg" for i in range(3)], far=True)
    content = fits.eft(photos)
    for entry in content["data"]:
        entry["parm_pose"] = np.array(entry["parm_pose"]).transpose(0, 2, 1).tolist()
    file = fits.write_json(tmp_path / "eft.json", content)
    code, output = build(build_coco_dataset, tmp_path, "--images", tmp_path, "--fits", file)
    assert code == 2 and "rotations of the pose are transposed" in output, output


@pytest.mark.parametrize("shift_after_scale", [False, True])
def test_eft(tmp_path, shift_after_scale):
    photos = fits.make_photos(tmp_path / "train2017", ["000000000009.jpg", "000000000025.jpg"], far=True)
    content = fits.eft(photos)
    for entry in content["data"]:
        entry["imageName"] = "COCO_train2014_" + entry["imageName"]
        if shift_after_scale:
            s, x, y = entry["parm_cam"]
            entry["parm_cam"] = [s, s * x, s * y]
    content["data"].append(content["data"][0] | {"parm_pose": np.zeros((24, 3, 3)).tolist()})
    file = fits.write_json(tmp_path / "COCO2014-All-ver01.json", content)
    code, output = build(build_coco_dataset, tmp_path, "--images", tmp_path, "--fits", file)
    assert code == 0 and ("read as s X + t" if shift_after_scale else "read as s (X + t)") in output, output
    yaml_file = tmp_path / "coco_smpl/train.yaml"
    assert_rows(yaml_file, photos, lambda i, p: f"COCO_train2014_{p.name}_{900 + i}", translation=False)
    assert report_of(yaml_file)["dropped"] == {"parm_pose is not rotations": 1}


@pytest.mark.parametrize("as_bytes", [False, True])
def test_mpii_cliff(tmp_path, as_bytes):
    photos = fits.make_photos(tmp_path / "mpii", ["images/015601864.jpg", "images/015599452.jpg"], centred=True)
    data = fits.cliff(photos)
    if as_bytes:
        data["imgname"] = data["imgname"].astype("S")
        del data["has_smpl"]
    np.savez(tmp_path / "mpii_cliffGT.npz", **data)
    flags = ("--images", tmp_path / "mpii", "--fits", tmp_path / "mpii_cliffGT.npz")
    code, output = build(build_mpii_dataset, tmp_path, *flags)
    assert code == 0, output
    assert_rows(tmp_path / "mpii/train.yaml", photos, lambda i, photo: f"{photo.name}_{i}")


def test_mpii_neuralannot(tmp_path):
    photos = fits.make_photos(tmp_path / "mpii", ["images/015601864.jpg"])
    annotations = fits.write_json(tmp_path / "train.json", fits.coco_annotations(photos, fits.MPII, 1.0))
    file = fits.write_json(tmp_path / "fits.json", fits.neuralannot(photos))
    flags = ("--images", tmp_path / "mpii/images", "--annotations", annotations, "--fits", file)
    code, output = build(build_mpii_dataset, tmp_path, *flags)
    assert code == 0, output
    assert_rows(tmp_path / "mpii/train.yaml", photos, lambda i, photo: f"{photo.name}_{900 + i}")


def test_muco_takes_the_nearest_person(tmp_path):
    data, params, scenes = fits.make_muco(tmp_path / "MuCo", 2)
    annotations = fits.write_json(tmp_path / "MuCo-3DHP.json", data)
    file = fits.write_json(tmp_path / "smpl_param.json", params)
    flags = ("--images", tmp_path / "MuCo", "--annotations", annotations, "--fits", file)
    code, output = build(build_muco_dataset, tmp_path, *flags)
    assert code == 0, output
    photos = [scene[1] for scene in scenes]
    assert_rows(
        tmp_path / "muco/train.yaml", photos, lambda i, photo: f"{photo.name}_{10 * i + 1}", picture_has_one=False
    )
    assert report_of(tmp_path / "muco/train.yaml")["dropped"] == {"not the nearest person of its picture": 2}
    code, output = build(build_muco_dataset, tmp_path / "all", *flags, "--all_people")
    assert code == 0 and len(labels_of(tmp_path / "all/muco/train.yaml")) == 4


def test_up3d_with_turned_cameras(tmp_path):
    (tmp_path / "up-3d").mkdir()
    photos = fits.make_up3d(tmp_path / "up-3d", 2)
    (tmp_path / "up-3d/trainval.txt").open("a").write("/00007_image.png\n")
    code, output = build(build_up3d_dataset, tmp_path, "--up3d", tmp_path / "up-3d")
    assert code == 0, output
    assert_rows(tmp_path / "up3d/trainval.yaml", [p for p in photos], lambda i, photo: f"{i:05d}_image.png")
    assert report_of(tmp_path / "up3d/trainval.yaml")["dropped"] == {"body cannot be read": 1}


def test_mixed_set_of_what_is_there(tmp_path):
    photos = fits.make_photos(tmp_path / "mpii_images", ["images/1.jpg", "images/2.jpg"], centred=True)
    np.savez(tmp_path / "fits.npz", **fits.cliff(photos))
    flags = ("--images", tmp_path / "mpii_images", "--fits", tmp_path / "fits.npz")
    for module in (build_mpii_dataset, build_coco_dataset):
        code, output = build(module, tmp_path, *flags)
        assert code == 0, output
    code, output = run(build_mixed_dataset, "--data_root", tmp_path)
    assert code == 0 and "human3.6m/train.yaml: missing" in output and "4 rows of 2 sets" in output, output
    from datasets.human_mesh import HumanMeshDataset

    mixed = HumanMeshDataset(tmp_path / "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml")
    assert [mixed[i]["image_id"].split("_")[0] for i in range(4)] == ["images/1.jpg", "images/2.jpg"] * 2
    code, output = run(build_mixed_dataset, "--data_root", tmp_path / "fits.npz")
    assert code == 2


@pytest.mark.parametrize("name", ["millimetres", "degrees", "swapped sides", "upside down"])
def test_wrong_conventions_are_flagged(tmp_path, name):
    photos = fits.make_photos(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    data, params = fits.coco_annotations(photos, fits.COCO), fits.neuralannot(photos)
    for fit in params.values():
        smpl = fit["smpl_param"]
        if name == "millimetres":
            smpl["trans"] = [1000 * x for x in smpl["trans"]]
        elif name == "degrees":
            smpl["pose"] = np.rad2deg(smpl["pose"]).tolist()
        elif name == "upside down":
            smpl["pose"][:3] = [0.0, 0.0, 0.0]  # y up
    if name == "swapped sides":
        for annotation in data["annotations"]:
            keypoints = np.reshape(annotation["keypoints"], (17, 3))
            annotation["keypoints"] = keypoints[[0, *np.arange(1, 17).reshape(-1, 2)[:, ::-1].ravel()]].ravel().tolist()
    annotations = fits.write_json(tmp_path / "keypoints.json", data)
    file = fits.write_json(tmp_path / "fits.json", params)
    flags = ("--images", tmp_path / "images", "--annotations", annotations, "--fits", file)
    code, output = build(build_coco_dataset, tmp_path, *flags)
    message = {"millimetres": "millimetres", "degrees": "degrees", "swapped sides": "sides are swapped"}
    assert code == 2 and message.get(name, "convention") in output, output


def test_broken_entries_of_json_files_are_dropped_one_by_one(tmp_path):
    photos = fits.make_photos(tmp_path / "images", ["a.jpg", "b.jpg"])
    data, params = fits.coco_annotations(photos, fits.COCO), fits.neuralannot(photos)
    first = data["annotations"][0]
    data["annotations"] = [None, {}, first | {"image_id": 5}, *data["annotations"], first | {"keypoints": "none"}]
    data["images"] = [*data["images"], 7, {"id": 3}]
    data["annotations"].append(first | {"image_id": 3})
    params["900"]["more"] = {"unknown": 1}
    annotations = fits.write_json(tmp_path / "keypoints.json", data)
    file = fits.write_json(tmp_path / "fits.json", params)
    flags = ("--images", tmp_path / "images", "--annotations", annotations, "--fits", file)
    code, output = build(build_coco_dataset, tmp_path, *flags)
    assert code == 0, output
    report = report_of(tmp_path / "coco_smpl/train.yaml")
    assert report["rows"] == 2 and sum(report["dropped"].values()) == 5, report["dropped"]


def test_files_that_are_no_release_are_one_line(tmp_path):
    photos = fits.make_photos(tmp_path / "images", ["a.jpg"])
    annotations = fits.write_json(tmp_path / "keypoints.json", fits.coco_annotations(photos, fits.COCO))
    (tmp_path / "broken.json").write_text("{")
    for name, content in (("list.json", []), ("other.json", {"1": {}})):
        fits.write_json(tmp_path / name, content)
    for flags in (
        ("--annotations", annotations, "--fits", tmp_path / "broken.json"),
        ("--annotations", annotations, "--fits", tmp_path / "list.json"),
        ("--annotations", tmp_path / "list.json", "--fits", tmp_path / "other.json"),
        ("--annotations", annotations, "--fits", tmp_path / "other.json"),
        ("--fits", tmp_path / "other.json"),
        ("--fits", tmp_path / "absent.json"),
    ):
        code, output = build(build_coco_dataset, tmp_path / "out", "--images", tmp_path / "images", *flags)
        assert code == 2 and output.count("error:") == 1 and "Traceback" not in output, output
        assert not list(tmp_path.glob("out/**/*.yaml"))


def test_a_set_of_the_same_name_is_not_replaced_unasked(tmp_path):
    photos = fits.make_photos(tmp_path / "mpii", ["images/015601864.jpg"], centred=True)
    np.savez(tmp_path / "mpii_cliffGT.npz", **fits.cliff(photos))
    yaml_file = tmp_path / "mpii/train.yaml"
    write_set(yaml_file, 3, 0)
    before = {path.name: path.read_bytes() for path in yaml_file.parent.glob("train.*")}
    flags = ("--images", tmp_path / "mpii", "--fits", tmp_path / "mpii_cliffGT.npz")
    code, output = build(build_mpii_dataset, tmp_path, *flags)
    assert code == 2 and "--overwrite replaces it" in output, output
    assert {path.name: path.read_bytes() for path in yaml_file.parent.glob("train.*")} == before
    code, output = build(build_mpii_dataset, tmp_path, *flags, "--overwrite")
    assert code == 0 and len(labels_of(yaml_file)) == 1, output

    joined = ("--data_root", tmp_path, "--parts", "mpii/train.yaml")
    assert run(build_mixed_dataset, *joined)[0] == 0
    code, output = run(build_mixed_dataset, *joined)
    assert code == 2 and "--overwrite replaces it" in output
    assert run(build_mixed_dataset, *joined, "--overwrite")[0] == 0


def test_names_that_no_file_can_have_are_left_out(tmp_path):
    photos = fits.make_photos(tmp_path / "train2017", ["000000000009.jpg", "000000000025.jpg"])
    data = fits.coco_annotations(photos, fits.COCO)
    data["images"][0]["file_name"] = "b\0ad.jpg"
    annotations = fits.write_json(tmp_path / "person_keypoints.json", data)
    file = fits.write_json(tmp_path / "fits.json", fits.neuralannot(photos))
    flags = ("--images", tmp_path / "train2017", "--annotations", annotations, "--fits", file)
    code, output = build(build_coco_dataset, tmp_path, *flags)
    assert code == 0 and len(labels_of(tmp_path / "coco_smpl/train.yaml")) == 1, output
    assert sum(report_of(tmp_path / "coco_smpl/train.yaml")["dropped"].values()) == 1


@pytest.mark.parametrize("change", [{"imgname": "a.jpg"}, {"scale": np.ones(1)}, {"center": 3.0}])
def test_npz_files_without_one_entry_per_person_are_one_line(tmp_path, change):
    photos = fits.make_photos(tmp_path / "mpii", ["images/a.jpg", "images/b.jpg"], centred=True)
    data = fits.cliff(photos)
    for content in (data | change, {name: value[:0] for name, value in data.items()}):
        np.savez(tmp_path / "fits.npz", **content)
        code, output = build(build_mpii_dataset, tmp_path, "--images", tmp_path, "--fits", tmp_path / "fits.npz")
        assert code == 2 and "Traceback" not in output and "fits.npz" in output, output
