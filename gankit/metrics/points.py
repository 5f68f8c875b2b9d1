"""How well generated points follow a known distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gankit.errors import DataError
from gankit.metrics.checks import check_floats, finite

__all__ = ["ModeCount", "count_modes", "ks_distance"]


@dataclass(frozen=True)
class ModeCount:
    """What :func:`count_modes` found.

    Args:
        counts: per mode, how many points lie near it.
        total: number of points.
        found: number of modes that have their share.
    """

    counts: tuple[int, ...]
    total: int
    found: int

    @property
    def near(self) -> float:
        """Share of the points that lie near some mode."""
        return sum(self.counts) / self.total


def count_modes(
    points: Tensor, centres: Tensor, radius: float, *, min_share: float = 0.1
) -> ModeCount:
    """Count the modes that ``points`` cover.

    A point counts for its nearest centre if it lies within ``radius``: three standard deviations
    are usual (Srivastava et al., 2017, arXiv:1705.07761). A mode is found if it has at least
    ``min_share`` of ``total / modes`` points, and at least one.

    Args:
        points: floating point ``[N, ...]`` of d values each, N >= 1.
        centres: ``[modes, d]``.
        radius: above 0.
        min_share: of a mode's fair share, in [0, 1].

    Raises:
        DataError: another type, shapes that do not fit, NaN or infinite values, a radius or a share
            that is not allowed.
    """
    points, centres = check_floats("points", points), check_floats("centres", centres)
    flat = points.flatten(1) if points.ndim > 1 else points.reshape(-1, 1)
    if centres.ndim != 2 or len(flat) == 0 or flat.shape[1] != centres.shape[1]:
        raise DataError(
            f"points {list(points.shape)} and centres {list(centres.shape)} do not fit: allowed "
            "are [N, d] and [modes, d]"
        )
    for name, values in (("points", points), ("centres", centres)):
        if not finite(values):
            raise DataError(f"{name} hold NaN or infinite values, none may be")
    if not radius > 0 or not 0 <= min_share <= 1:
        raise DataError(
            f"radius must be above 0 and min_share in [0, 1], got {radius} and {min_share}"
        )
    distance, nearest = torch.cdist(flat.double(), centres.to(flat.device).double()).min(dim=1)
    modes = len(centres)
    counts = torch.bincount(nearest[distance <= radius], minlength=modes).tolist()
    least = max(1.0, min_share * len(flat) / modes)
    return ModeCount(tuple(counts), len(flat), sum(count >= least for count in counts))


def ks_distance(points: Tensor, cdf: Callable[[Tensor], Tensor]) -> float:
    """Kolmogorov and Smirnov's distance: the largest gap between two distribution functions.

    Args:
        points: floating point, any shape: the sample, N >= 1 values.
        cdf: the distribution function compared with, from float64 ``[N]`` to ``[N]``.

    Returns:
        A number in [0, 1]; NaN if a point is NaN.

    Raises:
        DataError: no points, another type, or a ``cdf`` that gives another shape.
    """
    points = check_floats("points", points)
    if points.numel() == 0:
        raise DataError("the distance needs at least one point, got none")
    values = points.flatten().double().sort().values
    n = len(values)
    expected = cdf(values)
    if not isinstance(expected, Tensor) or expected.shape != values.shape:
        got = list(expected.shape) if isinstance(expected, Tensor) else type(expected).__name__
        raise DataError(f"cdf must give {list(values.shape)} for {list(values.shape)}, got {got}")
    steps = torch.arange(n + 1, dtype=torch.float64, device=values.device) / n
    return float(torch.maximum(steps[1:] - expected, expected - steps[:-1]).max())
