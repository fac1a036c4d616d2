"""Human3.6M's own CDF files and videos -> rows."""

import shutil

import av
import cdflib.cdfwrite
import numpy as np
import pytest

from scripts import build_h36m_dataset
from tests.helpers.releases.built import labels_of, run
from tests.helpers.releases.scene import draw, find_mask, make_camera, make_person
from utils.paths import OPEN_BODY
from utils.skeleton import J24

CAMERA = "60457274"
FRAMES = 7
# places among the 32 joints, by the public description: right leg 1-3, left leg 6-8, spine 12, neck 14... by name here
PLACES = {
    11: "Pelvis", 6: "L_Hip", 7: "L_Knee", 8: "L_Ankle", 1: "R_Hip", 2: "R_Knee", 3: "R_Ankle", 12: "Spine",
    24: "Neck", 14: "Jaw", 15: "Head", 17: "L_Shoulder", 18: "L_Elbow", 19: "L_Wrist", 25: "R_Shoulder",
    26: "R_Elbow", 27: "R_Wrist",
}  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("official")
    rng = np.random.default_rng(3)
    camera = make_camera(rng, size=(240, 240), world=False)
    people = [make_person(rng, camera) for _ in range(FRAMES)]
    points, pixels = np.zeros((FRAMES, 32, 3)), np.zeros((FRAMES, 32, 2))
    for place, name in PLACES.items():
        points[:, place] = [1000 * person.keypoints[J24.index(name)] for person in people]
        pixels[:, place] = [person.pixels[J24.index(name)] for person in people]
    for kind, values in (("D3_Positions_mono", points), ("D2_Positions", pixels)):
        folder = root / "S9/MyPoseFeatures" / kind
        folder.mkdir(parents=True)
        write_cdf(folder / f"Walking 1.{CAMERA}.cdf", values.reshape(1, FRAMES, -1))
    (root / "S9/Videos").mkdir()
    write_video(root / f"S9/Videos/Walking 1.{CAMERA}.mp4", [draw([person], camera) for person in people])
    return root, people


def write_cdf(path, values):
    file = cdflib.cdfwrite.CDF(str(path))
    spec = {
        "Variable": "Pose",
        "Data_Type": 45,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(values.shape[1:]),
    }
    file.write_var(spec, var_data=values)
    file.close()


def write_video(path, pictures):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 240, 240, "yuv420p"
        stream.options = {"crf": "8", "g": "3"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def test_rows_are_the_frames_of_the_video(release, tmp_path):
    root, people = release
    flags = ("--official", root, "--output", tmp_path, "--splits", "valid", "--every", 2, "--num_workers", 1)
    code, output = run(build_h36m_dataset, *flags, "--smpl_path", OPEN_BODY)
    assert code == 0, output
    rows = labels_of(tmp_path / "human3.6m/valid.protocol2.yaml")
    assert len(rows) == 4
    for label, person in zip(rows.values(), people[::2], strict=True):
        truth = person.keypoints - person.keypoints[J24.index("Pelvis")]
        places = [J24.index(name) for name in PLACES.values()]
        assert np.abs(label["keypoints_3d"][places, :3] - truth[places]).max() < 1e-3
        assert np.abs(label["keypoints_2d"][places, :2] - person.pixels[places]).max() < 0.01
        assert not label["has_smpl"] and label["keypoints_2d"][:, 2].sum() == 17
        mask = find_mask(label["picture"])
        assert (mask & person.mask).sum() / (mask | person.mask).sum() > 0.95


def test_a_missing_video_is_told(release, tmp_path):
    root, _ = release
    (tmp_path / "S9").mkdir()
    (tmp_path / "S9/MyPoseFeatures").symlink_to(root / "S9/MyPoseFeatures")
    flags = ("--official", tmp_path, "--output", tmp_path / "out", "--splits", "valid", "--num_workers", 1)
    code, output = run(build_h36m_dataset, *flags, "--smpl_path", OPEN_BODY)
    assert code == 2 and f"Walking 1.{CAMERA}.mp4" in output


def test_a_damaged_file_is_left_out(release, tmp_path):
    root, _ = release
    shutil.copytree(root, tmp_path / "release")
    for kind in ("D3_Positions_mono", "D2_Positions"):
        (tmp_path / f"release/S9/MyPoseFeatures/{kind}/Sitting.{CAMERA}.cdf").write_bytes(b"damaged")
    flags = ("--official", tmp_path / "release", "--output", tmp_path, "--splits", "valid", "--num_workers", 1)
    code, output = run(build_h36m_dataset, *flags, "--smpl_path", OPEN_BODY)
    assert code == 0 and "joints cannot be read" in output, output
