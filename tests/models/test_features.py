"""Reading maps between their pixels: where labels put a point, and as the published network does."""

import pytest
import torch

from models.features import bilinear_weights, sample_bilinear, to_pixel
from models.graph_transformer import Window


def ramp(height: int, width: int, image: int = 224) -> torch.Tensor:
    """A map (1, 2, H, W) whose values are x and y in [-1, 1] of the middle of the image area under each pixel."""
    x, y = (((torch.arange(n) + 0.5) * (image / n)) / image * 2 - 1 for n in (width, height))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])[None]


@pytest.mark.parametrize("size", [(56, 56), (14, 14), (7, 10)])
def test_a_map_of_places_is_read_at_its_places(size):
    """Between the outermost pixel centres a linear map gives back exactly where it is read."""
    inner = 1 - 1 / torch.tensor(size[::-1])
    xy = (2 * torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(0)) - 1) * inner
    torch.testing.assert_close(sample_bilinear(ramp(*size), xy, align_corners=False), xy, atol=1e-5, rtol=0)
    weights = bilinear_weights(xy, size, align_corners=False)
    torch.testing.assert_close(weights @ ramp(*size).flatten(2).mT, xy, atol=1e-5, rtol=0)


def test_the_published_convention_is_off_by_up_to_half_a_pixel():
    xy = torch.tensor([[[-1.0, 1.0], [0.0, 0.0], [0.5, -0.5]]])
    places = sample_bilinear(ramp(14, 14), xy, align_corners=True)
    torch.testing.assert_close(places, xy * 13 / 14, atol=1e-6, rtol=0)


@pytest.mark.parametrize("align_corners", [False, True])
def test_both_ways_of_reading_agree(align_corners):
    generator = torch.Generator().manual_seed(1)
    feature_map, xy = torch.randn(2, 5, 9, 6, generator=generator), 3 * torch.rand(2, 50, 2, generator=generator) - 1.5
    weights = bilinear_weights(xy, (9, 6), align_corners)
    sampled = sample_bilinear(feature_map, xy, align_corners)
    torch.testing.assert_close(weights @ feature_map.flatten(2).mT, sampled, atol=1e-5, rtol=1e-5)


def test_edges_count_as_the_outermost_centres_and_beyond_is_zero():
    edges = torch.tensor([-1.0, -0.97, 0.97, 1.0])
    assert to_pixel(edges, 14, align_corners=False).tolist() == [0, 0, 13, 13]
    outside = torch.tensor([[[-1.2, 0.0], [0.0, 1.2]]])
    assert bilinear_weights(outside, (14, 14), align_corners=False).count_nonzero() == 0
    steps = torch.linspace(-1.3, 1.3, 1001)
    change = to_pixel(steps, 14, align_corners=False).diff()
    assert change.min() >= 0 and change.max() < 0.02  # continuous, never backwards


def test_windows_lie_where_the_maps_are_read():
    """The middle of the offsets' weights is the joint itself, in both conventions."""
    joints = torch.tensor([[[0.3, -0.4], [0.0, 0.0]]])
    for align_corners in (False, True):
        window = Window(joints, 14, 2, align_corners)
        pixel = torch.stack((window.index % 14, window.index // 14), -1) - 2 * window.offset
        expected = to_pixel(joints, 14, align_corners)[:, :, None].expand_as(pixel)
        torch.testing.assert_close(pixel, expected, atol=1e-5, rtol=0)
