"""What the scripts of this folder share: their command line, and images to train on."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn


def parse(dropout: float = 0.0) -> argparse.Namespace:
    """The command line; sets the seed and the default dtype."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=32, help="channels of the first layer")
    parser.add_argument("--dropout", type=float, default=dropout)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--double", action="store_true", help="compute in float64")
    parser.add_argument("--save", default="", help="file for the networks' weights")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_default_dtype(torch.float64 if options.double else torch.float32)
    return options


def images(count: int, channels: int = 1, size: int = 32) -> tuple[Tensor, Tensor]:
    """Discs of ten sizes on a dark ground: ``[count, channels, size, size]`` and their classes."""
    labels = torch.randint(10, (count,))
    axis = torch.linspace(-1, 1, size)
    centre = torch.rand(count, 2, 1, 1) * 0.6 - 0.3
    distance = (axis[:, None] - centre[:, 0]) ** 2 + (axis[None, :] - centre[:, 1]) ** 2
    radius = 0.2 + 0.06 * labels.to(axis.dtype)[:, None, None]
    discs = torch.tanh(8 * (radius - distance.sqrt()))
    shades = 0.5 + 0.5 * torch.rand(count, channels, 1, 1)
    return discs[:, None] * shades, labels


def finish(options: argparse.Namespace, *networks: nn.Module) -> None:
    """Saves the weights where asked to."""
    if options.save:
        torch.save([network.state_dict() for network in networks], options.save)
