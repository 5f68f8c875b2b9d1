"""The set of images that an attack may return, and the nearest way back into it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gankit.errors import ConfigError, DataError
from gankit.scalars import is_number

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
_DTYPES = (torch.float32, torch.float64)
# L2 norms of a million values in float32 differ by less, depending on the order of the sum.
_MARGIN = 2.0**-20


def project(
    images: Tensor,
    moved: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """``moved`` brought back to within ``eps`` of ``images`` and into ``bounds``.

    The bound holds for the values returned, rounding included: ``(result - images).abs() <= eps``
    is true of each value in the dtype of the images and in float64, and under ``"l2"`` the norm of
    each image's change in float64 is at most ``eps``. Values are rounded toward ``images``.

    Args:
        images: float32 or float64 ``[N, ...]`` within ``bounds``.
        moved: the same shape and dtype.
        eps: the largest change, at least 0.
        norm: ``"linf"``, of each value; ``"l2"``, of the Euclidean norm of each image.
        bounds: least and greatest value of an image.

    Raises:
        ConfigError: an eps, a norm or bounds that are not allowed.
        DataError: images of another dtype or outside ``bounds``, or ``moved`` does not fit.
    """
    check_images(images, bounds)
    check_eps(eps)
    check_norm(norm)
    if moved.shape != images.shape or moved.dtype != images.dtype:
        raise DataError(
            f"moved must be {images.dtype} of shape {list(images.shape)}, got {moved.dtype} of "
            f"{list(moved.shape)}"
        )
    return within(images, moved, eps, norm, bounds)


def within(
    images: Tensor, moved: Tensor, eps: float, norm: Norm, bounds: tuple[float, float]
) -> Tensor:
    """:func:`project` without its checks."""
    if len(images) == 0:
        return moved
    low, high = (
        _inward(bound, images.dtype, toward)
        for bound, toward in zip(bounds, bounds[::-1], strict=True)
    )
    eps = _inward(eps, images.dtype, 0.0)
    start = images.double()
    change = moved.double() - start
    if norm == "linf":
        change = change.clamp(-eps, eps)
    else:
        length = change.flatten(1).norm(dim=1).view(-1, *[1] * (images.dim() - 1))
        change = torch.where(
            length > eps * (1 - _MARGIN), change * (eps * (1 - _MARGIN) / length), change
        )
    nearest = (start + change).to(images.dtype)
    over = (nearest.double() - start).abs() > change.abs()
    result = torch.where(over, torch.nextafter(nearest, images), nearest)
    return result.clamp(low, high)


def _inward(value: float, dtype: torch.dtype, toward: float) -> float:
    """``value`` as a number of ``dtype``, rounded in the direction of ``toward``."""
    rounded = torch.tensor(value, dtype=dtype)
    if (float(rounded) > value) if toward < value else (float(rounded) < value):
        rounded = torch.nextafter(rounded, torch.tensor(toward, dtype=dtype))
    return float(rounded)


def check_images(images: Tensor, bounds: tuple[float, float]) -> None:
    """Raise an error unless ``images`` are float32 or float64 ``[N, ...]`` within ``bounds``."""
    low, high = check_bounds(bounds)
    if not isinstance(images, Tensor) or images.dtype not in _DTYPES or images.dim() < 2:
        got = (
            f"{images.dtype} of {list(images.shape)}"
            if isinstance(images, Tensor)
            else type(images).__name__
        )
        raise DataError(f"images must be float32 or float64 [N, ...], got {got}")
    if images.numel() and not bool(((images >= low) & (images <= high)).all()):
        raise DataError(
            f"images must lie in [{low:g}, {high:g}], got [{float(images.min()):.6g}, "
            f"{float(images.max()):.6g}]; bounds says what is allowed"
        )


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """``bounds`` as floats. Raises ConfigError unless they are two numbers, the lower one first."""
    pair = tuple(bounds) if isinstance(bounds, (tuple, list)) else ()
    if (
        len(pair) != 2
        or not all(map(is_number, pair))
        or not -math.inf < pair[0] < pair[1] < math.inf
    ):
        raise ConfigError(f"bounds is {bounds!r}; allowed are two numbers, the lower one first")
    return float(pair[0]), float(pair[1])


def check_eps(eps: object, name: str = "eps") -> float:
    """``eps`` as a float. Raises ConfigError unless it is a finite number from 0."""
    if not is_number(eps) or not 0 <= eps < math.inf:
        raise ConfigError(f"{name} is {eps!r}; allowed are finite numbers from 0")
    return float(eps)


def check_norm(norm: object) -> None:
    """Raise ConfigError unless ``norm`` is one of ``NORMS``."""
    if norm not in NORMS:
        raise ConfigError(f"norm is {norm!r}; allowed are 'linf' and 'l2'")
