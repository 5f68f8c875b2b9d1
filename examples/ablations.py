"""What dropout, batch norm, depth and noise do to one GAN on the same real digits: a table.

``python -m examples.ablations`` trains a small non-saturating GAN on scikit-learn's 8x8 digits, as
it is and with one thing changed, and prints what a classifier says of 1,000 samples each. Every
change is a setting of a config file.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from gankit import data, recipes
from gankit.metrics import DigitClassifier
from gankit.runs.build import build_trainer
from gankit.training import generate
from gankit.training.config import RunConfig

STEPS, SAMPLES = 3000, 1000

# What is changed: settings of the run, of the generator and of the discriminator.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}, {}),
    "no dropout in D": ({}, {}, {"dropout": 0.0}),
    "dropout 0.5 in D": ({}, {}, {"dropout": 0.5}),
    "batch norm in G": ({}, {"norm": "batch"}, {}),
    "batch norm in G and D": ({}, {"norm": "batch"}, {"norm": "batch"}),
    "one hidden layer each": ({}, {"hidden": [128]}, {"hidden": [128]}),
    "three hidden layers each": ({}, {"hidden": [128] * 3}, {"hidden": [128] * 3}),
    "uniform z": ({"z_distribution": "uniform"}, {}, {}),
}


def config(variant: str, seed: int, steps: int) -> RunConfig:
    """The run of that variant."""
    run, generator, discriminator = VARIANTS[variant]
    networks = "gankit.models.mlp"
    return recipes.get("nsgan").config.updated(
        device="cpu",
        seed=seed,
        steps=steps,
        image_size=8,
        z_dim=32,
        lr=1e-3,
        generator={
            "class_path": f"{networks}.Generator",
            "init_args": {"hidden": [128, 128], **generator},
        },
        discriminator={
            "class_path": f"{networks}.Discriminator",
            "init_args": {
                "hidden": [128, 128],
                "dropout": 0.3,
                "output": "logit",
                **discriminator,
            },
        },
        **run,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, classify the samples, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS], default=[*VARIANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N")
    chosen = parser.parse_args(arguments)
    classifier = DigitClassifier.fit(data.load("digits", image_size=8, split="all"), seed=0)
    print("| what is changed | classes found | median confidence |\n|---|---|---|", flush=True)
    for variant in chosen.variants:
        found, confidences = [], []
        for seed in chosen.seeds:
            settings = config(variant, seed, chosen.steps)
            trainer = build_trainer(settings)
            trainer.fit(steps=settings.steps)
            step = trainer.gan_step
            samples = generate(
                step.inference(), SAMPLES, seed=1, distribution=step.z_distribution or "normal"
            )
            coverage = classifier(samples)
            found.append(str(coverage.classes_found))
            confidences.append(coverage.median_confidence)
        middle = statistics.median(confidences)
        spread = f"{min(confidences):.2f} to {max(confidences):.2f}"
        print(f"| {variant} | {', '.join(found)} | {middle:.2f} ({spread}) |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
