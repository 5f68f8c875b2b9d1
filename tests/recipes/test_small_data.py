"""What DiffAugment is there for: a few hundred images are not learnt by heart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("sklearn")

from gankit.data import BatchSampler, ImageData, load
from gankit.metrics import DigitClassifier
from gankit.models import dcgan
from gankit.training import DiffAugment, GANStep, Trainer, gan_adam, generate
from gankit.training.augmentation import Augmentation

IMAGES, STEPS = 500, 2000


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load("digits", split="all")


@pytest.fixture(scope="module")
def features(data: ImageData) -> nn.Module:
    """What a classifier of digits computes before its last layer."""
    network = DigitClassifier.fit(data, outlier_exposure=False).network
    assert isinstance(network, nn.Sequential)
    return network[:-1]


@torch.no_grad()
def moments(features: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    found = torch.cat([features(part).flatten(1) for part in images.split(500)]).double()
    return found.mean(0), torch.cov(found.T)


def frechet_distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """Heusel et al., 2017, arXiv 1706.08500."""
    roots = torch.linalg.eigvals(a[1] @ b[1]).real.clamp(min=0).sqrt().sum()
    return float((a[0] - b[0]).square().sum() + a[1].trace() + b[1].trace() - 2 * roots)


def trained(images: ImageData, seed: int, augment: Augmentation | None) -> nn.Module:
    torch.manual_seed(seed)
    G, D = dcgan.Generator(32, width=8), dcgan.Discriminator(width=8, output="logit")
    optimizers = gan_adam(G.parameters(), 1e-3), gan_adam(D.parameters(), 1e-3)
    step = GANStep(G, D, *optimizers, augment=augment, ema=0.99)
    order = torch.Generator().manual_seed(seed)
    Trainer(step, images, BatchSampler(IMAGES, 50, generator=order)).fit(steps=STEPS)
    return step.sampled


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_500_digits_the_distance_to_others_falls_by_a_quarter(
    seed: int, data: ImageData, features: nn.Module
) -> None:
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(100 + seed))
    few, others = ImageData(data.images[order[:IMAGES]]), data.gather(order[IMAGES:])
    expected = moments(features, others)
    plain, augmented = (
        frechet_distance(moments(features, generate(G, 2000, seed=1)), expected)
        for G in (trained(few, seed, None), trained(few, seed, DiffAugment()))
    )
    assert augmented <= 0.75 * plain, (plain, augmented)
