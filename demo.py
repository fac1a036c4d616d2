"""A body from a photograph: `python demo.py --img_path samples/im01.png`.

From Python: `predictor = demo.load_predictor()`, then `people = predictor("photo.jpg")` for each picture.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch

from datasets.augment import crop_image
from datasets.human_mesh import normalize
from models.build import META_DATA, MOVENET, OPEN_BODY, PRETRAINED, build_model, config_from_args
from models.mesh_recovery import MeshRecovery
from models.movenet import MoveNet, load_movenet
from utils.camera import Crop, WeakPerspective
from utils.checkpoint import find_checkpoint, load_checkpoint, load_model_weights
from utils.distributed import choose_device
from utils.errors import UserError, exit_on_user_error
from utils.image_io import load_image, save_image
from utils.mesh_io import save_obj
from utils.options import Parser, get_args_parser
from utils.panels import draw_overlay, draw_sheet
from utils.person_finder import find_people
from utils.render import BACKENDS

CHECKPOINT = PRETRAINED / "smpl_pose_s.safetensors"
SHEET_HEIGHT = 1200  # pixels; the overlay alone keeps the photograph's resolution
ARCHITECTURE = (
    "model_type", "backbone", "hrnet_type", "num_transformers", "graph", "joint_prior", "graph_entries", "prior_seed"
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One reconstructed person. 3D: metres, camera frame (x right, y down, z away from the viewer), pelvis near 0.
    2D: pixels of the picture, whole numbers at pixel centres."""

    bbox: np.ndarray  # (4,) x, y, width, height: where the person was looked for
    score: float | None  # how sure the finder is, in [0, 1]; None where it was not asked or found nobody
    pose: np.ndarray  # (24, 3) axis-angle, radians, parent-relative; joint 0 turns the whole body
    betas: np.ndarray  # (10,) shape
    cam: np.ndarray  # (3,) s, tx, ty: the crop's weak-perspective camera
    crop: Crop  # the square that the network saw
    camera: WeakPerspective  # `cam` for the whole picture: camera.project(vertices) are pixels
    vertices: np.ndarray  # (V, 3)
    joints: np.ndarray  # (24, 3) kinematic joints, utils.skeleton.SMPL_JOINTS
    joints_2d: np.ndarray  # (24, 2)
    keypoints_3d: np.ndarray  # (14, 3) surface-regressed keypoints, utils.skeleton.J14
    keypoints_2d: np.ndarray  # (14, 2)


class Predictor:
    """Pictures in, people out. `faces` (F, 3) belong to every person's vertices."""

    def __init__(self, model: MeshRecovery, finder: MoveNet | None, device: torch.device):
        self.model, self.finder, self.device = model.to(device).eval(), finder and finder.to(device), device
        self.faces = model.body_model.faces

    def __call__(
        self, image: str | os.PathLike | np.ndarray, bbox: tuple[float, float, float, float] | None = None
    ) -> list[Person]:
        """image: a picture file or RGB array (H, W, 3) uint8. bbox: x, y, width, height of the person in pixels; by
        default the most prominent person is taken, or, where none is found, the whole picture."""
        image = load_image(image)
        if bbox is not None:
            check_bbox(bbox, image)
            return [self._reconstruct(image, bbox, Crop.around(bbox), score=None)]
        found = find_people(image, self.finder, device=self.device) if self.finder else []
        if found:
            return [self._reconstruct(image, person.bbox, Crop.around(person.bbox), person.score) for person in found]
        whole = (0, 0, image.shape[1], image.shape[0])
        return [self._reconstruct(image, whole, Crop.around(whole, margin=1), score=None)]

    @torch.inference_mode()
    def _reconstruct(self, image: np.ndarray, bbox, crop: Crop, score: float | None) -> Person:
        pixels = normalize(crop_image(image, crop.center, crop.scale, antialias=True))
        output = self.model(pixels[None].to(self.device))
        output = {k: v[0].float().cpu() for k, v in output.items() if k.startswith("pred_")}
        if not all(value.isfinite().all() for value in output.values()):
            raise UserError("the network's answer is not finite: the checkpoint is damaged or its training diverged")
        return Person(
            bbox=np.asarray(bbox, np.float64),
            score=score,
            pose=roma.rotmat_to_rotvec(output["pred_rotmat"]).numpy(),
            betas=output["pred_betas"].numpy(),
            cam=output["pred_cam"].numpy(),
            crop=crop,
            camera=crop.camera(output["pred_cam"].numpy()),
            vertices=output["pred_vertices"].numpy(),
            joints=output["pred_joints"].numpy(),
            joints_2d=crop.to_image(output["pred_joints_2d"].numpy()),
            keypoints_3d=output["pred_keypoints_3d"].numpy(),
            keypoints_2d=crop.to_image(output["pred_keypoints_2d"].numpy()),
        )


