"""Write a small Human3.6M release as JSON, by its public description: millimetres and world frame, fits in metres."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.helpers.releases.scene import Camera, Person, make_camera, make_person, place_person, write_picture
from utils.skeleton import J24

# Human3.6M's 17 by their names in J24, written down apart from the builders
ORDER = (
    "Pelvis", "R_Hip", "R_Knee", "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Spine", "Neck", "Jaw", "Head", "L_Shoulder",
    "L_Elbow", "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist",
)  # fmt: skip
JOINTS = [J24.index(name) for name in ORDER]


@dataclass
class Subject:
    number: int
    people: dict[tuple[int, int], Person]  # (camera, frame) -> person in that camera
    jpegs: dict[tuple[int, int], bytes]
    files: dict[str, dict]  # kind -> content


def make_subject(root: Path, number: int, frames: tuple[int, ...], cameras: tuple[int, ...], seed: int) -> Subject:
    """Write the images; -> Subject whose files `write_subject` writes."""
    rng = np.random.default_rng(seed)
    rigs: dict[int, Camera] = {camera: make_camera(rng, size=(240, 242)) for camera in cameras}
    subject = Subject(number, {}, {}, {"data": {"images": [], "annotations": []}, "camera": {}, "joint_3d": {}})
    subject.files |= {"smpl_param": {}}
    for camera, rig in rigs.items():
        subject.files["camera"][str(camera)] = {
            "R": rig.rotation.tolist(),
            "t": (rig.shift * 1000).tolist(),
            "f": list(rig.focal),
            "c": list(rig.principal),
        }
    joints, fits = {}, {}
    subject.files["joint_3d"] = {"2": {"1": joints}}
    subject.files["smpl_param"] = {"2": {"1": fits}}
    for frame in frames:
        first = make_person(rng, rigs[cameras[0]])
        joints[str(frame)] = (first.world_keypoints[JOINTS] * 1000).tolist()
        fits[str(frame)] = {
            "pose": first.pose.tolist(),
            "shape": first.betas.tolist(),
            "trans": first.translation.tolist(),
            "fitted_3d_pose": (first.world_keypoints[JOINTS] * 1000).tolist(),
        }
        for camera, rig in rigs.items():
            person = place_person(first.pose, first.betas, first.translation, rig)
            folder = f"s_{number:02d}_act_02_subact_01_ca_{camera:02d}"
            name = f"{folder}/{folder}_{frame + 1:06d}.jpg"
            subject.people[camera, frame] = person
            subject.jpegs[camera, frame] = write_picture(root / "images" / name, [person], rig)
            identity = len(subject.files["data"]["images"])
            pixels = person.pixels[JOINTS]
            low, high = pixels.min(0), pixels.max(0)
            box = [*((low + high) / 2 - 0.6 * (high - low)), *(1.2 * (high - low))]
            subject.files["data"]["images"].append(
                {
                    "id": identity, "file_name": name, "height": 240, "width": 242, "subject": number,
                    "action_name": "Directions", "action_idx": 2, "subaction_idx": 1, "cam_idx": camera,
                    "frame_idx": frame,
                }
            )  # fmt: skip
            subject.files["data"]["annotations"].append(
                {"id": identity, "image_id": identity, "keypoints_vis": [True] * 17, "bbox": [float(x) for x in box]}
            )
    return subject


def write_subject(folder: Path, subject: Subject, **changes):
    """Write the JSON files; changes: kind -> other content, None for no file."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in (subject.files | changes).items():
        if content is not None:
            (folder / f"Human36M_subject{subject.number}_{kind}.json").write_text(json.dumps(content))
