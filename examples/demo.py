"""Train the fully connected GAN on real handwritten digits, offline, and count the digits it draws.

``python -m examples.demo`` (or ``make demo``) takes minutes on two CPU cores. It prints images per
second beside the plain PyTorch loop's, both measured here and now, and ends with exit code 1 if the
samples do not show the digits, by a classifier of real ones. Pictures land in runs/demo.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.steps import textbook
from gankit import data, recipes, runs
from gankit.errors import GankitError
from gankit.metrics import DigitClassifier
from gankit.runs.build import build_trainer
from gankit.training import generate
from gankit.training.config import RunConfig

OUT = Path("runs", "demo")
STEPS = 9000
SAMPLES = 1000
BLOCKS = 5
STEPS_PER_BLOCK = 25


def main() -> int:
    """Run the demo; 0 if the samples pass, 1 if not, 2 if it could not run."""
    try:
        return 0 if run(recipes.get("gan").config.updated(steps=STEPS, sample_every=25)) else 1
    except (GankitError, OSError) as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 2


def run(config: RunConfig, out: Path = OUT) -> bool:
    """Compare speeds, train, draw; returns whether the samples pass the classifier."""
    ours, plain = compare_speed(config)
    print(
        f"gankit {ours:,.0f} images/s, the plain PyTorch loop {plain:,.0f} images/s: "
        f"{ours / plain:.2f} times as fast here (median of {BLOCKS} blocks, interleaved)"
    )
    start = time.perf_counter()
    trainer = runs.train(config, out, overwrite=True, progress=True).trainer
    minutes = (time.perf_counter() - start) / 60
    print(f"{trainer.step:,} steps in {minutes:.1f} minutes; the pictures are in {out}")

    classifier = DigitClassifier.fit(data.load("digits", split="all"), seed=0)
    print(f"the classifier knows {classifier.accuracy:.1%} of held-out real digits")
    samples = generate(trainer.gan_step.inference(), SAMPLES, seed=config.seed)
    coverage = classifier(samples)
    print(coverage)
    return coverage.passed()


def compare_speed(config: RunConfig) -> tuple[float, float]:
    """Images per second of gankit's step and of the plain loop on the same batches."""
    trainer = build_trainer(config)
    batches = [trainer.batch(next(trainer.sampler))["image"] for _ in range(STEPS_PER_BLOCK)]
    plain = textbook.build(device=batches[0].device)
    contestants: tuple[Callable[[Tensor], object], ...] = (
        trainer.gan_step,
        lambda real: textbook.step(plain, real),
    )
    rates: tuple[list[float], list[float]] = ([], [])
    for block in range(BLOCKS + 1):
        for step, found in zip(contestants, rates, strict=True):
            seconds = time_block(step, batches)
            if block > 0:  # the first block warms up
                found.append(config.batch_size * len(batches) / seconds)
    return statistics.median(rates[0]), statistics.median(rates[1])


def time_block(step: Callable[[Tensor], object], batches: list[Tensor]) -> float:
    """Seconds that ``step`` takes for all ``batches``."""
    start = time.perf_counter()
    for real in batches:
        step(real)
    if batches[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
