"""Small networks and data for the training tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.data import ImageData
from gankit.models import mlp

SHAPE = (1, 6, 6)
Z_DIM = 5


def small_generator() -> mlp.Generator:
    return mlp.Generator(Z_DIM, SHAPE, hidden=(12, 17))


def small_discriminator(dropout: float = 0.5, output: str = "probability") -> mlp.Discriminator:
    return mlp.Discriminator(SHAPE, hidden=(23, 13), dropout=dropout, output=output)


def small_images(n: int = 40) -> ImageData:
    values = torch.randint(0, 256, (n, *SHAPE), generator=torch.Generator().manual_seed(3))
    return ImageData(values.to(torch.uint8))


class FedDropout(nn.Module):
    """Dropout whose masks come from a generator of its own.

    Masks for one batch of 2N equal, row by row, those for two batches of N drawn one after the
    other, so a paired pass and two passes can be compared mask for mask.
    """

    def __init__(self, seed: int, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.random = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=self.random, dtype=torch.float64) >= self.p
        return x * kept.to(x.dtype) / (1 - self.p)


def fed_discriminator() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(36, 23),
        nn.LeakyReLU(0.2),
        FedDropout(1),
        nn.Linear(23, 13),
        nn.LeakyReLU(0.2),
        FedDropout(2),
        nn.Linear(13, 1),
        nn.Sigmoid(),
    )
