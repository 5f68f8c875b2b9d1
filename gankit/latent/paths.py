"""Points of the latent space: between samples, along a direction, near the middle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gankit.errors import ConfigError, DataError
from gankit.scalars import is_number
from gankit.training.arguments import one_of, whole
from gankit.training.noise import DISTRIBUTIONS, Distribution, Noise
from gankit.training.seeds import stream

# Where the quantile of a uniform value would be infinite.
_EDGE = 1e-6


def walk(
    start: Tensor,
    end: Tensor,
    steps: int,
    *,
    spherical: bool = False,
    distribution: Distribution = "normal",
) -> Tensor:
    """``steps`` points from ``start`` to ``end``, both included.

    Linear interpolation passes nearer to the origin than samples lie: between two independent
    z ``[d]`` of N(0, 1) the middle is about 0.7 times as long as either. Spherical interpolation
    (slerp; White, 2016, arXiv:1609.04468) goes along the great circle, the length changing linearly
    from one end's to the other's.

    Uniform z fill a cube, which a great circle leaves. There, slerp is done on the standard normal
    quantiles of the coordinates and taken back: every point stays in the cube, and each coordinate
    of a point between two independent samples is distributed as in training.

    Args:
        start: floating point ``[d]``.
        end: the same.
        steps: from 2.
        spherical: slerp in place of linear interpolation.
        distribution: of z.

    Returns:
        ``[steps, d]``.
    """
    steps = whole("steps", steps)
    if steps < 2:
        raise ConfigError(f"steps is {steps}; allowed are integers from 2")
    one_of("distribution", distribution, *DISTRIBUTIONS)
    if start.dim() != 1 or start.shape != end.shape or not start.is_floating_point():
        raise DataError(
            f"start and end must be floating point [d], got {list(start.shape)} and "
            f"{list(end.shape)}"
        )
    share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None]
    if not spherical:
        return torch.lerp(start[None], end[None], share)
    if distribution == "uniform":
        within = 1 - _EDGE
        a, b = (
            torch.special.ndtri((z.double().clamp(-within, within) + 1) / 2) for z in (start, end)
        )
        between = _slerp(a, b, share.double())
        points = (torch.special.ndtr(between) * 2 - 1).to(start.dtype)
        points[0], points[-1] = start, end
        return points
    return _slerp(start, end, share)


def _slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    lengths = start.norm(), end.norm()
    a, b = (z / length.clamp_min(1e-12) for z, length in zip((start, end), lengths, strict=True))
    # By the chord, since the arc cosine is inexact for vectors that are nearly parallel.
    angle = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    if float(angle.sin()) < 1e-4:  # no plane, or every plane, is spanned
        return torch.lerp(start[None], end[None], share)
    direction = (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
    return direction * torch.lerp(*lengths, share)


def bilinear(corners: Tensor, rows: int, columns: int) -> Tensor:
    """``[rows * columns, d]`` between ``corners`` ``[4, d]``: upper left and right, then lower left
    and right."""
    if corners.dim() != 2 or len(corners) != 4:
        raise DataError(f"corners must be [4, d], got {list(corners.shape)}")
    left, right = walk(corners[0], corners[2], rows), walk(corners[1], corners[3], rows)
    return torch.cat([walk(a, b, columns) for a, b in zip(left, right, strict=True)])


def move(z: Tensor, direction: Tensor, amounts: Sequence[float]) -> Tensor:
    """``z + amount * direction``: z ``[N, d]`` and a direction ``[d]`` to ``[N, amounts, d]``."""
    far = torch.tensor(list(amounts), dtype=z.dtype, device=z.device)
    return z[:, None] + far[None, :, None] * direction.to(z)[None, None]


def truncated(
    n: int, z_dim: int, threshold: float, *, distribution: Distribution = "normal", seed: int = 0
) -> Tensor:
    """The truncation trick (Brock et al., 2018, arXiv:1809.11096): better images, less varied.

    float32 ``[n, z_dim]``: values beyond ``threshold`` are drawn again, so that normal z are a
    truncated normal distribution and uniform ones U[-threshold, threshold).
    """
    if not is_number(threshold) or not 0 < threshold < math.inf:
        raise ConfigError(f"threshold is {threshold!r}; allowed are finite numbers above 0")
    one_of("distribution", distribution, *DISTRIBUTIONS)
    random = stream(seed, "z")
    if distribution == "uniform":
        z = Noise((whole("z_dim", z_dim),), "uniform", generator=random)(whole("n", n))
        return z * min(1.0, float(threshold))
    uniform = torch.rand(
        whole("n", n), whole("z_dim", z_dim), generator=random, dtype=torch.float64
    )
    # By the quantile function, as drawing again would take long for a small threshold.
    share = math.erf(threshold / math.sqrt(2))
    z = torch.special.ndtri(0.5 + (uniform - 0.5) * share).float()
    return z.clamp(-threshold, threshold)


def inside(z: Tensor, distribution: Distribution) -> Tensor:
    """``z``, or where uniform values leave their cube, its nearest point."""
    return z.clamp(-1, 1) if distribution == "uniform" else z
