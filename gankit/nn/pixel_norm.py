"""Pixel norm (Karras et al., 2017, arXiv:1710.10196, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn

from gankit.nn.traits import declares

_EPS = 1e-8


@declares(per_sample=True, any_layout=True)
class PixelNorm(nn.Module):
    """Scale the feature vector of each pixel to a root mean square of 1: ``x / sqrt(mean x^2)``.

    The mean is over dimension 1, with 1e-8 added to it. Of noise ``[N, z_dim]`` it makes points of
    a sphere. It has no parameters.

    Shape:
        ``[N, C, ...]``, floating point; the output has the same shape and dtype.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with each feature vector at length ``sqrt(C)``."""
        return x * (x.square().mean(1, keepdim=True) + _EPS).rsqrt()
