"""Critics that the analytic gradient penalty serves, with the shape of their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gankit.models import dcgan
from gankit.models.mlp import Discriminator
from gankit.nn import (
    BatchNormAct1d,
    BatchNormAct2d,
    ConvTransposeAct2d,
    LeakyReLUDropout,
    Linear,
)


def mlp(*between: Callable[[], nn.Module], bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside in ((12, 9), (9, 7)):
        layers += [nn.Linear(inside, outside, bias), *(make() for make in between)]
    return nn.Sequential(*layers, nn.Linear(7, 1, bias))


def convolutions(size: int, stride: int, **kwargs: Any) -> nn.Sequential:
    body = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride, 1, **kwargs),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4, 6, 3, stride, **kwargs),
        nn.ReLU(),
        nn.Flatten(),
    )
    width = body(torch.zeros(1, 2, size, size)).shape[1]
    return nn.Sequential(*body, nn.Linear(width, 1))


def transposed() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (3, 2, 2)),
        nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(4, 2, 3, groups=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(2, 1, 3),
        nn.Flatten(),
        nn.Linear(36, 1),
    )


def with_batch_norm() -> nn.Sequential:
    critic = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(100, 6),
        nn.BatchNorm1d(6, affine=False),
        nn.ReLU(),
        nn.Linear(6, 1),
    )
    critic(torch.randn(20, 2, 7, 7) * 2 + 1)  # statistics of its own
    nn.init.uniform_(critic[1].weight, 0.5, 2.0)
    return critic.eval()


def fused(activation: str) -> nn.Sequential:
    critic = nn.Sequential(
        nn.Unflatten(1, (3, 2, 2)),
        ConvTransposeAct2d(3, 4, 3, 2, 1, 1, activation=activation, negative_slope=0.1),
        ConvTransposeAct2d(4, 4, 1),
        BatchNormAct2d(4, activation=activation),
        nn.Flatten(),
        Linear(64, 6),
        BatchNormAct1d(6, activation="leaky_relu"),
        nn.Linear(6, 1),
    )
    critic(torch.randn(20, 12) * 2 + 1)
    nn.init.uniform_(critic[3].weight, 0.5, 2.0)
    return critic.eval()


def frozen(critic: nn.Sequential, *numbers: int) -> nn.Sequential:
    for number in numbers:
        critic[number].requires_grad_(False)
    return critic


def shared_layer() -> nn.Sequential:
    layer, relu = nn.Linear(12, 12), nn.ReLU()
    return nn.Sequential(layer, relu, layer, relu, nn.Linear(12, 1))


FLAT, IMAGE, ODD = (5, 12), (4, 2, 7, 7), (3, 2, 9, 11)
CRITICS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "leaky relu": (lambda: mlp(lambda: nn.LeakyReLU(0.2)), FLAT),
    "relu, no bias": (lambda: mlp(nn.ReLU, bias=False), FLAT),
    "in-place relu": (lambda: mlp(lambda: nn.ReLU(inplace=True)), FLAT),
    "dropout": (lambda: mlp(lambda: nn.LeakyReLU(0.2), lambda: nn.Dropout(0.4)), FLAT),
    "dropout first": (lambda: nn.Sequential(nn.Dropout(0.3), mlp(nn.ReLU)), FLAT),
    "fused dropout": (lambda: mlp(lambda: LeakyReLUDropout(0.2, 0.5)), FLAT),
    "fused dropout in place": (lambda: mlp(lambda: LeakyReLUDropout(0.2, 0.5, True)), FLAT),
    "fused dropout, eval": (lambda: mlp(LeakyReLUDropout).eval(), FLAT),
    "everything dropped": (lambda: mlp(lambda: LeakyReLUDropout(0.2, 1.0)), FLAT),
    "batch of one": (lambda: mlp(lambda: nn.LeakyReLU(0.2)), (1, 12)),
    "linear alone": (lambda: nn.Linear(12, 1), FLAT),
    "conv": (lambda: convolutions(7, 1), IMAGE),
    "strided conv, odd size": (lambda: convolutions(7, 2), IMAGE),
    "grouped conv": (lambda: convolutions(7, 2, groups=2, bias=False), IMAGE),
    "conv dropout": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, 2), nn.ReLU(), nn.Dropout2d(0.4), nn.Conv2d(4, 1, (4, 5))
        ),
        ODD,
    ),
    "conv, same padding": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding="same", dilation=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(3, 1, (9, 11), padding="valid"),
        ),
        ODD,
    ),
    "transposed conv": (transposed, FLAT),
    "eval batch norm": (with_batch_norm, IMAGE),
    "fused, leaky relu": (lambda: fused("leaky_relu"), FLAT),
    "fused, relu": (lambda: fused("relu"), FLAT),
    "nested": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Sequential(nn.Identity(), nn.Sequential(mlp(nn.ReLU))), nn.Identity()
        ),
        (5, 3, 4),
    ),
    "shared layer": (shared_layer, FLAT),
    "frozen below": (lambda: frozen(mlp(nn.ReLU), 0), FLAT),
    "frozen above": (lambda: frozen(mlp(nn.ReLU), 2, 4), FLAT),
    "all frozen": (lambda: frozen(mlp(nn.ReLU), 0, 2, 4), FLAT),
    "our model": (lambda: Discriminator((1, 4, 3), (9, 7), output="logit"), (5, 1, 4, 3)),
    "our conv model": (
        lambda: dcgan.Discriminator((2, 32, 32), 2, output="logit", norm="none"),
        (3, 2, 32, 32),
    ),
    "our model, flat input": (lambda: Discriminator((1, 4, 3), (9,), output="logit"), FLAT),
}
