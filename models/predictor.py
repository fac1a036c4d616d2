"""The Python API: `predictor = load_predictor()`, then `people = predictor("photo.jpg")` for each picture."""

import copy
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from models.build import build_network
from models.inference.cut_bodies import CutBodies
from models.inference.keypoint_fit import KeypointFit
from models.inference.prepare import fast_movenet, prepare_for_inference, refine
from models.inference.refinement import without_features
from models.mesh_recovery import MeshRecovery
from models.movenet import MoveNet, load_movenet
from utils.camera import Crop, Focal, default_focal, pinhole, place, read_focal
from utils.checkpoint import check_blocks, find_checkpoint, load_checkpoint, load_model_weights
from utils.crop import crop_image, normalize
from utils.detect.person_finder import find_people
from utils.detect.visibility import (
    PART_NAMES,
    guessed_parts,
    is_certain,
    keypoints_of_body,
    to_pixels,
    visible_keypoints,
)
from utils.errors import UserError
from utils.media.images import load_image
from utils.network_config import complete_config
from utils.paths import DEFAULT_CHECKPOINT, MOVENET, OPEN_BODY
from utils.person import Box, Detection, Person, check_bbox
from utils.process import choose_device, choose_precision
from utils.render.colors import part_colors

BATCH_SIZE = 8  # people in one batch of the network


