"""Whether the network of a checkpoint turns images into such images as the checkpoint says."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from gankit.errors import CheckpointError, GankitError, shortened
from gankit.training.translation import translate
from gankit.training.upscaling import upscale


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


def check_translates(
    network: nn.Module, given: tuple[int, ...], made: tuple[int, ...], path: Path
) -> None:
    """Raise CheckpointError unless ``network`` turns images ``given`` into images ``made``."""
    channels = getattr(network, "in_channels", given[0])
    if channels != given[0]:  # before an image of that many takes memory
        raise CheckpointError(
            f"{path} does not fit its generator, which takes images of {shortened(channels)} "
            f"channels in place of {given[0]}"
        )
    # One pixel is continued to the least that a network of any size takes.
    size = given[1:] if getattr(network, "size_multiple", None) is None else (1, 1)
    try:
        shape = list(translate(network, torch.zeros(1, given[0], *size), seed=0).shape[1:])
    except (GankitError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit its generator: {error}") from error
    if shape != [made[0], *size]:
        raise CheckpointError(
            f"{path} does not fit its generator, which turns images of {given[0]} channels into "
            f"images of shape {shape} in place of {[made[0], *size]}"
        )
