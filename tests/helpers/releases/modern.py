"""Write small releases of BEDLAM, EMDB and 4D-Humans, each by its public description."""

import io
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.releases.fits import BODY25, Photo, select, xywh
from tests.helpers.releases.scene import Camera, Person, draw, make_camera, make_person, place_person, write_picture
from utils.skeleton import J24


def smpl_joints_2d(person: Person, camera: Camera) -> np.ndarray:
    return camera.project(person.joints)


def make_bedlam(root: Path, scene: str, count: int, seed: int = 11) -> list[Photo]:
    """labels/SCENE.npz and images/SCENE/png/seq_000000/*.png; a close-up is stored on its side."""
    rng = np.random.default_rng(seed)
    closeup = "closeup" in scene
    photos, rows = [], []
    for i in range(count):
        camera = make_camera(rng, size=(360, 204) if closeup else (204, 360), world=False)
        height, width = camera.size
        camera = Camera(camera.rotation, camera.shift, (300.0, 300.0), (width / 2, height / 2), camera.size)
        person = make_person(rng, camera, gender="female" if i % 2 else "male", distance=3.5)
        name = f"seq_000000/seq_000000_{5 * i:04d}.png"
        picture = draw([person], camera)
        path = root / "images" / scene / "png" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE) if closeup else picture
        cv2.imwrite(str(path), stored[..., ::-1])
        left, top, w, h = xywh(person)
        offset = rng.normal(0, 0.3, 3)  # the translation is in two parts
        rows.append(
            {
                "imgname": name, "center": (left + w / 2, top + h / 2), "scale": 1.2 * max(w, h) / 200,
                "pose_cam": person.pose, "pose_world": person.pose, "shape": person.betas,
                "trans_cam": person.translation - offset, "trans_world": person.translation, "cam_int": camera.matrix,
                "cam_ext": np.block([[np.eye(3), offset[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]),
                "gtkps": smpl_joints_2d(person, camera), "gender": person.gender, "sub": "rp_ann_posed_001",
            }
        )  # fmt: skip
        photos.append(Photo(name, camera, person, path.read_bytes()))
    (root / "labels").mkdir(parents=True, exist_ok=True)
    np.savez(root / "labels" / f"{scene}.npz", **{k: np.array([row[k] for row in rows]) for k in rows[0]})
    return photos


def make_emdb(root: Path, person_name: str, name: str, frames: int, seed: int, benchmark: bool = True, **changes):
    """P0/NAME -> people of all frames; changes of the pickle."""
    rng = np.random.default_rng(seed)
    folder = root / person_name / name
    cameras = [make_camera(rng) for _ in range(frames)]
    cameras = [Camera(c.rotation, c.shift, cameras[0].focal, cameras[0].principal, c.size) for c in cameras]
    people = [make_person(rng, camera, gender="female") for camera in cameras]
    people = [
        place_person(p.pose, people[0].betas, p.translation, c, p.gender) for p, c in zip(people, cameras, strict=True)
    ]
    photos = [
        Photo(f"{i:05d}.jpg", camera, person, write_picture(folder / f"images/{i:05d}.jpg", [person], camera))
        for i, (camera, person) in enumerate(zip(cameras, people, strict=True))
    ]
    content = {
        "gender": "female", "name": f"{person_name}_{name}", "emdb1": benchmark, "emdb2": not benchmark,
        "n_frames": frames, "good_frames_mask": np.ones(frames, bool),
        "camera": {
            "intrinsics": cameras[0].matrix, "extrinsics": np.stack([c.extrinsic for c in cameras]),
            "width": cameras[0].size[1], "height": cameras[0].size[0],
        },
        "smpl": {
            "poses_root": np.stack([p.pose[:3] for p in people]), "poses_body": np.stack([p.pose[3:] for p in people]),
            "trans": np.stack([p.translation for p in people]), "betas": people[0].betas,
        },
        "kp2d": np.stack([smpl_joints_2d(p, c) for p, c in zip(people, cameras, strict=True)]),
        "bboxes": {"bboxes": np.stack([p.box for p in people]), "invalid_idxs": np.array([], int)},
    }  # fmt: skip
    content |= changes
    (folder / f"{person_name}_{name}_data.pkl").write_bytes(pickle.dumps(content))
    return photos, content


def keypoints_44(points: np.ndarray) -> np.ndarray:
    """J24 (24, D) -> 25 of OpenPose, then the first 19 of J24 (44, D + 1)."""
    return np.concatenate((select(points, BODY25), select(points, J24[:19])))


def hmr2_person(photo: Photo) -> dict:
    person = photo.person
    left, top, w, h = xywh(person)
    return {
        "keypoints_2d": keypoints_44(person.pixels).astype(np.float32),
        "keypoints_3d": keypoints_44(person.keypoints).astype(np.float32),
        "center": np.array([left + w / 2, top + h / 2]), "scale": np.full(2, 1.2 * max(w, h) / 200),
        "body_pose": person.pose, "betas": person.betas, "has_body_pose": np.float32(1), "has_betas": np.float32(1),
        "extra_info": {"fitting_loss": 100.0, "detection_npz_idx": 0},
    }  # fmt: skip


def write_tar(path: Path, photos: list[Photo], people: list[list[dict]], damaged: bytes | None = None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for photo, entry in zip(photos, people, strict=True):
            key = photo.name.rsplit("/")[-1].removesuffix(".jpg")
            add(archive, f"{key}.jpg", photo.data)
            add(archive, f"{key}.data.pyd", pickle.dumps(entry))
        if damaged is not None:
            add(archive, "bad.jpg", photos[0].data)
            add(archive, "bad.data.pyd", damaged)


def add(archive: tarfile.TarFile, name: str, data: bytes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def hmr2_evaluation(photos: list[Photo]) -> dict[str, np.ndarray]:
    people = [photo.person for photo in photos]
    boxes = np.stack([person.box for person in people])
    return {
        "imgname": np.array([photo.name for photo in photos]),
        "center": (boxes[:, :2] + boxes[:, 2:]) / 2,
        "scale": np.repeat(1.2 * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True), 2, 1),  # pixels
        "body_pose": np.stack([p.pose for p in people]), "has_body_pose": np.ones(len(people)),
        "betas": np.stack([p.betas for p in people]), "has_betas": np.ones(len(people)),
        "body_keypoints_2d": np.stack([select(p.pixels, BODY25) for p in people]),
        "extra_keypoints_2d": np.stack([select(p.pixels, J24[:19]) for p in people]),
        "body_keypoints_3d": np.stack([select(p.keypoints, BODY25) for p in people]),
        "extra_keypoints_3d": np.stack([select(p.keypoints, J24[:19]) for p in people]),
    }  # fmt: skip
