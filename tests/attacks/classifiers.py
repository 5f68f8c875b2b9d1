"""Classifiers of scikit-learn's digits at their own 8x8 pixels, in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit import data


def digits(split: str) -> tuple[Tensor, Tensor]:
    found = data.load("digits", image_size=None, split=split)
    assert found.labels is not None
    return found.images.float() / 255, found.labels


def mlp(seed: int, *hidden: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    width = 64
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, 10))


def convolutional(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
