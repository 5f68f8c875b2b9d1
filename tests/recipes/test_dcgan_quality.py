"""DCGAN beside the fully connected GAN after 500 steps, by a classifier's judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gankit import data, recipes
from gankit.metrics import Judge, Verdict
from gankit.recipes.build import build_trainer
from gankit.training import generate

STEPS = 500


def judged(judge: Judge, recipe: str, **changes: Any) -> Verdict:
    config = recipes.get(recipe).config.updated(steps=STEPS, device="cpu", seed=0, **changes)
    trainer = build_trainer(config)
    trainer.fit(steps=STEPS)
    return judge(generate(trainer.gan_step.sampled, 1000, seed=0))


def compare(name: str, judge: Judge) -> None:
    """In as many steps DCGAN shows the classes, and the fully connected GAN does not."""
    convolutional, plain = (judged(judge, recipe, data=name) for recipe in ("dcgan", "gan"))
    assert judge.accuracy >= 0.97
    assert convolutional.classes_found >= 9, str(convolutional)
    assert convolutional.median_confidence > 0.5, str(convolutional)
    assert convolutional.median_confidence > plain.median_confidence + 0.3, str(plain)
    assert convolutional.classes_found > plain.classes_found, str(plain)


@pytest.mark.slow
def test_dcgan_is_ahead_of_the_mlp_on_digits() -> None:
    compare("digits", Judge.fit(data.load("digits", split="all"), seed=0))


@pytest.mark.slow
def test_dcgan_is_ahead_of_the_mlp_on_mnist(mnist_folder: Path) -> None:
    name = f"idx:{mnist_folder / 't10k-images-idx3-ubyte.gz'}"
    compare(name, Judge.fit(data.load(name), seed=0))
