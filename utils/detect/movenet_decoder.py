"""Decode keypoints from MoveNet's output maps.

A cell of a map covers 4 x 4 pixels of the input image. Keypoints are (x, y, score), x and y in pixels of the input
image, (0, 0) at the centre of the first pixel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 4
CELL_MIDDLE = (STRIDE - 1) / 2  # pixels from the first pixel of a cell to the cell's centre
FALLOFF = 1.8  # cells, added by MoveNet to distances from the image centre and from regressed keypoints


def decode_argmax(heatmaps: Tensor) -> Tensor:
    """heatmaps (B, K, h, w) -> keypoints (B, K, 3), each at the maximum of its heatmap, whoever it belongs to.

    The position is refined by the centroid of the 3 x 3 cells around the maximum.
    """
    heatmaps = heatmaps.float()
    w = heatmaps.shape[-1]
    score, peak = heatmaps.flatten(2).max(-1)
    dy, dx = torch.meshgrid(*2 * [torch.arange(-1, 2, device=heatmaps.device)], indexing="ij")
    around = ((peak // w + 1) * (w + 2) + peak % w + 1)[..., None] + (dy * (w + 2) + dx).flatten()
    weight = F.pad(heatmaps, (1, 1, 1, 1)).flatten(2).gather(2, around)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-12)
    x = peak % w + weight @ dx.flatten().float()
    y = peak // w + weight @ dy.flatten().float()
    return torch.stack((STRIDE * x + CELL_MIDDLE, STRIDE * y + CELL_MIDDLE, score), dim=-1)


def decode_single_person(heatmaps: Tensor, centre: Tensor, regression: Tensor, offsets: Tensor) -> Tensor:
    """Maps as in models.movenet.PoseMaps -> keypoints (B, 17, 3) of the most central person, as MoveNet decodes."""
    h, w = centre.shape[-2:]
    middle = torch.stack([torch.full((), n // 2, device=centre.device) for n in (w, h)])
    best = (centre.float() / (_distance(middle, h, w) + FALLOFF)).flatten(1).argmax(1)
    return decode_at(heatmaps, regression, offsets, best[:, None])[:, 0]


def decode_at(heatmaps: Tensor, regression: Tensor, offsets: Tensor, centres: Tensor) -> Tensor:
    """Keypoints (B, P, 17, 3) of the people centred at `centres` (B, P), flat indices of cells.

    The regression at a person's centre predicts each keypoint roughly. The keypoint's cell is the maximum of the
    heatmap divided by the distance from that prediction. The offset at this cell gives the position within it.
    """
    b, k, h, w = heatmaps.shape
    p = centres.shape[1]
    heatmaps, regression, offsets = heatmaps.float(), regression.float().flatten(3), offsets.float().flatten(3)
    centre = torch.stack((centres % w, centres // w), -1)[:, :, None]
    expected = centre + regression.gather(3, centres[:, None, None].expand(b, k, 2, p)).permute(0, 3, 1, 2)
    cell = (heatmaps[:, None] / (_distance(expected, h, w) + FALLOFF)).flatten(3).argmax(-1)  # (B, P, K)
    score = heatmaps.flatten(2).gather(2, cell.transpose(1, 2)).transpose(1, 2)
    offset = offsets.gather(3, cell.transpose(1, 2)[:, :, None].expand(b, k, 2, p)).permute(0, 3, 1, 2)
    xy = STRIDE * (torch.stack((cell % w, cell // w), -1) + offset)
    return torch.cat((xy, score[..., None]), dim=-1)


def to_crop_frame(keypoints: Tensor, size: tuple[int, int]) -> Tensor:
    """keypoints (..., 3) in pixels of an image of size (H, W) -> x and y in the crop frame, like labels."""
    x, y = ((2 * keypoints[..., i] + 1) / n - 1 for i, n in enumerate(size[::-1]))
    return torch.stack((x, y, keypoints[..., 2]), dim=-1)


def _distance(points: Tensor, h: int, w: int) -> Tensor:
    """points (..., 2) in cells -> distance of every cell of the map from each point (..., h, w)."""
    y, x = (torch.arange(n, device=points.device) for n in (h, w))
    dx, dy = (x - points[..., 0, None, None]).float(), (y[:, None] - points[..., 1, None, None]).float()
    return (dx.square() + dy.square()).sqrt()  # ONNX has no torch.hypot
