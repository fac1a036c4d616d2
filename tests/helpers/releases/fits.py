"""Write small releases of COCO, MPII, MuCo and UP-3D with SMPL fits, each by its public description."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from tests.helpers.releases.scene import Camera, Person, make_camera, make_person, write_picture
from utils.skeleton import J24

COCO = (
    "Nose", "L_Eye", "R_Eye", "L_Ear", "R_Ear", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist",
    "L_Hip", "R_Hip", "L_Knee", "R_Knee", "L_Ankle", "R_Ankle",
)  # fmt: skip
MPII = (
    "R_Ankle", "R_Knee", "R_Hip", "L_Hip", "L_Knee", "L_Ankle", "Pelvis", "Thorax", "Neck", "Top_of_Head", "R_Wrist",
    "R_Elbow", "R_Shoulder", "L_Shoulder", "L_Elbow", "L_Wrist",
)  # fmt: skip
MUCO = (
    "Top_of_Head", "Thorax", "R_Shoulder", "R_Elbow", "R_Wrist", "L_Shoulder", "L_Elbow", "L_Wrist", "R_Hip", "R_Knee",
    "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Pelvis", "Spine", "Head", "R_Wrist", "L_Wrist", "R_Ankle", "L_Ankle",
)  # fmt: skip
# OpenPose BODY_25 by name; the middle of the hips and the feet have no confidence here
BODY25 = (
    "Nose", None, "R_Shoulder", "R_Elbow", "R_Wrist", "L_Shoulder", "L_Elbow", "L_Wrist", None, "R_Hip", "R_Knee",
    "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "R_Eye", "L_Eye", "R_Ear", "L_Ear", *[None] * 6,
)  # fmt: skip


@dataclass
class Photo:
    name: str
    camera: Camera
    person: Person
    data: bytes


def make_photos(folder: Path, names: list[str], seed: int = 0, centred: bool = False, far: bool = False) -> list[Photo]:
    """One person per picture, camera in its own frame.

    centred: focal length and principal point as CLIFF assumes them. far: so far that the camera is weakly perspective.
    """
    rng = np.random.default_rng(seed)
    photos = []
    for name in names:
        camera = make_camera(rng, world=False)
        height, width = camera.size
        if centred:
            focal = float(np.hypot(height, width))
            camera = Camera(camera.rotation, camera.shift, (focal, focal), (width / 2, height / 2), camera.size)
        if far:
            camera = Camera(camera.rotation, camera.shift, (25000.0, 25000.0), (width / 2, height / 2), camera.size)
        person = make_person(rng, camera, distance=300.0 if far else 4.0)
        photos.append(Photo(name, camera, person, write_picture(folder / name, [person], camera)))
    return photos


def select(points: np.ndarray, names: tuple, last: float = 1.0) -> np.ndarray:
    """points (24, D) of J24 in the order of names -> (K, D + 1), zeros where a name is None."""
    rows = [np.zeros(points.shape[1] + 1) if n is None else np.append(points[J24.index(n)], last) for n in names]
    return np.stack(rows)


def xywh(person: Person) -> list[float]:
    left, top, right, bottom = person.box
    return [left, top, right - left, bottom - top]


def coco_annotations(photos: list[Photo], names: tuple[str, ...], visibility: float = 2.0) -> dict:
    return {
        "images": [
            {"id": 100 + i, "file_name": p.name, "height": p.camera.size[0], "width": p.camera.size[1]}
            for i, p in enumerate(photos)
        ],
        "annotations": [
            {
                "id": 900 + i, "image_id": 100 + i, "iscrowd": 0, "num_keypoints": len(names), "bbox": xywh(p.person),
                "keypoints": select(p.person.pixels, names, visibility).reshape(-1).tolist(),
            }
            for i, p in enumerate(photos)
        ],
    }  # fmt: skip


def smpl_param(person: Person) -> dict:
    return {
        "pose": person.pose.tolist(), "shape": person.betas.tolist(), "trans": person.translation.tolist(),
    }  # fmt: skip


def neuralannot(photos: list[Photo]) -> dict:
    return {
        str(900 + i): {
            "smpl_param": smpl_param(p.person),
            "cam_param": {"focal": list(p.camera.focal), "princpt": list(p.camera.principal)},
        }
        for i, p in enumerate(photos)
    }


def weak_camera(photo: Photo) -> tuple[float, np.ndarray]:
    """Pixels per metre and shift in pixels of a person far away, for the body without translation."""
    scale = photo.camera.focal[0] / photo.person.vertices[:, 2].mean()
    shift = scale * photo.person.translation[:2] + photo.camera.principal
    return scale, shift


def smplify(photos: list[Photo]) -> dict:
    fits = {}
    for i, photo in enumerate(photos):
        scale, shift = weak_camera(photo)
        body = {"pose": photo.person.pose.tolist(), "shape": photo.person.betas.tolist()}
        fits[str(900 + i)] = {"smpl_param": body, "cam_param": {"s": [scale], "t": shift.tolist()}}
    return fits


def eft(photos: list[Photo]) -> dict:
    data = []
    for i, photo in enumerate(photos):
        left, top, right, bottom = photo.person.box
        # off the middle and wide, so that the order of shift and scale matters
        center = np.array([(left + right) / 2 + 5, (top + bottom) / 2 - 30])
        side = 1.8 * max(right - left, bottom - top)
        scale, shift = weak_camera(photo)
        # the crop goes from -1 to 1: x_crop = s (X + t)
        s = 2 * scale / side
        t = 2 * (shift - center) / side / s
        keypoints = np.concatenate((select(photo.person.pixels, BODY25), select(photo.person.pixels, J24)))
        data.append(
            {
                "parm_pose": Rotation.from_rotvec(photo.person.pose.reshape(24, 3)).as_matrix().tolist(),
                "parm_shape": photo.person.betas.tolist(), "parm_cam": [s, *t], "bbox_scale": side / 200,
                "bbox_center": center.tolist(), "joint_validity_openpose18": [1] * 18, "smpltype": "smpl",
                "gt_keypoint_2d": keypoints.tolist(), "annotId": 900 + i, "imageName": photo.name.rsplit("/")[-1],
            }
        )  # fmt: skip
    return {"ver": 0.1, "data": data}


def cliff(photos: list[Photo]) -> dict[str, np.ndarray]:
    people = [photo.person for photo in photos]
    boxes = np.stack([person.box for person in people])
    return {
        "imgname": np.array([photo.name for photo in photos]),
        "center": (boxes[:, :2] + boxes[:, 2:]) / 2,
        "scale": 1.2 * (boxes[:, 2:] - boxes[:, :2]).max(1) / 200,
        "part": np.stack([select(person.pixels, J24) for person in people]),
        "annot_id": np.arange(900, 900 + len(people)),
        "pose": np.stack([person.pose for person in people]),
        "shape": np.stack([person.betas for person in people]),
        "has_smpl": np.ones(len(people)),
        "global_t": np.stack([person.translation for person in people]),
        "focal_l": np.array([photo.camera.focal[0] for photo in photos]),
        "S": np.stack([select(person.keypoints - person.keypoints[14], J24) for person in people]),
    }


def write_json(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_muco(root: Path, count: int, seed: int = 5) -> tuple[dict, dict, list[list[Photo]]]:
    """Pictures of two people, the second 1 m behind -> MuCo-3DHP.json, smpl_param.json, people of each picture."""
    rng = np.random.default_rng(seed)
    data, fits, scenes = {"images": [], "annotations": []}, {}, []
    for i in range(count):
        camera = make_camera(rng, world=False)
        near, behind = make_person(rng, camera, beside=-0.6), make_person(rng, camera, beside=0.9, distance=5.0)
        name = f"augmented_set/{i:06d}.jpg"
        jpeg = write_picture(root / name, [behind, near], camera)
        scenes.append([Photo(name, camera, person, jpeg) for person in (behind, near)])
        data["images"].append(
            {
                "id": i, "file_name": name, "height": camera.size[0], "width": camera.size[1], "f": list(camera.focal),
                "c": list(camera.principal),
            }
        )  # fmt: skip
        for k, person in enumerate((behind, near)):
            data["annotations"].append(
                {
                    "id": 10 * i + k, "image_id": i, "bbox": xywh(person),
                    "keypoints_img": select(person.pixels, MUCO)[:, :2].tolist(),
                    "keypoints_cam": (1000 * select(person.keypoints, MUCO)[:, :3]).tolist(),
                }
            )  # fmt: skip
            fits[str(10 * i + k)] = smpl_param(person)
    return data, fits, scenes


def make_up3d(root: Path, count: int, seed: int = 6) -> list[Photo]:
    """The folder up-3d: OpenDR's camera turned by rt and moved by t, no trans."""
    rng = np.random.default_rng(seed)
    photos = []
    for i in range(count):
        rig = make_camera(rng)
        height, width = rig.size
        rig = Camera(rig.rotation, rig.shift, (450.0, 450.0), (width / 2, height / 2), rig.size)
        person = make_person(rng, rig)
        body = {
            "pose": person.pose, "betas": person.betas, "trans": person.translation, "t": rig.shift, "f": 450.0,
            "rt": Rotation.from_matrix(rig.rotation).as_rotvec(),
        }  # fmt: skip
        data = write_picture(root / f"{i:05d}_image.png", [person], rig)
        white = np.full((height, width, 3), 255, np.uint8)
        white[person.mask] = 120

        cv2.imwrite(str(root / f"{i:05d}_render_light.png"), white)
        np.save(root / f"{i:05d}_joints.npy", select(person.pixels, J24[:14]).T)
        (root / f"{i:05d}_body.pkl").write_bytes(pickle.dumps(body, protocol=2))
        photos.append(Photo(f"{i:05d}", rig, person, data))
    (root / "trainval.txt").write_text("".join(f"/{i:05d}_image.png\n" for i in range(count)))
    return photos
