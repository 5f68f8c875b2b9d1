"""Layers with an equalized learning rate (Karras et al., 2017, arXiv:1710.10196, section 4.1).

The weights begin as N(0, 1) and are scaled at every forward by the constant of He et al. (2015,
arXiv:1502.01852), gain / sqrt(fan_in). Adam's updates do not depend on the size of a gradient, so
with parameters of one size all layers learn at one speed, however many inputs they have.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.errors import ConfigError
from gankit.nn.traits import declares
from gankit.scalars import is_integer, is_number

__all__ = ["EqualizedConv2d", "EqualizedLinear"]


class _Equalized(nn.Module):
    """The weight, the constant that scales it, and the bias."""

    bias: Tensor | None

    def __init__(self, shape: tuple[int, ...], gain: float, *, bias: bool) -> None:
        super().__init__()
        if not is_number(gain) or not 0.0 < gain < math.inf:
            raise ConfigError(f"gain is {gain!r}; allowed are finite numbers above 0")
        self.weight = nn.Parameter(torch.randn(shape))
        self.register_parameter("bias", nn.Parameter(torch.zeros(shape[0])) if bias else None)
        self.scale = float(gain) / math.sqrt(math.prod(shape[1:]))

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}, scale={self.scale:.4g}, bias={self.bias is not None}"


@declares(per_sample=True, any_layout=True)
class EqualizedLinear(_Equalized):
    """``F.linear`` with a weight from N(0, 1) that is scaled by ``gain / sqrt(in_features)``.

    Args:
        in_features, out_features: sizes of the input and of the output, from 1.
        bias: add a bias, which begins at 0.
        gain: finite, above 0; sqrt(2) before a rectifier, 1 before nothing.

    Shape:
        ``[..., in_features]`` to ``[..., out_features]``, floating point.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        gain: float = math.sqrt(2),
    ) -> None:
        _check_sizes(in_features=in_features, out_features=out_features)
        super().__init__((out_features, in_features), gain, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` times the scaled weight, plus the bias."""
        return F.linear(x, self.weight * self.scale, self.bias)


@declares(per_sample=True, any_layout=True)
class EqualizedConv2d(_Equalized):
    """``F.conv2d`` with a weight from N(0, 1) that is scaled by ``gain / sqrt(fan_in)``.

    Args:
        in_channels, out_channels: feature maps of the input and of the output, from 1.
        kernel_size: height and width of the kernel, from 1.
        padding: zeros around the input, from 0.
        bias: add a bias, which begins at 0.
        gain: finite, above 0; sqrt(2) before a rectifier, 1 before nothing.

    Shape:
        ``[N, in_channels, H, W]`` to ``[N, out_channels, H', W']``, floating point, of any layout.

    Raises:
        ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int = 0,
        bias: bool = True,
        gain: float = math.sqrt(2),
    ) -> None:
        _check_sizes(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
        if not is_integer(padding) or padding < 0:
            raise ConfigError(f"padding is {padding!r}; allowed are integers from 0")
        super().__init__((out_channels, in_channels, kernel_size, kernel_size), gain, bias=bias)
        self.padding = int(padding)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` convolved with the scaled weight, plus the bias."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not is_integer(size) or size < 1:
            raise ConfigError(f"{name} is {size!r}; allowed are integers from 1")
