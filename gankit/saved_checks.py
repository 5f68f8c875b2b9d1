"""Whether the network of a checkpoint turns images into such images as the checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gankit.errors import CheckpointError, GankitError, shortened
from gankit.training.translation import translate
from gankit.training.upscaling import upscale

_MAX_DOMAINS, _MAX_LETTERS = 1000, 200


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
