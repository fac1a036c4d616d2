"""Synthetic people: the rasteriser against plain geometry, the body against BodyModel, labels against pictures."""

import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datasets.human_mesh import HumanMeshDataset
from datasets.sampler import RowNumber
from datasets.synthetic import OCCLUDED, SyntheticDataset
from datasets.synthetic.assets import load_assets
from datasets.synthetic.person.body import Body, rotmat_to_rotvec, rotvec_to_rotmat
from datasets.synthetic.raster.noise import noise3
from datasets.synthetic.raster.rasterizer import (
    ambient_occlusion,
    area_weighted_normals,
    barycentric,
    look_along,
    perspective,
    rasterize,
)
from datasets.synthetic.subject import axis_rotation, draw_subject, ray_to_z
from datasets.tsv import TSVWriter
from models.body_model import load_body_model
from tests.helpers.weak_perspective import fit_weak_perspective
from utils.errors import UserError
from utils.geometry import project
from utils.paths import OPEN_BODY, ROOT
from utils.skeleton import J24, J24_FLIP, J24_PELVIS, SMPL_FLIP

BODY = OPEN_BODY
NOWHERE = Path("/nonexistent")


@pytest.fixture(scope="module")
def clean():
    """Pictures without occluders, bystanders and camera faults, and without fetched assets."""
    return SyntheticDataset(BODY, "test", num_samples=50, assets=NOWHERE, clean=True, with_image_uint8=True)


@pytest.fixture(scope="module")
def body_model():
    return load_body_model(BODY)


@pytest.fixture(scope="module")
def rows(clean):
    return [clean[i] for i in range(12)]


def sphere(rows=24, columns=32):
    polar, around = np.meshgrid(np.linspace(0, np.pi, rows), np.arange(columns) * 2 * np.pi / columns, indexing="ij")
    points = np.stack((np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)), -1).reshape(
        -1, 3
    )
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    faces = np.stack((a, a + columns, b, b, a + columns, b + columns), -1).reshape(-1, 3)
    return points.astype(np.float32), faces.astype(np.int32)


# ---- rasteriser ------------------------------------------------------------------------------------------------------


