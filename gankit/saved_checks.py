"""Whether the network of a checkpoint turns images into such images as the checkpoint says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from gankit.errors import CheckpointError, GankitError, shortened
from gankit.training.translation import translate
from gankit.training.upscaling import upscale

_MAX_DOMAINS, _MAX_LETTERS = 1000, 200
# Of an image; the test image of a loaded run takes as much memory.
_MAX_VALUES = 2**26


def check_upscales(network: nn.Module, channels: int, scale: int, path: Path) -> None:
    """Raise CheckpointError unless ``network`` makes an image of 2x3 pixels ``scale`` times so."""
    wanted = getattr(network, "in_channels", channels)
    if wanted != channels:  # before an image of that many takes memory
        raise CheckpointError(
            f"{path} does not fit its generator, which takes images of {shortened(wanted)} "
            f"channels in place of {channels}"
        )
    try:
        shape = list(upscale(network, torch.zeros(1, channels, 2, 3), scale).shape[1:])
    except (GankitError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    if shape != [channels, 2 * scale, 3 * scale]:
        raise CheckpointError(
            f"{path} does not fit its generator, which makes images of {shape[0]} channels in "
            f"place of {channels}"
        )


def domains_of(description: Mapping[str, Any], path: Path) -> tuple[list[str], bool]:
    """The names of the domains of a StarGAN, and whether they exclude each other.

    Raises CheckpointError if ``description`` says something else of them than gankit writes.
    """
    names, exclusive = description.get("domains"), description.get("exclusive")
    if (
        not isinstance(names, list)
        or not 1 <= len(names) <= _MAX_DOMAINS
        or not all(isinstance(name, str) and len(name) <= _MAX_LETTERS for name in names)
        or not isinstance(exclusive, bool)
    ):
        raise CheckpointError(
            f"{path} is damaged: its domains are {shortened(names)}, exclusive {exclusive!r}"
        )
    return names, exclusive


def check_translates(
    network: nn.Module,
    given: tuple[int, ...],
    made: tuple[int, ...],
    path: Path,
    target: Tensor | None = None,
) -> None:
    """Raise CheckpointError unless ``network`` turns images ``given`` into images ``made``.

    It is told ``target`` ``[1, K]`` where there is one.
    """
    channels = getattr(network, "in_channels", given[0])
    if channels != given[0]:  # before an image of that many takes memory
        raise CheckpointError(
            f"{path} does not fit its generator, which takes images of {shortened(channels)} "
            f"channels in place of {given[0]}"
        )
    # One pixel is continued to the least that a network of any size takes.
    size = given[1:] if getattr(network, "size_multiple", None) is None else (1, 1)
    try:
        images = torch.zeros(1, given[0], *size)
        shape = list(translate(network, images, seed=0, target=target).shape[1:])
    except (GankitError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    if shape != [made[0], *size]:
        raise CheckpointError(
            f"{path} does not fit its generator, which turns images of {given[0]} channels into "
            f"images of shape {shape} in place of {[made[0], *size]}"
        )


def image_shape_of(shape: Any, path: Path) -> list[int]:
    """``shape``, that of images. Raises CheckpointError if it is none."""
    if (
        not isinstance(shape, list)
        or [type(size) for size in shape] != [int] * 3
        or min(shape) < 1
        or math.prod(shape) > _MAX_VALUES
    ):
        raise CheckpointError(
            f"{path} has the image shape {shortened(shape)}; allowed are three integers from 1, of "
            f"{_MAX_VALUES:,} values at most"
        )
    return shape


def shapes_of(
    description: dict[str, Any], names: Iterable[str], path: Path
) -> list[tuple[int, ...]]:
    """The shapes of the images in the fields ``names``."""
    fields = description.get("fields")
    fields = fields if isinstance(fields, dict) else {}
    return [tuple(image_shape_of(fields.get(name), path)) for name in names]


def check_step(step: Any, path: Path) -> None:
    """Raise CheckpointError unless ``step`` is None or a number of steps."""
    if not (step is None or are_integers([step], 0, 2**63)):
        raise CheckpointError(f"{path} is damaged: its step is {shortened(step)}")


def are_integers(values: Any, least: int, end: int) -> TypeGuard[list[int]]:
    """Whether ``values`` are integers from ``least`` and below ``end``."""
    return isinstance(values, (list, tuple)) and all(
        type(value) is int and least <= value < end for value in values
    )
