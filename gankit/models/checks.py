"""What the networks ask of their settings and of what they are called with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gankit.errors import ConfigError, DataError
from gankit.nn.recording import records_graph
from gankit.scalars import is_integer, is_number


def check_image_shape(image_shape: Sequence[int]) -> None:
    """Raise ConfigError unless ``image_shape`` is ``(C, H, W)`` of positive numbers."""
    if len(image_shape) != 3 or any(size < 1 for size in image_shape):
        raise ConfigError(
            f"image_shape must be three positive numbers (C, H, W), got {tuple(image_shape)}"
        )


def check_positive(name: str, value: int) -> None:
    """Raise ConfigError unless ``value`` is an integer of at least 1."""
    if not is_integer(value):
        raise ConfigError(f"{name} must be an integer, got {value!r} ({type(value).__name__})")
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, got {value}")


def check_probability(name: str, value: float) -> None:
    """Raise ConfigError unless ``value`` lies in [0, 1]."""
    _check_number(name, value)
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} must lie in [0, 1], got {value}")


def check_slope(negative_slope: float) -> None:
    """Raise ConfigError unless ``negative_slope`` is finite and at least 0."""
    _check_number("negative_slope", negative_slope)
    if not (math.isfinite(negative_slope) and negative_slope >= 0.0):
        raise ConfigError(f"negative_slope must be finite and at least 0, got {negative_slope}")


def _check_number(name: str, value: float) -> None:
    if not is_number(value):
        raise ConfigError(f"{name} must be a number, got {value!r} ({type(value).__name__})")


def check_choice(name: str, value: str, *allowed: str) -> None:
    """Raise ConfigError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ConfigError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")


def check_noise(z: Tensor, z_dim: int) -> None:
    """Raise DataError unless ``z`` is ``[N, z_dim]``."""
    if z.dim() != 2 or z.shape[1] != z_dim:
        raise DataError(f"z must have shape [N, {z_dim}], got {list(z.shape)}")


def check_images(images: Tensor, image_shape: tuple[int, ...], *, flat: bool = False) -> None:
    """Raise DataError unless ``images`` are ``[N, *image_shape]``, with ``flat`` or its pixels."""
    pixels = math.prod(image_shape)
    if images.dim() == 4 and tuple(images.shape[1:]) == image_shape:
        return
    if flat and images.dim() == 2 and images.shape[1] == pixels:
        return
    expected = f"[N, {', '.join(map(str, image_shape))}]" + (f" or [N, {pixels}]" if flat else "")
    raise DataError(f"images must have shape {expected}, got {list(images.shape)}")


def check_any_size(images: Tensor, channels: int, smallest: int, multiple: int = 1) -> None:
    """Raise DataError unless ``images`` are ``[N, channels, H, W]`` of a size that fits.

    H and W are at least ``smallest`` and multiples of ``multiple``. A graph that is being recorded
    may be for any size, so there the size is not looked at.
    """
    if images.dim() == 4 and images.shape[1] == channels:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            recorded = records_graph()
            if recorded:
                return
        height, width = images.shape[2], images.shape[3]
        if min(height, width) >= smallest and height % multiple == 0 and width % multiple == 0:
            return
    multiples = f" and multiples of {multiple}" if multiple > 1 else ""
    raise DataError(
        f"images must have shape [N, {channels}, H, W], H and W at least {smallest}{multiples}, "
        f"got {list(images.shape)}"
    )
