"""DCGAN beside the fully connected GAN after 500 steps, by what a classifier finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from gankit import data, recipes
from gankit.metrics import DigitClassifier
from gankit.runs.build import build_trainer
from gankit.training import generate

STEPS = 500


def samples(recipe: str, **changes: Any) -> Tensor:
    config = recipes.get(recipe).config.updated(steps=STEPS, device="cpu", seed=0, **changes)
    trainer = build_trainer(config)
    trainer.fit(steps=STEPS)
    return generate(trainer.gan_step.sampled, 1000, seed=0)


def compare(name: str, images: data.ImageData) -> None:
    """In as many steps DCGAN shows the classes, and the fully connected GAN does not."""
    convolutional, plain = (samples(recipe, data=name) for recipe in ("dcgan", "gan"))
    classifier = DigitClassifier.fit(images, seed=0, outlier_exposure=False)
    coverage = classifier(convolutional)
    assert coverage.passed(min_classes=9, min_confidence=0.8, min_accuracy=0.97), str(coverage)
    assert not classifier(plain).passed(), str(classifier(plain))
    # The classifier that knows what is no digit thinks less of both, and tells them further apart.
    strict = DigitClassifier.fit(images, seed=0)
    ours, theirs = strict(convolutional), strict(plain)
    assert strict.accuracy >= 0.97
    assert ours.classes_found >= 9, str(ours)
    assert ours.median_confidence > 0.5, str(ours)
    assert ours.median_confidence > theirs.median_confidence + 0.3, str(theirs)
    assert ours.classes_found > theirs.classes_found, str(theirs)


@pytest.mark.slow
def test_dcgan_is_ahead_of_the_mlp_on_digits() -> None:
    compare("digits", data.load("digits", split="all"))


@pytest.mark.slow
def test_dcgan_is_ahead_of_the_mlp_on_mnist(mnist_folder: Path) -> None:
    name = f"idx:{mnist_folder / 't10k-images-idx3-ubyte.gz'}"
    compare(name, data.load(name))
