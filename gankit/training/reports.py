"""How a step wants to be shown: curves of its metrics and panels of a sample grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Curves(NamedTuple):
    """One plot of a run's curves: its axis, the metrics on it with their labels, and the range."""

    label: str
    columns: Mapping[str, str]
    limits: tuple[float, float] | None = None


class Panel(NamedTuple):
    """Images ``[N, C, H, W]`` in [-1, 1] of a sample grid, on the CPU, and what stands above."""

    caption: str
    images: Tensor
