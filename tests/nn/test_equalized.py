"""Equalized layers, pixel norm and the minibatch standard deviation against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gankit.errors import ConfigError
from gankit.nn import EqualizedConv2d, EqualizedLinear, MinibatchStdDev, PixelNorm

F64 = torch.float64


def test_equalized_layers_are_plain_ones_with_a_scaled_weight() -> None:
    torch.manual_seed(0)
    linear, conv = EqualizedLinear(6, 4).double(), EqualizedConv2d(3, 5, 3, padding=1).double()
    x, images = torch.randn(2, 6, dtype=F64), torch.randn(2, 3, 8, 8, dtype=F64)
    with torch.no_grad():
        linear.bias.normal_()  # type: ignore[union-attr]
        conv.bias.normal_()  # type: ignore[union-attr]
    expected = F.linear(x, linear.weight * math.sqrt(2 / 6), linear.bias)
    torch.testing.assert_close(linear(x), expected, rtol=1e-12, atol=1e-12)
    expected = F.conv2d(images, conv.weight * math.sqrt(2 / 27), conv.bias, padding=1)
    torch.testing.assert_close(conv(images), expected, rtol=1e-12, atol=1e-12)
    assert EqualizedConv2d(3, 5, 1, bias=False, gain=1.0).bias is None


def test_parameters_are_of_one_size_whatever_the_fan_in() -> None:
    torch.manual_seed(0)
    for layer in (EqualizedLinear(3, 4000), EqualizedLinear(4000, 3), EqualizedConv2d(64, 64, 3)):
        assert float(layer.weight.detach().std()) == pytest.approx(1.0, abs=0.05)
        assert layer.bias is not None
        assert float(layer.bias.detach().abs().max()) == 0
    # So Adam changes what each layer computes at one relative speed, and outputs keep their size.
    made = EqualizedLinear(4000, 2000, gain=1.0)(torch.randn(8, 4000))
    assert float(made.detach().std()) == pytest.approx(1.0, abs=0.05)


def test_pixel_norm_brings_each_pixel_to_a_root_mean_square_of_one() -> None:
    x = torch.randn(2, 7, 3, 5, dtype=F64) * 9
    made = PixelNorm()(x)
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    torch.testing.assert_close(made, x * math.sqrt(7) / length, rtol=1e-8, atol=0)
    assert float(PixelNorm()(torch.zeros(1, 3)).abs().max()) == 0  # and not NaN
    assert torch.autograd.gradcheck(PixelNorm(), x[:1].requires_grad_())


def test_the_deviation_of_a_batch_is_one_number() -> None:
    x = torch.randn(6, 3, 4, 4, dtype=F64)
    layer = MinibatchStdDev()
    made = layer(x)
    assert made.shape == (6, 4, 4, 4)
    assert torch.equal(made[:, :3], x)
    number = x.std(0, correction=0).mean()
    torch.testing.assert_close(made[:, 3], number.expand(6, 4, 4), rtol=1e-6, atol=0)
    assert torch.autograd.gradcheck(layer, x[:3].requires_grad_())
    assert torch.autograd.gradgradcheck(layer, x[:3, :1, :2, :2].detach().requires_grad_())


def test_a_batch_of_equal_images_is_told_from_one_of_different_ones() -> None:
    same = torch.randn(1, 2, 4, 4).expand(5, -1, -1, -1)
    number = MinibatchStdDev()(same)[0, -1, 0, 0]
    assert float(number) == pytest.approx(1e-4, rel=1e-3)
    assert bool(MinibatchStdDev()(same[:1]).isfinite().all())


def test_two_batches_in_one_pass_keep_their_own_numbers() -> None:
    layer = MinibatchStdDev()
    a, b = torch.randn(3, 2, 4, 4), 5 * torch.randn(3, 2, 4, 4)
    apart = torch.cat([layer(a), layer(b)])
    layer.groups = 2
    torch.testing.assert_close(layer(torch.cat([a, b])), apart, rtol=1e-6, atol=1e-6)


def test_what_is_not_allowed_is_named() -> None:
    with pytest.raises(ConfigError, match="in_features is 0; allowed are integers from 1"):
        EqualizedLinear(0, 4)
    with pytest.raises(ConfigError, match=r"kernel_size is 2\.5; allowed are integers from 1"):
        EqualizedConv2d(3, 4, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="padding is -1; allowed are integers from 0"):
        EqualizedConv2d(3, 4, 3, padding=-1)
    with pytest.raises(ConfigError, match="gain is nan; allowed are finite numbers above 0"):
        EqualizedLinear(3, 4, gain=math.nan)
