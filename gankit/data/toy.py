"""Points of known distributions, on which a GAN's success or collapse can be counted.

Like images, points lie in [-1, 1]. The papers' sets, which are larger, are scaled to fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gankit.data.image_set import check_labels
from gankit.data.images import ImageData
from gankit.errors import DataError

__all__ = ["TOYS", "Mixture", "PointData", "load_toy"]


@dataclass(frozen=True, eq=False)
class PointData(ImageData):
    """Points as images of one pixel's height: float32 ``[N, 1, 1, d]``, used as they are.

    Args:
        images: the points, float32 ``[N, 1, 1, d]``, N >= 1.
        labels: int64 ``[N]`` on the points' device, the mode that each comes from, -1 where
            it is not known; or None.
        name: what messages call the set.

    Raises:
        DataError: wrong type, shape or device, values that are not finite, or no points.
    """

    def __post_init__(self) -> None:
        points, labels = self.images, self.labels
        if not isinstance(points, Tensor) or points.dtype != torch.float32:
            got = points.dtype if isinstance(points, Tensor) else type(points).__name__
            raise DataError(f"{self.name}: points must be a float32 tensor, got {got}")
        if points.dim() != 4 or points.shape[1:3] != (1, 1) or points.numel() == 0:
            raise DataError(
                f"{self.name}: points must have shape [N, 1, 1, d], got {list(points.shape)}"
            )
        if not bool(points.isfinite().all()):
            raise DataError(f"{self.name}: points must be finite")
        if labels is None:
            return
        if labels.dtype != torch.int64 or labels.shape != points.shape[:1]:
            raise DataError(
                f"{self.name}: labels must be int64 of shape [{len(points)}], got {labels.dtype} "
                f"of {list(labels.shape)}"
            )
        if labels.device != points.device:
            raise DataError(f"{self.name}: labels are on {labels.device}, points elsewhere")
        check_labels(labels, self.name)

    def to(self, device: str | torch.device) -> PointData:
        """The same set on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return PointData(self.images.to(device), labels, self.name)

    def flipped(self, flip: bool = True) -> PointData:
        """Raises DataError: points have no left and right."""
        if flip:
            raise DataError(f"{self.name} are points, which cannot be flipped; expected images")
        return self

    def gather(self, indices: Tensor) -> Tensor:
        """The points at ``indices`` (int64 ``[B]``, any device) as float32 ``[B, 1, 1, d]``."""
        return self.images.index_select(0, indices.to(self.images.device, non_blocking=True))

    def normalized(self) -> Tensor:
        """All points, float32 ``[N, 1, 1, d]``."""
        return self.images

    def resize(self, image_size: int) -> PointData:
        """The set itself: points have no size."""
        return self


@dataclass(frozen=True)
class Mixture:
    """A mixture of normal distributions of equal weight.

    Args:
        centres: the modes, d numbers each.
        std: standard deviation along every axis, one number per axis.
        correlation: between the two axes (d = 2 only), in (-1, 1).
    """

    centres: tuple[tuple[float, ...], ...]
    std: tuple[float, ...]
    correlation: float = 0.0

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``n`` points, float32 ``[n, d]`` on the CPU, and the int64 ``[n]`` number of their mode.

        Each mode gives ``n // modes`` points, the first ones one more where that leaves a rest.
        """
        modes = torch.arange(n) % len(self.centres)
        noise = torch.randn(n, len(self.std), generator=generator, dtype=torch.float32)
        if self.correlation:
            rest = math.sqrt(1 - self.correlation**2)
            noise[:, 1] = self.correlation * noise[:, 0] + rest * noise[:, 1]
        centres, std = (torch.tensor(t, dtype=torch.float32) for t in (self.centres, self.std))
        return centres[modes] + noise * std, modes


def _ring() -> tuple[tuple[float, ...], ...]:
    turns = (2 * math.pi * mode / 8 for mode in range(8))
    return tuple((0.8 * math.cos(turn), 0.8 * math.sin(turn)) for turn in turns)


TOYS: dict[str, Mixture] = {
    # One dimension, as in figure 1 of Goodfellow et al., 2014, arXiv:1406.2661.
    "normal": Mixture(((0.25,),), (0.15,)),
    # Two humps with nothing between: one normal distribution fitted to them has its peak there.
    "bimodal": Mixture(((-0.5,), (0.5,)), (0.08,)),
    # Radius 2 and std 0.02 (Metz et al., 2016, arXiv:1611.02163), times 0.4.
    "ring": Mixture(_ring(), (0.008, 0.008)),
    # Spacing 2 and std 0.05 (Srivastava et al., 2017, arXiv:1705.07761), times 0.2.
    "grid": Mixture(
        tuple((0.4 * i, 0.4 * j) for i in range(-2, 3) for j in range(-2, 3)), (0.01,) * 2
    ),
    # Women's and men's heights and weights, of round numbers and no survey:
    # ((cm - 170) / 50, (kg - 70) / 80).
    "height-weight": Mixture(((-0.14, -0.1), (0.12, 0.1)), (0.13, 0.14), 0.5),
}


def load_toy(name: str, *, n: int = 10_000, split: str = "train") -> PointData:
    """``n`` points of the toy distribution of that name, in random order; always the same ones.

    Args:
        name: ``"normal"``, ``"bimodal"`` (one dimension), ``"ring"``, ``"grid"`` or
            ``"height-weight"`` (two).
        n: number of points, at least 1.
        split: ``"test"`` gives other points of the same distribution, ``"all"`` those of both.

    Raises:
        DataError: unknown name, or n below 1.
    """
    if name not in TOYS:
        raise DataError(f"unknown toy data {name!r}, allowed are {', '.join(TOYS)}")
    if n < 1:
        raise DataError(f"n must be at least 1, got {n}")
    parts = []
    for seed in {"train": (0,), "test": (1,), "all": (0, 1)}[split]:
        generator = torch.Generator().manual_seed(seed)
        points, modes = TOYS[name].draw(n, generator)
        order = torch.randperm(n, generator=generator)
        parts.append((points[order], modes[order]))
    points = torch.cat([part[0] for part in parts])
    modes = torch.cat([part[1] for part in parts])
    return PointData(points.view(len(points), 1, 1, -1), modes, f"toy:{name}")
