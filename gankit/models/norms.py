"""A normalization and its activation, in the places of two modules of a plain network."""

from __future__ import annotations

from typing import Any

from torch import nn

from gankit.models.checks import check_choice
from gankit.nn import BatchNormAct2d, InstanceNormAct2d


def check_norm(norm: str, *more: str) -> None:
    """Raise ConfigError unless ``norm`` is ``"batch"``, ``"instance"`` or one of ``more``."""
    check_choice("norm", norm, "batch", "instance", *more)


def has_bias(norm: str) -> bool:
    """Whether the convolution in front has a bias: batch norm has a shift of its own."""
    return norm != "batch"


def norm_act(
    norm: str, channels: int, activation: str, negative_slope: float = 0.0
) -> list[nn.Module]:
    """Two modules: a norm that runs its activation, and nn.Identity in the activation's place.

    Args:
        norm: ``"batch"``; ``"instance"``, without parameters; or ``"none"``, the activation alone.
        channels: of the input.
        activation: ``"relu"``, ``"leaky_relu"`` or ``"none"``.
        negative_slope: of ``"leaky_relu"``.
    """
    settings: dict[str, Any] = {"activation": activation, "negative_slope": negative_slope}
    if norm == "batch":
        return [BatchNormAct2d(channels, **settings), nn.Identity()]
    if norm == "instance":
        return [InstanceNormAct2d(channels, **settings), nn.Identity()]
    return [nn.Identity(), nn.LeakyReLU(negative_slope, inplace=True)]