class Predictor:
    """Images -> people. The mesh of every person has `faces` (F, 3), skin `weights` (V, 24), `colors` (V, 3) uint8."""

    def __init__(
        self,
        model: MeshRecovery,
        finder: MoveNet | None,
        device: torch.device,
        precision: str = "fp32",
        compile: bool = False,
        flip_test: bool = False,
        fit_keypoints: bool = False,
        quarter_turns: bool = False,
        tight_crop: bool = False,
    ):
        self.device, self.precision = device, precision
        self.network = prepare_for_inference(model, device, precision, compile)
        self.model = self.network.network
        chosen = {"fit_keypoints": fit_keypoints, "flip_test": flip_test, "quarter_turns": quarter_turns}
        self._refine(**chosen, tight_crop=tight_crop, rest_halves=True)
        self.finder = finder and fast_movenet(finder, device, compile)
        self.body = self.model.body_model
        self.faces = self.body.faces

    def refined_by(self, **changes: bool) -> "Predictor":
        """The same networks with other refinements: flip_test, fit_keypoints, quarter_turns, tight_crop, rest_halves.

        rest_halves: with fit_keypoints, the half of a body that the picture's edge cuts off gets a rest pose.
        """
        other = copy.copy(self)
        other._refine(**self.refinements | changes)
        return other

    def _refine(self, rest_halves: bool, **chosen: bool):
        self.refinements = {"rest_halves": rest_halves, **chosen}
        self.predict = refine(self.network, **chosen)
        rest_halves = rest_halves and chosen["fit_keypoints"] and self.network.detects_keypoints
        self.cut_bodies = CutBodies(KeypointFit(self.network)) if rest_halves else None

    @cached_property
    def weights(self) -> np.ndarray:
        """Skinning weights (V, 24) float64: the share of each joint in each vertex."""
        return self.body.weights.cpu().double().numpy()

    @cached_property
    def colors(self) -> np.ndarray:
        """A colour (V, 3) uint8 sRGB for each vertex, by body part."""
        return part_colors(self.weights)

    def __call__(
        self,
        image: str | os.PathLike | np.ndarray,
        bbox: Box | None = None,
        max_people: int = 1,
        focal: float | None = None,
    ) -> list[Person]:
        """The people in one image.

        image: a file or an RGB array (H, W, 3) uint8. bbox: x, y, width, height of the person in pixels; by default the
        `max_people` most prominent detections, or the whole image if nobody is detected. focal: focal length in
        pixels; by default that of the file's EXIF data, else twice the image diagonal.
        """
        path = None if isinstance(image, np.ndarray) else image
        image = load_image(image)
        detections = self.find(image, [bbox] if bbox is not None else (), max_people)
        return self.reconstruct([image], [detections], [self.focal(image, path, focal)])[0]

    def focal(self, image: np.ndarray, path: str | os.PathLike | None = None, given: float | None = None) -> Focal:
        """Focal length in pixels of an image (H, W, 3): given, else from EXIF data, else twice the image diagonal."""
        if given is not None:
            return Focal(float(given), "given")
        return default_focal(*image.shape[:2]) if path is None else read_focal(path, *image.shape[:2])

    def find(self, image: np.ndarray, boxes: list[Box] = (), max_people: int = 1) -> list[Detection]:
        """The people in an image (H, W, 3) uint8 RGB: in `boxes`, each x, y, width, height in pixels.

        Without boxes, those that are detected; without detections, the whole image as one person.
        """
        for box in boxes:
            check_bbox(box, *image.shape[:2])
        if boxes:
            return [self.detection(box) for box in boxes]
        found = find_people(image, self.finder, max_people, self.device) if self.finder else []
        if found:
            return [self.detection(person.bbox, person.score) for person in found]
        whole = (0, 0, image.shape[1], image.shape[0])
        return [Detection(whole, Crop.around(whole, margin=1), None)]

    def detection(self, bbox: Box, score: float | None = None) -> Detection:
        """A person in a box x, y, width, height in pixels, with the crop for the network."""
        return Detection(bbox, Crop.around(bbox), score)

    @torch.inference_mode()
    def reconstruct(
        self, images: list[np.ndarray], detections: list[list[Detection]], focals: list[Focal] | None = None
    ) -> list[list[Person]]:
        """The people of several images, in common batches.

        images: (H, W, 3) uint8 RGB each. detections: of each image, as `find` gives them. focals: of each image, as
        `focal` gives them.
        """
        focals = focals or [self.focal(image) for image in images]
        where = [(i, detection) for i, several in enumerate(detections) for detection in several]
        people = [[] for _ in images]
        for start in range(0, len(where), BATCH_SIZE):
            batch = where[start : start + BATCH_SIZE]
            crops = [crop_image(images[i], d.crop.center, d.crop.scale, antialias=True) for i, d in batch]
            output = without_features(self.predict(torch.stack([normalize(crop) for crop in crops])))
            output = {name: value.float().cpu() for name, value in output.items()}
            if not all(value.isfinite().all() for value in output.values()):
                raise UserError(
                    "the output of the network is not finite: the checkpoint is damaged or its training diverged; "
                    "use another one"
                )
            output["height"] = self.body.standing_height(output["pred_betas"].to(self.device)).cpu()
            halves = [None] * len(batch)
            if self.cut_bodies:
                sizes = [images[i].shape[:2] for i, _ in batch]
                output, halves = self.cut_bodies(output, [d.crop for _, d in batch], sizes)
            for row, (i, detection) in enumerate(batch):
                own = {key: value[row].numpy() for key, value in output.items()}
                people[i].append(self._person(own, detection, images[i], focals[i], halves[row]))
        return people

    def _person(
        self, values: dict[str, np.ndarray], detection: Detection, image: np.ndarray, focal: Focal, at_rest: str | None
    ) -> Person:
        crop, camera = detection.crop, detection.crop.camera(values["pred_cam"])
        perspective = pinhole(focal.pixels, *image.shape[:2])
        return Person(
            bbox=np.asarray(detection.bbox, np.float64),
            score=detection.score,
            pose=Rotation.from_matrix(values["pred_rotmat"]).as_rotvec().astype(np.float32),
            betas=values["pred_betas"],
            cam=values["pred_cam"],
            crop=crop,
            camera=camera,
            vertices=values["pred_vertices"],
            joints=values["pred_joints"],
            joints_2d=crop.to_image(values["pred_joints_2d"]),
            keypoints_3d=values["pred_keypoints_3d"],
            keypoints_2d=crop.to_image(values["pred_keypoints_2d"]),
            focal=focal,
            perspective=perspective,
            placement=place(values["pred_vertices"], camera, perspective),
            height=float(values["height"]),
            guessed=self._guessed(values, detection, image, at_rest),
            at_rest=at_rest,
        )

    @staticmethod
    def _guessed(
        values: dict[str, np.ndarray], detection: Detection, image: np.ndarray, at_rest: str | None
    ) -> tuple[str, ...]:
        """The parts that the image does not show. Without detected keypoints: those that end outside the image."""
        keypoints = values.get("detected_keypoints", keypoints_of_body(values["pred_joints_2d"]))
        # a half has fewer keypoints than the scores are means of
        if at_rest is None and not is_certain(keypoints, detection.score):
            return PART_NAMES
        keypoints, side = to_pixels(keypoints, detection.crop), 200 * detection.crop.scale
        return guessed_parts(visible_keypoints(keypoints, *image.shape[:2], side))

    @torch.inference_mode()
    def pose_body(self, rotmat: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """rotmat (24, 3, 3), betas (10,) -> vertices (V, 3), joints (24, 3), metres, without translation."""
        rotmat, betas = (torch.from_numpy(np.asarray(a, np.float32))[None].to(self.device) for a in (rotmat, betas))
        return tuple(part[0].cpu().numpy() for part in self.body(rotmat, betas))


def load_predictor(
    checkpoint: str | os.PathLike | None = None,
    device: str | None = None,
    smpl_path: str | os.PathLike | None = None,
    keypoint_regressor: str | os.PathLike | None = None,
    precision: str = "auto",
    compile: bool = False,
    flip_test: bool = True,
    fit_keypoints: bool = True,
    quarter_turns: bool = True,
    tight_crop: bool = True,
) -> Predictor:
    """A predictor with the network of a checkpoint, by default of the one in this repository.

    device: cpu, cuda or cuda:N; by default CUDA if available. smpl_path, keypoint_regressor: files of the body that the
    checkpoint was trained with, if they are not in their usual places. precision: fp32, bf16, fp16, or auto for the
    fastest of the device. compile: use torch.compile, which pays for many images. flip_test: average the estimates on
    each person and on the mirror image, which is slightly better and takes twice the time. fit_keypoints: fit limbs to
    the detected 2D keypoints, if the backbone detects any. quarter_turns: estimate people who
    lie or are upside down again in the turned crop. tight_crop: give the network the middle of the crop, enlarged by a
    factor of 1.09. UserError if a file is missing, damaged or does not fit.
    """
    device = choose_device(device or "auto")
    precision = choose_precision(precision, device)
    model = load_network(checkpoint, smpl_path, keypoint_regressor)
    finder = load_movenet(MOVENET) if MOVENET.exists() else None
    refinements = {"flip_test": flip_test, "fit_keypoints": fit_keypoints, "quarter_turns": quarter_turns}
    return Predictor(model, finder, device, precision, compile, **refinements, tight_crop=tight_crop)


def load_network(
    checkpoint: str | os.PathLike | None = None,
    smpl_path: str | os.PathLike | None = None,
    keypoint_regressor: str | os.PathLike | None = None,
) -> MeshRecovery:
    """The network that a checkpoint describes, with its weights, on the CPU; see `load_predictor`."""
    if checkpoint is None and not DEFAULT_CHECKPOINT.exists():
        raise UserError(
            f"no trained network at {DEFAULT_CHECKPOINT}: name one with --load_checkpoint, or train one first"
        )
    path = find_checkpoint(checkpoint or DEFAULT_CHECKPOINT)
    content = load_checkpoint(path)
    check_blocks(content, path)
    config = complete_config(content["config"], path)
    if smpl_path is None and config.body == Path(OPEN_BODY).stem:
        smpl_path = OPEN_BODY  # even if a licensed body is installed
    files = {"smpl_path": smpl_path, "keypoint_regressor": keypoint_regressor}
    # the checkpoint has its own weights and mean parameters
    model = build_network(config, **files, mean_params="none", backbone_weights="none")
    body = {"body": model.body_model.name, "num_vertices": model.body_model.num_vertices}
    load_model_weights(model, path, config | body)
    return model.eval()
