"""What a metric may be given."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from gankit.data import ImageData, PointData
from gankit.errors import DataError, GankitWarning, outside_gankit

__all__ = ["check_data", "check_floats", "check_range", "finite", "has_range"]

# N(0, 1) noise, as an untrained G without a last activation may give, stays below both; images on a
# scale of 255, or of twice the contrast, do not.
_FARTHEST = 6.0
_OUTSIDE, _SHARE_OUTSIDE = 1.25, 0.25
# A linear last layer leaves [-1, 1] by as much.
_LITTLE = 1.5
_WAY_OUT = "images in [0, 1] are brought there by 2 * x - 1, images in [0, 255] by x / 127.5 - 1"


def check_floats(name: str, values: object) -> Tensor:
    """``values``, detached. Raises DataError unless they are a floating point tensor."""
    if not isinstance(values, Tensor):
        raise DataError(f"{name} must be a tensor, got {type(values).__name__}")
    if not values.is_floating_point():
        raise DataError(f"{name} must be floating point, got {values.dtype}; {_WAY_OUT}")
    return values.detach()


def check_range(name: str, images: Tensor) -> None:
    """Raise DataError if values lie far outside [-1, 1].

    A warning (GankitWarning) says so where they lie somewhat outside, or where none is below 0. NaN
    is passed over.
    """
    values = images.detach()
    values = values[values.isnan().logical_not()].float()
    if values.numel() == 0:
        return
    low, high = float(values.min()), float(values.max())
    farthest = max(-low, high)
    outside = float((values.abs() > _OUTSIDE).double().mean())
    got = f"{name} must lie in [-1, 1], got [{low:.4g}, {high:.4g}]; {_WAY_OUT}"
    if farthest > _FARTHEST or outside > _SHARE_OUTSIDE:
        raise DataError(got)
    if farthest > _LITTLE:
        warnings.warn(got, GankitWarning, stacklevel=outside_gankit())
    elif low >= 0:
        text = f"{name} should lie in [-1, 1], and none of their values is below 0; {_WAY_OUT}"
        warnings.warn(text, GankitWarning, stacklevel=outside_gankit())


def check_data(data: object) -> ImageData:
    """``data``. Raises DataError unless it is an ``ImageData``."""
    if not isinstance(data, ImageData):
        way = "; ImageData.from_tensor makes one of a tensor" if isinstance(data, Tensor) else ""
        raise DataError(f"data must be an ImageData, got {type(data).__name__}{way}")
    return data


def has_range(data: ImageData) -> bool:
    """Whether the values of ``data`` lie in [-1, 1]: those of points need not."""
    return not isinstance(data, PointData)


def finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    return bool(values.isfinite().all())
