"""Small networks and data for the training tests."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gankit.data import ImageData
from gankit.models import dcgan, mlp

SHAPE = (1, 6, 6)
Z_DIM = 5
# Of the metrics.csv of a GANStep.
COLUMNS = (
    *("step", "epoch", "d_loss", "g_loss", "d_real", "d_fake", "critic_distance"),
    "images_per_second",
)


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


class PlainDCGAN(nn.Module):
    """The tutorial's layers over weights of ours."""

    def __init__(self, ours: dcgan.Generator | dcgan.Discriminator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        last = len(ours.main) - 2
        for number, layer in enumerate(ours.main):
            if number % 3 == 2 or number > last:
                continue
            if isinstance(layer, nn.ConvTranspose2d):
                layers.append(
                    nn.ConvTranspose2d(
                        layer.in_channels, layer.out_channels, layer.kernel_size,  # type: ignore[arg-type]
                        layer.stride, layer.padding, bias=False,  # type: ignore[arg-type]
                    )
                )  # fmt: skip
            elif isinstance(layer, nn.Conv2d):
                layers.append(copy.deepcopy(layer))
            else:
                layers.append(nn.BatchNorm2d(layer.num_features))  # type: ignore[arg-type]
                layers.append(nn.ReLU() if isinstance(ours, dcgan.Generator) else nn.LeakyReLU(0.2))
        layers.append(nn.Tanh() if isinstance(ours, dcgan.Generator) else nn.Sigmoid())
        self.main = nn.Sequential(*layers).double()
        self.main.load_state_dict(ours.main.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.main(x[:, :, None, None] if x.dim() == 2 else x)
        return y.flatten(1) if y.shape[1:] == (1, 1, 1) else y
