"""Spectral norm: the largest singular value, gradients, and when its vectors move."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gankit import plain_copy
from gankit.nn import (
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
    power_iteration,
    spectral_layers,
)
from gankit.nn.spectral_norm import _SpectralNorm

MADE = {
    "conv": (lambda: SpectralConv2d(3, 5, 3, 2, 1), lambda: torch.randn(2, 3, 6, 6)),
    "linear": (lambda: SpectralLinear(4, 6, bias=False), lambda: torch.randn(2, 4)),
    "embedding": (lambda: SpectralEmbedding(5, 3), lambda: torch.tensor([0, 4, 4])),
}


def largest(layer: _SpectralNorm) -> float:
    return float(torch.linalg.svdvals(layer.normalized().detach().flatten(1))[0])


@pytest.mark.parametrize("kind", MADE)
def test_output_and_gradient_are_those_of_torchs_parametrization(kind: str) -> None:
    torch.manual_seed(0)
    layer = MADE[kind][0]().double()
    x = MADE[kind][1]()
    x = x.double() if x.is_floating_point() else x
    twin = copy.deepcopy(layer)
    plain = twin.to_torch()
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
    theirs = spectral_norm(plain).eval()
    theirs.parametrizations.weight[0]._u.copy_(layer.u)
    theirs.parametrizations.weight[0]._v.copy_(layer.v)
    outputs = [module(x) for module in (layer, theirs)]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(
        layer.weight.grad, theirs.parametrizations.weight.original.grad, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("kind", MADE)
def test_the_vectors_find_the_singular_value_and_no_forward_moves_them(kind: str) -> None:
    torch.manual_seed(1)
    layer, x = MADE[kind][0](), MADE[kind][1]()
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight) * 3)
    before = [layer.u.clone(), layer.v.clone()]
    for mode in (True, False):
        layer.train(mode)
        layer(x)
    assert torch.equal(layer.u, before[0])
    assert torch.equal(layer.v, before[1])
    power_iteration([layer], 200)
    assert largest(layer) == pytest.approx(1.0, rel=1e-3)
    assert not torch.equal(layer.u, before[0])


def test_autocast_does_not_round_sigma() -> None:
    torch.manual_seed(2)
    layer = SpectralConv2d(8, 8, 3)
    expected = layer.normalized()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.normalized(), expected)
        assert layer(torch.randn(1, 8, 4, 4)).dtype == torch.bfloat16


def test_each_layer_is_found_once() -> None:
    shared = SpectralLinear(2, 2)
    both = nn.Sequential(shared, nn.Sequential(shared, nn.Linear(2, 2)), SpectralLinear(2, 2))
    assert spectral_layers(both, shared) == [shared, both[2]]


def test_a_plain_copy_has_torchs_layers() -> None:
    torch.manual_seed(3)
    network = nn.Sequential(SpectralConv2d(1, 2, 3), nn.Flatten(), SpectralLinear(8, 2))
    plain = plain_copy(network)
    assert [type(layer) for layer in plain] == [nn.Conv2d, nn.Flatten, nn.Linear]
    assert set(plain.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(plain(x), network(x))


def test_the_second_derivative_is_there() -> None:
    torch.manual_seed(4)
    layer = SpectralConv2d(2, 2, 3, padding=1).double()
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def forward(image: Tensor, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        sigma = layer.u @ rows @ layer.v
        return F.conv2d(image, weight / sigma, layer.bias, padding=1)

    torch.testing.assert_close(layer(x), forward(x, layer.weight))
    (slope,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    slope.square().sum().backward()
    found = layer.weight.grad.clone()
    layer.weight.grad = None
    (slope,) = torch.autograd.grad(forward(x, layer.weight).pow(3).sum(), x, create_graph=True)
    slope.square().sum().backward()
    torch.testing.assert_close(found, layer.weight.grad)