def test_rasterizer_agrees_with_rays():
    points, faces = sphere(60, 80)
    points = points * 0.5 + np.float32([0.1, -0.2, 3])
    focal, c, n = 200.0, 31.5, 64
    screen = perspective(points, focal, c, c)
    whole = np.ones(len(points), np.float32)
    key, index = rasterize(screen, faces, whole, np.zeros(len(faces), bool), n, n, 1)
    y, x = np.mgrid[:n, :n]
    rays = np.stack(((x - c) / focal, (y - c) / focal, np.ones((n, n))), -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = rays @ (0.1, -0.2, 3.0)
    gap = 0.1**2 + 0.2**2 + 9 - along**2
    hit = gap < 0.25
    assert ((index >= 0) != hit).mean() < 0.02  # a polyhedron is a little smaller than its ball
    both = hit & (index >= 0) & (gap < 0.2)
    depth = ((along - np.sqrt(np.maximum(0.25 - gap, 0)))[..., None] * rays)[..., 2]
    assert np.abs(1 / key[both] - depth[both]).max() < 0.01


def test_rasterizer_leaves_no_cracks_and_culls_the_far_side():
    points, faces = sphere()
    screen = perspective(points + np.float32([0, 0, 3]), 150, 49.5, 49.5)
    whole = np.ones(len(points), np.float32)
    _, front = rasterize(screen, faces, whole, np.zeros(len(faces), bool), 100, 100, 1)
    _, both = rasterize(screen, faces, whole, np.ones(len(faces), bool), 100, 100, 1)
    np.testing.assert_array_equal(front, both)
    filled = (front >= 0).astype(np.uint8)
    closed = cv2.morphologyEx(filled, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    assert (filled == closed).mean() > 0.995
    _, inside_out = rasterize(screen, faces[:, ::-1].copy(), whole, np.zeros(len(faces), bool), 100, 100, 1)
    assert (points[faces[inside_out[inside_out >= 0]]].mean(1)[:, 2] > -0.4).all()  # only back faces are left


def test_coverage_cuts_along_its_zero_line():
    points = np.float32([[0, 0, 1], [63, 0, 1], [0, 63, 1], [63, 63, 1]])
    faces = np.int32([[0, 2, 1], [1, 2, 3]])
    coverage = points[:, 0] - np.float32(19.5)
    _, index = rasterize(points, faces, coverage, np.ones(2, bool), 64, 64, 1)
    np.testing.assert_array_equal(index >= 0, np.broadcast_to(np.arange(64) >= 20, (64, 64)))


def test_barycentric_is_perspective_correct():
    points = np.float32([[-1, -1, 2], [1.5, -1, 4], [0, 2, 3]])
    screen = perspective(points, 100, 50, 50)
    weights = np.array([0.2, 0.5, 0.3])
    x, y, _ = perspective((weights @ points)[None].astype(np.float32), 100, 50, 50)[0]
    np.testing.assert_allclose(barycentric(screen, np.int32([[0, 1, 2]]), 0, x, y), weights, atol=1e-4)


def test_normals_point_outwards_and_openness_is_a_share():
    points, faces = sphere()
    assert ((area_weighted_normals(points, faces) * points).sum(1) > 0.95).all()
    openness = ambient_occlusion(points, faces)
    assert openness.min() > 0.9  # nothing occludes a ball
    hollow = np.concatenate((points, 3 * points)), np.concatenate((faces, faces + len(points)))
    assert ambient_occlusion(*hollow)[: len(points)].max() < 0.1  # a ball inside a ball is fully occluded


def test_look_along_orders_by_nearness_to_the_light():
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for direction in (np.array([0.0, 1, 0]), np.array([0.6, 0, 0.8])):
        screen, affine = look_along(points, direction, 64)
        np.testing.assert_allclose(screen, points @ affine[:, :3].T + affine[:, 3], atol=1e-4)
        assert screen[:, :2].min() >= 0 and screen[:, :2].max() <= 63
        np.testing.assert_array_equal(np.argsort(-screen[:, 2]), np.argsort(points @ direction))


def test_noise_is_smooth_and_known():
    a = noise3(1.5, -2.25, 0.75, 3)
    assert a == noise3(1.5, -2.25, 0.75, 3) != noise3(1.5, -2.25, 0.75, 4)
    assert abs(noise3(1.5001, -2.25, 0.75, 3) - a) < 1e-3
    values = np.array([noise3(0.37 * i, 0.11 * i, 0.0, 1) for i in range(2000)])
    assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 0.05


# ---- body and labels -------------------------------------------------------------------------------------------------


def test_body_agrees_with_body_model(body_model):
    body, rng = Body(BODY), np.random.default_rng(1)
    for _ in range(3):
        pose, betas = rng.normal(0, 0.5, (24, 3)), rng.normal(0, 1.5, 10)
        rotmat = rotvec_to_rotmat(pose)
        vertices, joints, _ = body.posed(rotmat, betas)
        expected, expected_joints = body_model(torch.tensor(rotmat)[None].float(), torch.tensor(betas)[None].float())
        assert np.abs(vertices - expected[0].numpy()).max() < 1e-5
        assert np.abs(joints - expected_joints[0].numpy()).max() < 1e-5
        for name, count in (("j17", 17), ("j24", 24)):
            keypoints = body.keypoints(vertices, name)
            assert keypoints.shape == (count, 3)
            assert np.abs(keypoints - body_model.keypoint_regressors[name] @ expected[0].numpy()).max() < 1e-5


def test_rotation_vectors_round_trip():
    vectors = np.random.default_rng(2).normal(0, 1, (100, 3))
    rotations = rotvec_to_rotmat(vectors)
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (100, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(rotvec_to_rotmat(rotmat_to_rotvec(rotations)), rotations, atol=1e-9)
    np.testing.assert_allclose(rotvec_to_rotmat(np.zeros(3)), np.eye(3))


def test_ray_to_z_is_the_smallest_rotation():
    for ray in np.random.default_rng(3).normal((0, 0, 2), 0.5, (20, 3)):
        rotation = ray_to_z(ray)
        np.testing.assert_allclose(rotation @ ray / np.linalg.norm(ray), (0, 0, 1), atol=1e-12)
        angle = np.arccos(ray[2] / np.linalg.norm(ray))
        assert np.linalg.norm(rotmat_to_rotvec(rotation[None])[0]) == pytest.approx(angle, abs=1e-6)


def test_row_has_the_schema_of_the_batch(rows):
    row = rows[0]
    shapes = {"image": (3, 224, 224), "keypoints_2d": (24, 3), "keypoints_3d": (24, 4), "pose": (72,), "betas": (10,)}
    for key, shape in shapes.items():
        assert row[key].shape == shape and row[key].dtype == torch.float32
    assert row["center"].shape == (2,) and row["scale"].shape == ()
    assert all(row[f"has_{name}"] is True for name in ("keypoints_2d", "keypoints_3d", "smpl"))
    assert row["index"] == 0 and row["image_id"] == "synthetic/test/0/0/0"
    torch.utils.data.default_collate(rows)


def test_pose_and_betas_give_the_keypoint_labels(rows, body_model):
    for row in rows:
        rotmat = torch.tensor(rotvec_to_rotmat(row["pose"].reshape(24, 3).numpy())).float()
        vertices, _ = body_model(rotmat[None], row["betas"][None])
        keypoints = body_model.keypoint_regressors["j24"] @ vertices[0].numpy()
        keypoints = keypoints - keypoints[J24_PELVIS]
        assert np.abs(keypoints - row["keypoints_3d"][:, :3].numpy()).max() < 1e-4
        # the weak-perspective camera of the network approximates the true projection
        cam = fit_weak_perspective(
            row["keypoints_3d"][None, :, :3], row["keypoints_2d"][None, :, :2], torch.ones(1, 24)
        )
        error = (project(row["keypoints_3d"][None, :, :3], cam)[0] - row["keypoints_2d"][:, :2]).norm(dim=-1)
        size = float(np.ptp(row["keypoints_2d"][:, :2].numpy(), axis=0).max())
        assert cam[0, 0] > 0 and error.mean() < 0.12 * size


def test_keypoints_lie_on_the_person(rows):
    on, total = 0, 0
    limbs = [
        J24.index(f"{side}_{name}") for side in "LR" for name in ("Ankle", "Knee", "Wrist", "Elbow", "Shoulder", "Hip")
    ]
    for row in rows:
        xy = ((row["keypoints_2d"][:, :2].numpy() + 1) * 224 - 1) / 2
        mask = cv2.dilate(row["mask"].numpy().astype(np.uint8), np.ones((3, 3), np.uint8))
        for j in limbs:
            if row["keypoints_2d"][j, 2] > 0:
                column, line = np.round(xy[j]).astype(int)
                on += mask[min(line, 223), min(column, 223)]
                total += 1
    assert total > 80 and on == total


def test_picture_shows_the_labelled_body(clean, rows, body_model):
    """The body posed by its labels and projected by the true camera fills the person's mask."""
    overlaps = []
    for i in range(6):
        subject, _ = clean._draw(i, 0, 224)
        vertices, _ = body_model(
            torch.tensor(rotvec_to_rotmat(subject.pose)).float()[None], torch.tensor(subject.betas).float()[None]
        )
        points = vertices[0].numpy()
        keypoints = body_model.keypoint_regressors["j24"] @ points
        pelvis = subject.keypoints_camera[J24_PELVIS]
        points = (points - keypoints[J24_PELVIS]) @ subject.to_label + pelvis  # label frame to camera frame
        x, y, half = subject.crop
        screen = perspective(points.astype(np.float32), 112 / half, 111.5 - 112 / half * x, 111.5 - 112 / half * y)
        faces = body_model.faces.astype(np.int32)
        _, index = rasterize(screen, faces, np.ones(len(points), np.float32), np.zeros(len(faces), bool), 224, 224, 1)
        naked, dressed = index >= 0, rows[i]["mask"].numpy()
        assert (naked & ~dressed).sum() < 0.05 * naked.sum()  # clothes only add
        overlaps.append((naked & dressed).sum() / (naked | dressed).sum())
    assert np.mean(overlaps) > 0.6


def test_confidence_of_visible_hidden_and_outside_keypoints():
    dataset = SyntheticDataset(BODY, "test", num_samples=40, assets=NOWHERE)
    labels = np.array([dataset[i]["keypoints_2d"].numpy() for i in range(40)])
    assert set(np.unique(labels[..., 2])) == {0.0, OCCLUDED, 1.0}
    beyond = (np.abs(labels[..., :2]) > 1.01).any(-1)
    assert (labels[..., 2][beyond] == 0).all()
    assert 0.5 < (labels[..., 2] == 1).mean() < 0.95


def test_faces_are_visible_from_the_front_only(rows):
    nose = J24.index("Nose")
    for row in rows:
        forward = rotvec_to_rotmat(row["pose"].reshape(24, 3).numpy())[0] @ (0, 0, 1)
        if forward[2] > 0.9 and abs(row["keypoints_2d"][nose, :2]).max() < 1:  # the face points away from the camera
            assert row["keypoints_2d"][nose, 2] == OCCLUDED


def test_the_mirrored_label_is_the_mirrored_picture(clean, rows, body_model):
    """The pose flipped as in training gives the mirrored body."""
    row = rows[3]
    pose = row["pose"].reshape(24, 3).numpy()
    flipped = pose[list(SMPL_FLIP)] * (1, -1, -1)
    both = [
        body_model(torch.tensor(rotvec_to_rotmat(p)).float()[None], row["betas"][None])[0][0].numpy()
        for p in (pose, flipped)
    ]
    a, b = (body_model.keypoint_regressors["j24"] @ vertices for vertices in both)
    np.testing.assert_allclose(a * (-1, 1, 1), b[list(J24_FLIP)], atol=2e-3)


# ---- data set --------------------------------------------------------------------------------------------------------


def test_samples_depend_only_on_seed_split_epoch_and_row(clean, rows):
    again = SyntheticDataset(BODY, "test", num_samples=9, assets=NOWHERE, clean=True, with_image_uint8=True)
    for key in ("image_uint8", "keypoints_2d", "pose", "betas"):
        assert torch.equal(again[5][key], rows[5][key])
    poses = [rows[5]["pose"], again[RowNumber(5, epoch=1)]["pose"], again[6]["pose"]]
    poses.append(SyntheticDataset(BODY, "test", seed=1, assets=NOWHERE)[5]["pose"])
    assert len({tuple(pose.tolist()) for pose in poses}) == 4
    with pytest.raises(IndexError):
        again[9]


def test_another_process_draws_the_same(rows):
    code = (
        "from datasets.synthetic import SyntheticDataset as S; import zlib;"
        f"r = S({str(BODY)!r}, 'test', num_samples=50, assets='/nonexistent', clean=True, with_image_uint8=True)[5];"
        "print(zlib.crc32(r['image_uint8'].numpy().tobytes()), zlib.crc32(r['pose'].numpy().tobytes()))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    mine = [zlib.crc32(rows[5][key].numpy().tobytes()) for key in ("image_uint8", "pose")]
    assert [int(x) for x in out.split()] == mine


def test_augmentation_turns_the_camera(clean):
    body = clean.generator.body
    pose = clean.generator.poses(np.random.default_rng(0))
    plain, turned = (draw_subject(np.random.default_rng(4), body, pose, roll=roll, truncation=0) for roll in (0.0, 0.7))
    lengths = [np.linalg.norm(subject.keypoints_3d(), axis=1) for subject in (plain, turned)]
    np.testing.assert_allclose(*lengths, atol=1e-9)
    np.testing.assert_allclose(turned.camera[:, :3] @ plain.camera[:, :3].T, axis_rotation(2, 0.7), atol=1e-9)
    np.testing.assert_array_equal(plain.pose[1:], turned.pose[1:])


def test_bad_input_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        SyntheticDataset(tmp_path / "none.npz", "test")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(BODY.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"broken\.npz"):
        SyntheticDataset(broken, "test")
    with pytest.raises(UserError, match="synthetic split 'all'"):
        SyntheticDataset(BODY, "all")


def test_assets_are_optional_split_by_name_and_checked(tmp_path):
    empty = load_assets(tmp_path, "train")
    assert not empty.photos and not len(empty.pictures) and not empty.environments and not empty.skins
    (tmp_path / "photos").mkdir()
    names = [f"{i}.png" for i in range(40)]
    for i, name in enumerate(names):
        cv2.imwrite(str(tmp_path / "photos" / name), np.full((20, 30, 3), i, np.uint8))
    shares = [
        {int(photo[0, 0, 0]) for photo in load_assets(tmp_path, split).photos} for split in ("train", "val", "test")
    ]
    assert sum(map(len, shares)) == 40 and len(set.union(*shares)) == 40 and len(shares[0]) > 20
    (tmp_path / "photos" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0\.png"):
        [load_assets(tmp_path, split) for split in ("train", "val", "test")]


def test_light_maps_become_irradiance(tmp_path):
    (tmp_path / "light").mkdir()
    sky = np.zeros((32, 64, 3), np.float32)
    sky[:16] = 1  # bright above, dark below
    for i in range(20):
        cv2.imwrite(str(tmp_path / "light" / f"{i}.hdr"), sky)
    sh = load_assets(tmp_path, "train").environments[0]
    assert sh.shape == (9, 3) and sh[0].mean() == pytest.approx(1)
    assert (sh[1] > 0.5).all() and np.abs(sh[2:4]).max() < 0.02  # more light from above, none sideways


def test_labels_do_not_depend_on_assets(tmp_path, rows):
    (tmp_path / "photos").mkdir()
    for i in range(40):
        cv2.imwrite(str(tmp_path / "photos" / f"{i}.png"), np.full((60, 60, 3), 90, np.uint8))
    row = SyntheticDataset(BODY, "test", num_samples=50, assets=tmp_path, clean=True)[2]
    for key in ("pose", "betas", "keypoints_3d"):
        assert torch.equal(row[key], rows[2][key])
    assert torch.equal(row["keypoints_2d"][:, :2], rows[2]["keypoints_2d"][:, :2])


def test_wide_picture_holds_the_crop(clean, rows, tmp_path):
    image, label = clean.wide_picture(1, size=300, zoom_out=1.5)
    assert image.shape == (300, 300, 3)
    with TSVWriter(tmp_path / "x.yaml") as writer:
        writer.add("a", cv2.imencode(".png", image[..., ::-1])[1].tobytes(), label, 300, 300)
    row = HumanMeshDataset(tmp_path / "x.yaml")[0]
    assert torch.allclose(row["keypoints_2d"][:, :2], rows[1]["keypoints_2d"][:, :2], atol=1e-3)
    for key in ("keypoints_3d", "pose", "betas"):
        assert torch.allclose(row[key], rows[1][key], atol=1e-5)


def test_make_synthetic_data_writes_the_seven_sets(tmp_path):
    command = [sys.executable, "scripts/make_synthetic_data.py", "--output", str(tmp_path), "--num_samples", "5"]
    command += ["--assets", "none"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    counts = {
        "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml": 5,
        "human3.6m/valid.protocol2.yaml": 5,
        "3dpw/train.yaml": 5,
        "3dpw/test_has_gender.yaml": 5,
    }
    for name, count in counts.items():
        assert len(HumanMeshDataset(tmp_path / name)) == count
    ids = {HumanMeshDataset(tmp_path / name)[i]["image_id"] for name in counts for i in range(5)}
    assert len(ids) == 20
    assert all((tmp_path / name).is_dir() for name in ("coco_smpl", "muco", "up3d", "mpii"))
