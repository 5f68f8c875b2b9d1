"""What a classifier of real digits says of the samples of the fully connected games.

The plain classifier looks at them here; in the long runs the stricter one, which is unsure of what
shows no digit, has to agree.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from gankit import data, recipes
from gankit.metrics import DigitClassifier, sharpness
from gankit.runs.build import build_trainer
from gankit.training import Trainer, generate
from tests.recipes.small_twins import small_twin

NAMES = ("nsgan", "lsgan", "rgan", "ebgan")


@cache
def classifier(outlier_exposure: bool) -> DigitClassifier:
    images = data.load("digits", image_size=8, split="all")
    return DigitClassifier.fit(images, seed=0, outlier_exposure=outlier_exposure)


@cache
def trained(name: str, seed: int = 0) -> Trainer:
    trainer = small_twin(name, seed)
    trainer.fit(steps=2000)
    return trainer


@pytest.mark.parametrize(
    "name",
    # One here; the long runs have all of them.
    [pytest.param(name, marks=() if name == "nsgan" else pytest.mark.slow) for name in NAMES],
)
def test_digits_after_a_short_run(name: str) -> None:
    coverage = classifier(False)(generate(trained(name).gan_step.G, 1000, seed=1))
    assert coverage.passed(min_classes=9, min_confidence=0.8, min_accuracy=0.97), str(coverage)


def test_ebgans_energy_knows_digits_and_its_samples_lie_near_them() -> None:
    trainer = trained("ebgan")
    known = trainer.data.normalized().flatten(1)
    unseen = data.load("digits", image_size=8, split="test").normalized()

    def distance(images: Tensor) -> Tensor:
        return torch.cdist(images.flatten(1), known).amin(dim=1).median()

    assert distance(generate(trainer.gan_step.G, 500, seed=1)) < 1.6 * distance(unseen)
    D = trainer.gan_step.D
    with torch.no_grad():
        assert 2 * D(unseen).mean() < D(torch.rand(100, 1, 8, 8) * 2 - 1).mean()


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_a_vaes_samples_are_blurrier_than_a_gans(seed: int) -> None:
    """Variance of the Laplacian; the GAN's is near that of real digits, so it is no noise."""
    vae = build_trainer(recipes.get("vae").config.updated(device="cpu", seed=seed, image_size=8))
    vae.fit(steps=600)
    blurry = sharpness(generate(vae.gan_step.inference(), 1000, seed=1))
    sharp = sharpness(generate(trained("nsgan", seed).gan_step.G, 1000, seed=1))
    real = sharpness(vae.data.normalized())
    assert 0.75 * real < sharp < 1.25 * real
    assert blurry < 0.7 * min(real, sharp)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_strict_classifier_finds_the_digits_too(name: str, seed: int) -> None:
    trainer = small_twin(name, seed)
    trainer.fit(steps=6000)
    samples = generate(trainer.gan_step.G, 1000, seed=1)
    for strict in (False, True):
        coverage = classifier(strict)(samples)
        assert coverage.passed(min_classes=9, min_confidence=0.8, min_accuracy=0.97), str(coverage)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmgan", *NAMES])
def test_the_recipe_as_it_ships_draws_digits(name: str) -> None:
    """All of its epochs at 28x28 pixels, before both classifiers."""
    config = recipes.get(name).config.updated(device="cpu")
    trainer = build_trainer(config)
    trainer.fit(epochs=config.epochs)
    samples = generate(trainer.gan_step.sampled, 1000, seed=1)
    digits = data.load("digits", split="all")
    for strict in (False, True):
        coverage = DigitClassifier.fit(digits, seed=0, outlier_exposure=strict)(samples)
        assert coverage.passed(min_classes=9, min_confidence=0.8, min_accuracy=0.97), str(coverage)