def load_predictor(
    checkpoint: str | os.PathLike | None = None,
    device: str | None = None,
    smpl_path: str | os.PathLike | None = None,
    keypoint_regressor: str | os.PathLike | None = None,
) -> Predictor:
    """Build the network that a checkpoint describes, by default the one that comes with the repository.

    device: cpu, cuda or cuda:N, by default CUDA where there is one. The rest are files of the body that the checkpoint
    was trained with, where they are not in their usual places (see the README).
    """
    device = choose_device(device or "auto")
    if checkpoint is None and not CHECKPOINT.exists():
        raise UserError(f"no trained network at {CHECKPOINT}: name one with --load_checkpoint, or train one first")
    path = find_checkpoint(checkpoint or CHECKPOINT)
    config = load_checkpoint(path)["config"]
    if smpl_path is None and config.get("body") == Path(OPEN_BODY).stem:
        smpl_path = META_DATA / OPEN_BODY  # also where a licensed body is at hand
    args = get_args_parser().parse_args([])
    vars(args).update({key: config[key] for key in ARCHITECTURE if config.get(key) is not None})
    args.smpl_path, args.keypoint_regressor = smpl_path, keypoint_regressor
    args.backbone_weights = args.mean_params = "none"  # the checkpoint brings its own
    model, _ = build_model(args)
    load_model_weights(model, path, config_from_args(args, model.body_model))
    return Predictor(model, load_movenet(MOVENET) if MOVENET.exists() else None, device)


def check_bbox(bbox: tuple[float, float, float, float], image: np.ndarray):
    """UserError unless the box (x, y, width, height) has an area and meets the picture."""
    x, y, width, height = bbox
    rows, columns = image.shape[:2]
    if not (np.isfinite(bbox).all() and width > 0 and height > 0):
        raise UserError(f"bbox {bbox} is no box: give x,y,width,height in pixels, width and height above 0")
    if x >= columns or y >= rows or x + width <= 0 or y + height <= 0:
        raise UserError(f"bbox {bbox} lies outside the picture of {columns} x {rows} pixels")


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """Read "x,y,width,height"."""
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 4:
        raise ValueError
    return values


parse_bbox.__name__ = "x,y,width,height"  # argparse names it in "invalid ... value"


def get_demo_parser() -> Parser:
    parser = Parser(description="Reconstruct the person in a photograph.", allow_abbrev=False)
    parser.add_argument("--img_path", type=Path, required=True, metavar="FILE", help="the photograph")
    parser.add_argument("--bbox", type=parse_bbox, metavar="x,y,w,h", help="the person, in pixels (default: found)")
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--save_obj", action="store_true", help="write the mesh, too")
    parser.add_argument("--load_checkpoint", metavar="FILE", help="default: the one in pretrained/")
    parser.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda or cuda:N")
    parser.add_argument("--renderer", choices=BACKENDS, default="warp")
    parser.add_argument("--smpl_path", metavar="FILE", help="body that the checkpoint was trained with")
    parser.add_argument("--keypoint_regressor", metavar="FILE", help="that body's J17 regressor, .npy")
    return parser


def check_paths(args) -> dict[str, Path]:
    """Where the results go: sheet, overlay, obj. UserError, before any work, where they cannot."""
    nearest = next(folder for folder in (args.output, *args.output.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"--output {args.output}: {nearest} is no folder that can be written to; choose another one")
    stem = args.output / args.img_path.stem
    paths = {"sheet": stem.with_name(f"{stem.name}.png"), "overlay": stem.with_name(f"{stem.name}_overlay.png")}
    if args.save_obj:
        paths["obj"] = stem.with_name(f"{stem.name}.obj")
    for path in paths.values():
        if path.exists() and args.img_path.exists() and path.samefile(args.img_path):
            raise UserError(f"{path} is the photograph itself and would be overwritten: choose another --output")
    return paths


@exit_on_user_error
def main():
    args = get_demo_parser().parse_args()
    paths = check_paths(args)
    image = load_image(args.img_path)
    if args.bbox:
        check_bbox(args.bbox, image)

    start = time.perf_counter()
    predictor = load_predictor(args.load_checkpoint, args.device, args.smpl_path, args.keypoint_regressor)
    loaded = time.perf_counter()
    body = predictor.model.body_model.name
    print(f"network  loaded on {predictor.device} in {loaded - start:.1f} s; body: {body}")

    person = predictor(image, args.bbox)[0]
    reconstructed = time.perf_counter()
    print(f"person   {describe_search(person, args.bbox)}; reconstructed in {reconstructed - loaded:.1f} s")

    overlay = draw_overlay(image, [person.vertices], predictor.faces, [person.camera], args.renderer)
    sheet = draw_sheet(image, overlay, person.vertices, predictor.faces, SHEET_HEIGHT, args.renderer)
    print(f"picture  drawn by {args.renderer} in {time.perf_counter() - reconstructed:.1f} s")

    args.output.mkdir(parents=True, exist_ok=True)
    save_image(paths["sheet"], sheet)
    save_image(paths["overlay"], overlay)
    print(f"wrote    {paths['sheet']} (input | overlay | side view)\n         {paths['overlay']}")
    if args.save_obj:
        save_obj(paths["obj"], person.vertices, predictor.faces)
        print(f"         {paths['obj']} (metres, y up)")


def describe_search(person: Person, bbox: tuple | None) -> str:
    x, y, width, height = person.bbox.round().astype(int)
    box = f"at x {x}, y {y}, {width} x {height} pixels"
    if bbox:
        return f"given {box}"
    if person.score is None:
        return "not found: the whole picture is taken for one (--bbox x,y,w,h names a part of it)"
    return f"found {box}, sure to {person.score:.0%}"


if __name__ == "__main__":
    main()
