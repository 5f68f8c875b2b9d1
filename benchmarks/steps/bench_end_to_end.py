"""Loading and training: the tutorial's loop over a DataLoader, and gankit's over resident data.

One call loads a batch of 60 from a training set of 28x28 images and trains on it. The plain loop
loads as torchvision's MNIST with ToTensor and Normalize does: each image is converted on its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.replay import CLOCK, report_race
from benchmarks.steps import textbook
from gankit.bench.races import Call, Contender, Race, Settings
from gankit.data import BatchSampler, ImageData
from gankit.models import mlp
from gankit.training import GANStep
from gankit.training.optimizers import gan_adam

IMAGES, BATCH = 6000, 60


@pytest.mark.benchmark(timer=CLOCK)
def test_loading_and_training(race: Race, contender: str, benchmark: Any) -> None:
    report_race(race, contender, benchmark)


def races(settings: Settings) -> Iterator[Race]:
    """One race, of the MLP GAN."""
    device, info = settings.device, {"images": BATCH}
    contenders = (
        Contender("plain eager", "plain", lambda: _plain(device, 0), info=info),
        Contender("plain eager, 2 workers", "peer", lambda: _plain(device, 2), info=info),
        Contender("gankit", "gankit", lambda: _gankit(device), info=info),
    )
    yield Race("MLP step with loading, batch 60", contenders, device, 10 * settings.seconds)


def _pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (IMAGES, 28, 28), dtype=torch.uint8, generator=generator)


class PerImage(Dataset[tuple[Tensor, int]]):
    """uint8 images that are converted one at a time, as ToTensor and Normalize do."""

    def __init__(self) -> None:
        self.images = _pixels()

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index].unsqueeze(0).to(torch.get_default_dtype()).div(255)
        mean, std = torch.as_tensor([0.5]), torch.as_tensor([0.5])
        return image.clone().sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1)), 0


def _plain(device: torch.device, workers: int) -> Call:
    networks = textbook.build(device)
    loader = DataLoader(
        PerImage(), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def call() -> object:
        real, _ = next(batches)
        return textbook.step(networks, real.to(device))

    return call


def _gankit(device: torch.device) -> Call:
    G, D = mlp.Generator().to(device), mlp.Discriminator().to(device)
    step = GANStep(G, D, gan_adam(G.parameters()), gan_adam(D.parameters()))
    data = ImageData(_pixels().unsqueeze(1)).to(device)
    sampler = BatchSampler(len(data), BATCH, generator=torch.Generator().manual_seed(0))
    return lambda: step(data.gather(next(sampler)))
