"""Small networks and data of image translation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gankit.data import ImageData, PairData, UnpairedData
from gankit.gans.cyclegan import CycleGANStep
from gankit.gans.pix2pix import Pix2PixStep
from gankit.models.patch import PatchDiscriminator
from gankit.models.resnet import ResNetGenerator
from gankit.models.unet import UNetGenerator
from gankit.training import Callback, Trainer, gan_adam
from gankit.training.schedules import LinearDecay

SIZE, BATCH = 12, 4


def some_images(n: int, channels: int, seed: int, size: int = SIZE) -> ImageData:
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (n, channels, size, size), generator=random)
    return ImageData(values.to(torch.uint8))


def batch_of(
    channels: tuple[int, int], seed: int, n: int = BATCH, size: int = SIZE
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(n, c, size, size, generator=random, dtype=torch.float64) * 2 - 1
        for name, c in zip("ab", channels, strict=True)
    }


def adam(*networks: nn.Module, lr: float = 2e-4) -> torch.optim.Adam:
    return gan_adam([p for network in networks for p in network.parameters()], lr)


def pix2pix_nets(seed: int = 0, dropout: float = 0.0) -> list[nn.Module]:
    """G and D of images of 16 pixels, one channel to three."""
    torch.manual_seed(seed)
    G = UNetGenerator(1, 3, 16, width=2, dropout=dropout)
    return [G, PatchDiscriminator(4, width=2, layers=1)]


def cyclegan_nets(seed: int = 0) -> list[nn.Module]:
    """G_ab, G_ba, D_a and D_b of images of 12 pixels."""
    torch.manual_seed(seed)
    Gs = [ResNetGenerator(width=2, blocks=1) for _ in "ab"]
    return [*Gs, *(PatchDiscriminator(3, width=2, layers=1, norm="instance") for _ in "ab")]


def pix2pix_step(dropout: float = 0.0, **settings: Any) -> Pix2PixStep:
    G, D = pix2pix_nets(dropout=dropout)
    return Pix2PixStep(G, D, adam(G), adam(D), **settings)


def cyclegan_step(**settings: Any) -> CycleGANStep:
    nets = cyclegan_nets()
    shapes = {"a": (3, SIZE, SIZE), "b": (3, SIZE, SIZE)}
    return CycleGANStep(*nets, adam(*nets[:2]), adam(*nets[2:]), shapes, **settings)


def trainer_of(kind: str, *callbacks: Callback, steps: int = 20, **settings: Any) -> Trainer:
    """A run of either family with all that it may remember."""
    data: PairData | UnpairedData
    if kind == "pix2pix":
        step: Any = pix2pix_step(dropout=0.5, **settings)
        pairs = some_images(9, 1, 0, 18), some_images(9, 3, 1, 18)
        data = PairData(*pairs, crop_size=16, flip=True)
    else:
        step = cyclegan_step(**settings)
        domains = some_images(9, 3, 0, 14), some_images(7, 3, 1, 14)
        data = UnpairedData(*domains, crop_size=SIZE, flip=True)
    return Trainer(
        step,
        data,
        data.sampler(BATCH, generator=torch.Generator().manual_seed(0)),
        callbacks=callbacks,
        log_every=4,
        schedulers=[LinearDecay(optimizer, steps) for optimizer in step.optimizers.values()],
    )
