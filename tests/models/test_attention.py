"""Attention for training on the CPU against the fused kernel, in value and in gradient."""

import pytest
import torch
import torch.nn.functional as F

from models.attention import AttentionLayer, attend

SIZES = {"the tokens": (26, 26), "a map": (26, 196), "a window": (1, 16)}


def inputs(num_queries: int, num_keys: int, biased: str, dtype=torch.float32) -> list[torch.Tensor | None]:
    """Queries, context, and a bias of each kind in the network: one for all images, one for each, or none."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator).to(dtype).requires_grad_()

    bias = {"none": None, "shared": (1, num_queries, num_keys), "own": (2, num_queries, num_keys)}[biased]
    shapes = (2, num_queries, 8), (2, num_keys, 8), bias
    return [None if shape is None else random(*shape) for shape in shapes]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("biased", ["none", "shared", "own"])
def test_training_path_equals_the_fused_one(size, biased):
    query, context, bias = tensors = inputs(*SIZES[size], biased)
    given = [tensor for tensor in tensors if tensor is not None]
    found = attend(query, context, bias)
    expected = F.scaled_dot_product_attention(query, context, context, attn_mask=bias, scale=1.0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(expected)
    gradients = zip(
        torch.autograd.grad((found * weight).sum(), given),
        torch.autograd.grad((expected * weight).sum(), given),
        strict=True,
    )
    for a, b in gradients:
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(attend(query, context, bias), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("biased", ["none", "own"])
def test_bfloat16_stays_near_float32(biased):
    query, context, bias = low = inputs(26, 196, biased, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(*low)
    expected = attend(*(None if tensor is None else tensor.float() for tensor in low))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)
    # softmax is computed in float32: rows of 196 bfloat16 numbers would not sum to 1
    context = torch.cat((context[..., :-1], torch.ones_like(context[..., :1])), -1)
    with torch.autocast("cpu", torch.bfloat16):
        ones = attend(query, context, bias)[..., -1].float()
    torch.testing.assert_close(ones, torch.ones_like(ones), atol=0.01, rtol=0)


def test_a_layer_gives_the_same_in_training_and_evaluation_under_autocast():
    torch.manual_seed(0)
    layer = AttentionLayer(32, 4).eval()
    tokens, bias = torch.randn(2, 26, 32), torch.randn(1, 4, 26, 26)
    with torch.autocast("cpu", torch.bfloat16):
        trained = layer(tokens, bias=bias)
        with torch.no_grad():
            evaluated = layer(tokens, bias=bias)
    torch.testing.assert_close(trained, evaluated, atol=0.05, rtol=0.02)
    torch.testing.assert_close(evaluated.float(), layer(tokens, bias=bias), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("biased", [False, True])
def test_a_layer_is_multi_head_attention(biased):
    """The textbook form with keys and values for every pixel; the bias of the keys has no effect."""
    torch.manual_seed(0)
    layer = AttentionLayer(32, 4, dropout=0.0)
    torch.nn.init.normal_(layer.to_k.bias)
    query, context = torch.randn(3, 26, 32), torch.randn(3, 49, 32)
    bias = torch.randn(3, 4, 26, 49) if biased else None
    q, k, v = (
        to(x).unflatten(-1, (4, 8)).transpose(1, 2)
        for to, x in ((layer.to_q, layer.norm(query)), (layer.to_k, context), (layer.to_v, context))
    )
    scores = q @ k.mT / 8**0.5 + (bias if biased else 0)
    expected = query + layer.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(query, context, bias), expected + layer.mlp(expected), atol=1e-5, rtol=1e-5)
