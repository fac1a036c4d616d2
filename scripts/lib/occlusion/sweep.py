"""Errors of networks on people who are partly hidden by patches."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.features import Features
from models.inference.prepare import prepare_for_inference
from models.mesh_recovery import MeshRecovery
from models.predictor import load_network
from scripts.lib.graph_ablation.terms import removed, terms_of
from scripts.lib.occlusion.patches import LIMBS, limb_keypoints, limb_mask, occluder_picture, square_masks
from utils.crop import normalize
from utils.metrics import similarity_align
from utils.skeleton import J14_HIPS, J24_TO_J14

MEASURES = ("PA error", "hip-aligned error")


COVERED = 0.25  # 2D confidence of the keypoints of a limb under a patch, below that of other hidden keypoints
PATCHES_PER_PERSON = 1 + len(LIMBS)  # the first row of a person has none


class OccludedPeople(Dataset):
    """Each person of a set without a patch, then with each limb under a patch: rows p K to p K + K - 1 of person p.

    The keypoints of a covered limb have the 2D confidence COVERED. A limb that is not labelled inside the crop is not
    covered: its row equals the first one.
    """

    def __init__(self, people: Dataset, occluder: str, radius: float = 0.06):
        self.people, self.occluder, self.radius = people, occluder, radius
        self._last: tuple[int, dict] | None = None  # rendering takes longer than covering

    def __len__(self) -> int:
        return PATCHES_PER_PERSON * len(self.people)

    def __getitem__(self, index: int) -> dict:
        person, place = divmod(index, PATCHES_PER_PERSON)
        if self._last is None or self._last[0] != person:
            self._last = person, self.people[person]
        row = dict(self._last[1])
        row["index"] = index
        mask = patches_of(row, 0, self.radius, 0)[place - 1] if place else np.zeros((1, 1), bool)
        if mask.any():
            picture = occluder_picture(self.occluder, len(mask), seed=person)
            row["image"] = covered(row["image"], mask[None], picture)[1]
            row["keypoints_2d"] = row["keypoints_2d"].clone()
            joints = limb_keypoints([*LIMBS][place - 1])
            row["keypoints_2d"][[J24_TO_J14[j] for j in joints], 2] = COVERED
        return row


class Networks:
    """Networks by name, prepared for one device. Those with equal backbones share the features of an image."""

    def __init__(self, checkpoints: Iterable[str | None], without_graph: bool, device: torch.device):
        self.device, self.groups = device, {}
        for checkpoint in checkpoints:
            model = load_network(checkpoint).eval()
            name = "default" if checkpoint is None else Path(checkpoint).stem
            while name in self.names:
                name += "'"
            group = self.groups.setdefault(backbone_key(model), {})
            group[name] = prepare_for_inference(model, device, record=False).network
            if without_graph and "graph" in terms_of(model):
                with removed(model, "graph"):
                    group[f"{name} without graph"] = prepare_for_inference(model, device, record=False).network

    @property
    def names(self) -> list[str]:
        return [name for group in self.groups.values() for name in group]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """images (K, 3, 224, 224), normalised -> J14 keypoints (K, 14, 3) of each network, metres."""
        found = {}
        for group in self.groups.values():
            first = next(iter(group.values()))
            # one by one: the activations of one image fit into the cache of a core
            parts = [first.features(image[None].to(self.device)) for image in images]
            features = concatenate(parts)
            found |= {name: net(features, all_stages=False)["pred_keypoints_3d"].cpu() for name, net in group.items()}
        return found


def backbone_key(model: MeshRecovery) -> tuple:
    """Equal for networks whose backbones compute the same features."""
    digest = hashlib.sha256()
    for name, tensor in model.backbone.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return type(model.backbone), getattr(model.backbone, "align_corners", None), digest.hexdigest()


def concatenate(parts: list[Features]) -> Features:
    """Features of single images -> of a batch. Without `trunk8`: the features are final."""
    maps = tuple(torch.cat(several) for several in zip(*(part.maps for part in parts), strict=True))
    rest = [getattr(parts[0], name) is not None for name in ("points", "keypoints")]
    points, keypoints = (
        torch.cat([getattr(part, name) for part in parts]) if given else None
        for name, given in zip(("points", "keypoints"), rest, strict=True)
    )
    return Features(maps, torch.cat([part.pooled for part in parts]), points, keypoints)


def joint_errors(pred: Tensor, label: Tensor, valid: Tensor) -> dict[str, np.ndarray]:
    """pred (K, 14, 3), label (14, 3) metres, valid (14,) bool -> errors (K, 14) in mm by measure; nan without label."""
    pred, label = pred.double(), label.double().expand_as(pred)
    hips = list(J14_HIPS)
    from_hips = [points - points[:, hips].mean(1, keepdim=True) for points in (pred, label)]
    aligned = similarity_align(pred, label, valid.expand(pred.shape[:2]))
    pairs = {"PA error": (aligned, label), "hip-aligned error": from_hips}
    usable = {"PA error": valid.sum() >= 3, "hip-aligned error": valid[hips].all()}
    return {
        name: torch.where(valid & usable[name], 1000 * (a - b).norm(dim=-1), torch.nan).numpy()
        for name, (a, b) in pairs.items()
    }


def patches_of(row: dict, slide: int, radius: float, side: float) -> np.ndarray:
    """Masks (K, H, W) of a row: one per limb, all False if its keypoints are not labelled inside the crop; or, with
    slide > 0, squares. radius and side are shares of the side of the crop."""
    size = row["image"].shape[-1]
    if slide:
        return square_masks(slide, side * size, size)
    keypoints = row["keypoints_2d"][list(J24_TO_J14)].numpy()
    masks = np.zeros((len(LIMBS), size, size), bool)
    for number, limb in enumerate(LIMBS):
        points = keypoints[limb_keypoints(limb)]
        if (points[:, 2] > 0).all() and (np.abs(points[:, :2]) <= 1).all() and bool(row["has_keypoints_2d"]):
            masks[number] = limb_mask((points[:, :2] + 1) * size / 2 - 0.5, radius * size, size)
    return masks


def covered(image: Tensor, masks: np.ndarray, picture: np.ndarray) -> Tensor:
    """image (3, H, W), normalised; masks (K, H, W); picture (H, W, 3) uint8 -> (1 + K, 3, H, W), the image itself
    first, then the image under each patch."""
    patch = normalize(picture)
    return torch.cat((image[None], torch.where(torch.from_numpy(masks)[:, None], patch, image)))


def sweep(
    networks: Networks, rows: Iterable[dict], occluder: str, slide: int, radius: float, side: float
) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """For each person with 3D labels: network -> measure -> errors (1 + K, 14) in mm, without a patch first. nan for
    limbs that have no patch and for joints without a label."""
    for row in rows:
        label, confidence = row["keypoints_3d"][list(J24_TO_J14)].split((3, 1), dim=-1)
        valid = confidence[:, 0] > 0
        if not (bool(row["has_keypoints_3d"]) and valid.any()):
            continue
        masks = patches_of(row, slide, radius, side)
        hidden = np.concatenate(([True], masks.any((1, 2))))
        picture = occluder_picture(occluder, masks.shape[-1], seed=int(row["index"]))
        images = covered(row["image"], masks[hidden[1:]], picture)
        result = {}
        for name, pred in networks(images).items():
            result[name] = {}
            for measure, errors in joint_errors(pred, label, valid).items():
                result[name][measure] = np.full((len(hidden), errors.shape[1]), np.nan)
                result[name][measure][hidden] = errors
        yield result
